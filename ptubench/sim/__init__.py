"""A simulated PTU deployment: one pure model, and an HTTP server in front of it."""
