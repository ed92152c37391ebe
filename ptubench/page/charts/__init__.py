"""Charts of a run, of runs side by side, of a search and of sizes, for plotly."""
