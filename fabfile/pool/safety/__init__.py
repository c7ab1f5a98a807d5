"""What may be written to, and the only place where something is destroyed."""
