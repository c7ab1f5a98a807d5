"""Compiled modules are kept: Invoke turns that off, and every start would compile all of ours anew, for 0.1 s.

It has to be imported before the others. Python's own -B and PYTHONDONTWRITEBYTECODE are obeyed. Where the umask lets
others write to new files nothing is kept: whoever can change a compiled module runs what he likes as us.
"""

from __future__ import annotations

import os
import sys

OTHERS = 0o022
"""What a umask has to take away."""

mask = os.umask(OTHERS)
os.umask(mask)
sys.dont_write_bytecode = bool(sys.flags.dont_write_bytecode) or mask & OTHERS != OTHERS
