"""The tasks: a module is a namespace; `root` has those without one. A task declares its options and hands them on."""

from __future__ import annotations

from fabfile.tasks import containerd, inventory, pool, root, runc, toolchain

__all__ = ["containerd", "inventory", "pool", "root", "runc", "toolchain"]
"""Those of inv and fab; inv has `lab` and `ssh`, too."""
