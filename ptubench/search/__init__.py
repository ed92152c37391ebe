"""The highest call rate that a deployment sustains: which rate to try next, and what the tried ones say."""
