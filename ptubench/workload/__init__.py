"""What is sent, when and for how long: the workload file, read and checked."""
