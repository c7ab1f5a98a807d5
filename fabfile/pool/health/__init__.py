"""Findings about a pool: what is wrong with it, which parts are missing, and the fixes.

finding     a finding as data
findings    all findings about a pool, for pool.status and doctor
missing     missing parts of a loop pool
visibility  whether LVM sees a direct pool
activation  whether LVM would activate it again, as it is and with all of it
writable    whether the files of a loop pool can be written
monitor     whether the monitor of a loop pool runs
unit_state  what keeps a unit from running, and the shell that starts it
usable      refuses a pool that exists but cannot be used
rerun       commands for hints that start, keep or remove an existing pool
stated      settings that the inventory should have for an existing pool
"""
