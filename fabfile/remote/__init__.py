"""Scripts on one machine: how they get there, become root, hold the lock, and are limited.

context           what a task acts on: this machine or a host
target            run, stage, read: everything else derives from these
execution         runs one script, with its limits and marks
script_arguments  a short script as arguments of the command that runs it
stream            a running command, with its input and outputs
sudo              becomes root where the login is not root
password          gets the sudo password
lock              the lock of a machine
"""
