"""Run files: written as they happen, read by everything else."""
