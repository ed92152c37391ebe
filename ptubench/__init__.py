"""Benchmark Azure OpenAI Provisioned Throughput deployments: what capacity does for your traffic."""

__version__ = "0.1.0"
