"""Direct pools: made by LVM, on whole disks or in a volume group."""
