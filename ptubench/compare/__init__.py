"""Runs side by side: what differs, how sure that is, and what can not be compared."""
