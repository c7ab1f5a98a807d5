"""Tasks on an existing pool, apart from its removal.

actions             finds the pool that a task means, and makes changes to it under the host's lock
downtime            stops containerd and the pool for a task, and starts them again
grow                pool.grow, for both variants
check               pool.check: thin_check of the metadata
backup              pool.backup: a copy of the metadata and of containerd's databases
repair              pool.repair: new metadata by thin_repair
restore             pool.restore: metadata from a backup
changes_since       what a restore would lose: changes since the backup
metadata_copies     pool.kept: old metadata that repairs and restores kept
transaction         LVM's thin volumes in a direct pool, and its transaction id; for pool.repair
rescue              pool.rescue: files that were deleted while the pool is up
adopt               pool.adopt: a loop pool that something else created
trim                pool.trim: space that files no longer use
fsck                pool.fsck: inconsistencies among the four records of thin devices
comparison          compares the four records, and corrects them while containerd is stopped
thin_devices        the four records as data
disagreements       inconsistencies among them, by kind
corrections         what has to be changed in which record
containerd_records  containerd's own database: images and containers by snapshot
database_files      copies of containerd's databases in the output of scripts
"""
