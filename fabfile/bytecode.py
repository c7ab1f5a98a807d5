"""Keep compiled modules, which Invoke turns off: compiling all of ours at every start would take 0.1 s.

This module has to be imported first. Python's own -B and PYTHONDONTWRITEBYTECODE are respected. Nothing is kept if the
umask lets others write to new files: whoever can change a compiled module can run code as us.
"""

from __future__ import annotations

import os
import sys

OTHERS = 0o022
"""Permissions that the umask has to remove."""

mask = os.umask(OTHERS)
os.umask(mask)
sys.dont_write_bytecode = bool(sys.flags.dont_write_bytecode) or mask & OTHERS != OTHERS
