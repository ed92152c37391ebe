"""What a measured run tells of its deployment: capacity, ratio, depth, latency, each with an interval."""
