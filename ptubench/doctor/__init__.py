"""What this machine can generate truthfully, and whether a target is in order."""
