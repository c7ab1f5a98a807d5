"""Loop pools: on two backing files, which loop devices read and write.

loop_pool   creation: the step pool.loop
spec        a requested loop pool
files       record, units and script that activate it at boot
identity    UUIDs and inodes of its parts, as recorded
filesystem  which file systems can carry it
volume      the logical volume under its files, if one is requested
fstab       the line that mounts that volume
grow        growth: the step pool.grow
remove      removal of its files and volume
"""
