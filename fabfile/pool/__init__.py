"""Thin pools. From the ground floor up; a room knows only those above it in this list:

limits      what the kernel and LVM allow: sizes, names, machines
safety      the gate for destruction, and whether a disk may be written to
units       names and paths of what keeps a pool alive across reboots
ownership   whose a pool is: one pool for each containerd
lookup      which pool is meant, whatever the inventory says of its variant
health      what is wrong with a pool, what is missing of it, and what to do about it
lvm         a direct pool: its volume group, layout, disks, creation, growth
loop        a loop pool: its files, file system and volume, creation, growth
variants    the table of the two: what is done to a pool in the way of its variant
maintain    what is done to a pool on request: grow, check, backup, repair, restore, rescue, adopt, trim, fsck
remove      a pool taken away again with all that depends on it
status      how full a pool is, and what it stands on
"""
