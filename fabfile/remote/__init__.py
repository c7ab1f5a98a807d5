"""Scripts on one machine: how they get there, become root, hold the lock, and are limited."""
