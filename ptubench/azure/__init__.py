"""What Azure says of a deployment: which cloud it is in, what it is, how busy it was."""
