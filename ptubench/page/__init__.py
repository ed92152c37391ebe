"""The HTML report: one file that holds all it needs, from stored runs and from what other commands have found."""
