"""Sends one request and stamps what comes back."""
