"""Usage history: what a deployment was asked for in each minute of some weeks, and what it needs. Pure but for its CSV."""
