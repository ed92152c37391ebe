"""Records to numbers: statistics, the summary, the verdict, the checks."""
