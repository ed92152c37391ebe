"""Runs on a virtual clock: the same load, policies and records against a simulated deployment in this process."""
