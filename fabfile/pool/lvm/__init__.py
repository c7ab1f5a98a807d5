"""Direct pools: made by LVM, on whole disks or in a volume group.

direct_pool   creation: the step pool.direct
spec          a requested direct pool, and what may not be in its place
layout        sizes of data, metadata and its spare in the volume group
volume_group  valid names, and whether an existing group can be used
disk_claims   disks that become part of the group
candidates    pool.disks: disks and groups on which a pool can be created
rehearsal     refuses what LVM would refuse half-way
identity      UUIDs of its parts, as recorded
extend        growth: the step pool.grow
give_back     removal of its volumes, group and physical volumes
"""
