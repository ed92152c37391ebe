"""What people look at: tables and the live view. Computes nothing."""
