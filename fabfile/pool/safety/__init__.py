"""Which disks may be written to, and the only code that destroys anything."""
