"""What is wrong with a pool, what is missing of it, and what to do about it."""
