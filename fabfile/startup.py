"""Settings of the process: nothing that it creates is writable by others, and compiled modules are kept.

What others can write to becomes root's on hosts: a build is unpacked there with its modes, and whoever can change a
compiled module can run code as us.

Invoke turns compiled modules off, and compiling all of ours at every start would take 0.1 s. So this module has to be
imported first. Python's own -B and PYTHONDONTWRITEBYTECODE are respected.
"""

from __future__ import annotations

import os
import sys

OTHERS = 0o022
"""Permissions that are removed from whatever is created; a umask that removes more is kept."""

os.umask(os.umask(OTHERS) | OTHERS)
sys.dont_write_bytecode = bool(sys.flags.dont_write_bytecode)
