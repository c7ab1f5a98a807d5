"""Any answer of a machine is facts, or output, or one short error; and soon."""

from __future__ import annotations

import re
import tracemalloc
from time import monotonic
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fabfile import facts
from fabfile.errors import Failed, Problem
from fabfile.remote import execution
from fabfile.remote.execution import ScriptResult
from tests.unit.damage import damaged
from tests.unit.fakes import RECORDED, Machine, Reply, looks_like

RECORDS = {name: [file.read_text() for file in sorted((RECORDED / name).glob("*.txt"))] for name in facts.MODULES}
LONGEST = 4000
"""Limit for the characters of an error."""


def parsed(name: str, text: str) -> facts.Facts | None:
    """The facts, or None if they were rejected."""
    try:
        return facts.parse(looks_like(**{name: text}))
    except Failed as failed:
        assert len(str(failed)) < LONGEST
        return None


@settings(max_examples=100)
@pytest.mark.parametrize("name", facts.MODULES)
@given(st.data())
def test_any_damage_to_what_was_recorded_is_facts_or_one_error(name: str, data: st.DataObject) -> None:
    parsed(name, data.draw(damaged(RECORDS[name])))


@pytest.mark.parametrize("name", facts.MODULES)
@given(st.text(max_size=200))
def test_any_text_is_facts_or_one_error(name: str, text: str) -> None:
    parsed(name, text)


HOSTILE = {
    "numbers": ("disks", "asked /dev/x\nsize " + "9" * 5_000_000),
    "a node of many words": ("disks", "asked /dev/x\nnode " + "x " * 500_000),
    "half a physical volume": ("disks", "asked /dev/x\npv 8:1|uuid"),
    "half a node": ("disks", "asked /dev/x\nnode 8:1 x"),
    "arrays in arrays": ("lvm", "group g\nseed s\nsystem \n " + '{"report": ' + "[" * 1_000_000),
    "a report of numbers": ("lvm", 'group g\nseed s\nsystem \n {"report": [1, 2]}'),
    "rows that are none": ("lvm", 'group g\nseed s\nsystem \n {"report": [{"vg": [null]}]}'),
    "dotted keys": ("instances", "toml /etc/containerd/config.toml|" + ".".join("a" * 100_000) + " = 1"),
    "a large configuration": ("instances", "toml /etc/containerd/config.toml|a = 1\n" * 20_000),
    "tables in tables": ("instances", "toml /etc/containerd/config.toml|a = " + "[" * 200_000),
    "an inode without end": ("pool", f"file 1 1 512 {'9' * 30} 1 /d/data"),
    "a negative device": ("pool", "file 1 1 512 -1 1 /d/data"),
    "a mark that is none": ("units", "now 5\nmark 1 /run/devmapper-pool/p.stranger"),
    "many lines": ("files", "@mode 644 /x\n@file /x\n" + "|x\n" * 1_000_000),
}


@pytest.mark.parametrize("name", HOSTILE)
def test_a_hostile_answer_costs_seconds_and_megabytes(name: str) -> None:
    fact, text = HOSTILE[name]
    start = monotonic()
    tracemalloc.start()
    try:
        parsed(fact, text)
        assert tracemalloc.get_traced_memory()[1] < (256 << 20)
    finally:
        tracemalloc.stop()
    assert monotonic() - start < 20


CONF = "/etc/devmapper-pool/p.conf"


@pytest.mark.parametrize(
    ("lines", "what"),
    [
        ([""], "DATA is missing"),
        (["VARIANT=direct", "VG=a"], "LV is missing"),
        (["VARIANT=zfs"], "VARIANT is 'zfs'"),
        (["DATA=/d/data", "META=/d/meta", "BLOCK_SECTORS=x", "DATA_SECTORS=1", "META_BYTES=1"], "BLOCK_SECTORS is no"),
        (
            ["DATA=/d/data", "META=/d/meta", "BLOCK_SECTORS=1", "ASKED_BYTES='1 2'", "ASKED_META_BYTES=' '"],
            "META_BYTES",
        ),
    ],
)
def test_settings_of_a_pool_that_are_damaged_are_named_before_a_task_counts_on_them(
    lines: list[str], what: str
) -> None:
    with pytest.raises(Failed, match=f"the record {CONF} is damaged") as failed:
        facts.parse(looks_like(instances="".join(f"conf {CONF}|{line}\n" for line in lines)))
    assert what in failed.value.details


class Liar(Machine):
    """Answers a script with this text, in which `MARK` is that script's mark, and then with this exit code."""

    def __init__(self, out: bytes, error: bytes, code: int | None) -> None:
        super().__init__([""])
        self.out, self.error, self.code = out, error, code

    def begin(self, command: str) -> Reply:
        return Lie(self, command)


class Lie(Reply):
    """Its answer."""

    machine: Liar

    def read(self, size: int, seconds: float) -> tuple[bytes, bytes]:
        mark = re.search(rb"^echo (\S+) begin$", bytes(self.sent), re.MULTILINE)
        assert mark
        out, self.machine.out = self.machine.out, b""
        error, self.machine.error = self.machine.error, b""
        return out.replace(b"MARK", mark[1]), error

    def exit_code(self) -> Any:
        return self.machine.code


WORDS = st.sampled_from(
    [
        b"MARK begin\n", b"MARK end 0\n", b"\nMARK end 0\n", b"\nMARK end 3\n", b"MARK", b"begin", b"\n", b"end 0",
        b"\xff", b"sudo: a password is required\n", b"\x1b[2J", b"x" * 5000,
    ]
)  # fmt: skip
SAID = st.lists(WORDS | st.binary(max_size=10), max_size=8).map(b"".join)


@given(SAID, SAID, st.sampled_from([None, 0, 1, 3, 127, -9]))
def test_any_answer_to_a_script_is_its_answer_or_one_error(out: bytes, error: bytes, code: int | None) -> None:
    try:
        answer = execution.script(Liar(out, error, code), "true")
    except Problem as problem:
        assert len(str(problem)) < LONGEST
    else:
        assert isinstance(answer, ScriptResult)
        assert answer.exited == (code or 0)
        assert code or b"begin" in out, "success is what the script itself said, between its marks"
