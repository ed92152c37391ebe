"""Puts the load on the target: one loop per worker process, and the parent that keeps the records."""
