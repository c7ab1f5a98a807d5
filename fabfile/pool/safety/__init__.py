"""Which disks may be written to, and the commands that destroy the content of a pool's parts.

disk_checks  everything that forbids writing to a disk
gate         calls of the shell functions in templates/pool/gate.sh.j2
"""
