"""Thin pools, in order of dependency: a module or package imports only those above it in this list.

limits            what the kernel and LVM allow: sizes, names, machines
safety            the gate for destruction, and the checks of a disk before it is written to
units             names, paths and contents of what starts a pool at boot
ownership         which containerd a pool belongs to: one pool per containerd
lookup            which pool a task means, whatever variant the inventory names
health            findings: what is wrong with a pool, which parts are missing, and the fixes
lvm               direct pools: volume group, layout, disks, creation, growth
loop              loop pools: files, file system and volume, creation, growth
variants          the table of the two variants
maintain          tasks on an existing pool: grow, check, backup, repair, restore, rescue, adopt, trim, fsck
remove            removal of a pool and everything that depends on it
status            how full a pool is, and what it consists of
"""
