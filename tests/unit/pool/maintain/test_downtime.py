"""What stops the pool refuses it while the pool is in use, and says so with --dry."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from fabfile.facts import Facts
from tests.unit.pool.machines import Make, done, on_files, trouble, with_status
from tests.unit.pool.maintain.test_rescue import DELETED, without_metadata

USED = {"blockers\n": "containers run in default: web\n", "idle\n": "containers run in default: web\n"}
TAKES = {"discard_max_bytes": "1048576\n"}

CASES: dict[str, tuple[Facts, dict[str, Any]]] = {
    "pool.trim": (on_files(), {"offline": True}),
    "pool.restore": (on_files(), {}),
    "pool.repair": (with_status(on_files(), mode="Fail"), {}),
    "pool.reset": (on_files(), {}),
    "pool.rescue": (msgspec.structs.replace(on_files(), pool=without_metadata(meta_loop=DELETED)), {}),
}


@pytest.mark.parametrize("task", CASES)
def test_dry_is_refused_as_the_task_would_be_while_containers_run(machine: Make, task: str) -> None:
    have, given = CASES[task]
    c = machine(have, asked=USED | TAKES, dry=True)
    error = trouble(done(task, c, **given), "refused")
    assert "in use" in error.what and "default: web" in error.details and "--force" in error.hint
    assert c.done == [] and "apply" not in c.log
