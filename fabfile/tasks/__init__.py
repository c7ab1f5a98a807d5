"""The tasks, one module per namespace. A task declares its options and passes them on.

A task imports the step that it runs when it is called, and names its result as `module:name`: if fab imported the steps
of all tasks, it would start more slowly.

root        tasks without a namespace: deploy, doctor, packages, run, smoke, status
containerd  containerd.*
inventory   inventory.*; some of them for inv only
lab         lab.*, for inv only
pool        pool.*
runc        runc.install
runs        runs.*, for inv only
ssh         ssh.*, for inv only
toolchain   toolchain.*
"""

from __future__ import annotations

from fabfile.tasks import containerd, inventory, pool, root, runc, toolchain

__all__ = ["containerd", "inventory", "pool", "root", "runc", "toolchain"]
"""Namespaces of both inv and fab; inv also has `lab`, `runs` and `ssh`."""
