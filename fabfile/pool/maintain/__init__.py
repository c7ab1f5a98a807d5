"""What is done to a pool on request."""
