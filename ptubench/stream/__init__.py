"""Bytes of an answer to events to first content, tokens and usage. No socket, no clock."""
