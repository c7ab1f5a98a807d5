"""The lab: throwaway machines, for newcomers and for the tests.

throwaway  lab.up, lab.list, lab.shell and lab.down
demo       lab.demo
machines   starts and removes machines
directory  the lab's directory: its mark, its lock, and what may be removed from it
vm         one machine: its directory, its state, and how to reach it
kinds      the kinds of machines
disk       an additional disk of a machine
hosts      the lab's inventory and known_hosts file
image      disk images, made from Debian packages
mirror     what a deploy downloads, made from Debian packages
registry   a registry with hello-world and busybox
suites     Debian generations, and the archive that they come from
store      cached directories, verified at each use
probe      cached answers to what only a boot can tell
process    processes that outlive the command that started them
files      atomic writes and careful removal
progress   progress of operations that take a while
tools      programs that the lab needs
"""
