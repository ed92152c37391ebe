"""Where the load is sent: options, workload and environment resolved into one target."""
