"""Settings of hypothesis for all tests."""

from __future__ import annotations

from hypothesis import settings

settings.register_profile("busy", deadline=None)
# The time of an example depends on the machine more than on the code: on a busy one, tests of a good parser failed.
settings.load_profile("busy")
