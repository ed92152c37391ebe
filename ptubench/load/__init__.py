"""What is sent and when, computed up front from the seed: arrivals, sizes, prompts. Pure."""
