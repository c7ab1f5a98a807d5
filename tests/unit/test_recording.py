"""`nox -s record`: what of a machine becomes a record, and which command lines are refused."""

from __future__ import annotations

from pathlib import Path

import pytest

from fabfile import facts
from fabfile.errors import Failed, Refused
from fabfile.facts.query import Query
from fabfile.host import Host, Pool
from tests import record
from tests.unit.fakes import RECORDED, Machine, recorded

SYSTEM = recorded("system", "fresh")


def test_a_record_is_what_the_fragment_printed_and_no_other_is_run() -> None:
    c = Machine([f"@@ system\n{SYSTEM}"])
    assert record.printed(c, "system", Query()) == SYSTEM
    (script,) = c.scripts
    assert script.count("echo '@@ ") == 1
    assert script.endswith(facts.script(Query(), ("system",)))


def test_a_script_that_ends_before_the_fragment_is_no_record() -> None:
    with pytest.raises(Failed, match="ended before the fragment") as failed:
        record.printed(Machine(["systemctl does not answer: no bus\n"]), "system", Query())
    assert "no bus" in failed.value.details


def test_a_record_is_written_with_its_meaning(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for text, became in ((SYSTEM, "new"), (SYSTEM, "unchanged"), (SYSTEM.replace("x86_64", "aarch64"), "changed")):
        record.write("system", "fresh", text, tmp_path)
        assert f"system/fresh.txt: {became}\nsystem/fresh.json: {became}\n" == capsys.readouterr().out
    assert (tmp_path / "system/fresh.txt").read_text() == text
    assert '"arch": "arm64"' in (tmp_path / "system/fresh.json").read_text()


def test_what_the_parser_does_not_understand_is_kept(tmp_path: Path) -> None:
    with pytest.raises(Failed, match="cannot parse the system facts"):
        record.write("system", "new", "id debian\n", tmp_path)
    assert [file.name for file in (tmp_path / "system").iterdir()] == ["new.txt"]


def test_a_machine_is_asked_what_a_deploy_asks() -> None:
    asked = record.query(Host(pool=Pool(name="other")))
    assert (asked.pool, asked.prove) == ("other", True)
    assert "/etc/containerd/config.toml" in asked.files
    assert asked.image.endswith("library/hello-world:latest")


def test_a_field_of_the_query_is_changed_on_the_command_line() -> None:
    asked = record.query(Host(), ["devices=/dev/vdb,/dev/vdc", "all_disks=true", "vg=group", "files="])
    assert (asked.devices, asked.all_disks, asked.vg, asked.files) == (("/dev/vdb", "/dev/vdc"), True, "group", ())


@pytest.mark.parametrize("word", ["disks=/dev/vdb", "all_disks=maybe"])
def test_what_is_no_field_or_no_value_is_refused(word: str) -> None:
    with pytest.raises(Refused, match=f"--ask {word}"):
        record.query(Host(), [word])


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["stranger"], "invalid choice"),
        (["system", "foreign"], "bring a host into this state"),
        (["system", "--host", "web1"], "a NAME for the state of the host is needed"),
    ],
)
def test_a_wrong_command_line_is_refused(words: list[str], says: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        record.options(words)
    assert says in capsys.readouterr().err


def test_records_that_are_there_are_read_again() -> None:
    names = [name for name, _ in record.records(record.options(["pool", "--parse"]))]
    assert names == sorted(file.stem for file in (RECORDED / "pool").glob("*.txt"))
    assert list(record.records(record.options(["system", "fresh", "--parse"]))) == [("fresh", SYSTEM)]
