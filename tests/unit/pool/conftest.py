"""Fixtures of the tests of steps serve those of pools, too."""

from __future__ import annotations

from tests.unit.pool.machines import machine as machine
from tests.unit.steps.conftest import mirror as mirror
