"""Compiled modules are kept: Invoke turns that off, and every start would compile all of ours anew, for 0.1 s.

It has to be imported before the others. Python's own -B and PYTHONDONTWRITEBYTECODE are obeyed.
"""

from __future__ import annotations

import sys

sys.dont_write_bytecode = bool(sys.flags.dont_write_bytecode)
