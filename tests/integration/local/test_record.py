"""The shell records a pool's files exactly as the controller reads and would write them."""

from __future__ import annotations

import subprocess
from pathlib import Path
from tempfile import TemporaryDirectory

import msgspec
from hypothesis import given, settings
from hypothesis import strategies as st

from fabfile import keyvalue
from fabfile.pool import units
from fabfile.pool.loop import files, identity
from fabfile.pool.safety import gate
from tests.unit.pool.loops import NAME, machine, want

CONF = units.conf(NAME)

TEXT = st.from_regex(r"[A-Za-z0-9_.+@:/-]{0,20}", fullmatch=True)
VALUES = st.fixed_dictionaries(
    {}, optional={key: st.sampled_from(["yes", "no"]) if key == identity.MAKING else TEXT for key in identity.KEYS}
)


@settings(max_examples=15)
@given(VALUES)
def test_what_the_shell_records_is_what_the_controller_writes(values: dict[str, str]) -> None:
    have = machine()
    with TemporaryDirectory() as directory:
        conf = Path(directory) / "pool.conf"
        conf.write_text(have.files[CONF].content)
        script = f"{gate.functions()}\n{identity.write(str(conf), values)}"
        subprocess.run(["sh", "-euc", script], check=True, capture_output=True)
        content = conf.read_text()
    recorded = keyvalue.settings(content)
    assert {key: recorded[key] for key in values} == values
    now = msgspec.structs.replace(have.files[CONF], content=content)
    assert files.conf_change(msgspec.structs.replace(have, files={CONF: now}), want()) == []
