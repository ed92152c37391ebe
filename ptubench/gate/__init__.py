"""The gate: runs judged by rules and against a baseline, repeats as one, in one document with an exit code."""
