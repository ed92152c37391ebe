"""The arithmetic of Provisioned Throughput Units: catalogue, capacity, leaky bucket. Pure."""
