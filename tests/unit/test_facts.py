"""Recorded output → value. Each tests/unit/facts/FACT/NAME.txt came from a machine; NAME.json is what it means."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from fabfile import facts
from fabfile.errors import Failed
from fabfile.facts import config, containerd, files, lvm, pool, prelude
from fabfile.facts.query import Query, together
from fabfile.remote import target
from tests.record import meaning
from tests.unit.fakes import RECORDED, Machine, looks_like, recorded

RECORDS = sorted(RECORDED.glob("*/*.txt"))


@pytest.mark.parametrize("record", RECORDS, ids=lambda path: f"{path.parent.name}/{path.stem}")
def test_recorded_output_means(record: Path) -> None:
    means = meaning(record.parent.name, record.read_text())
    assert json.loads(means) == json.loads(record.with_suffix(".json").read_text())
    assert means == record.with_suffix(".json").read_text(), "nox -s record -- FACT --parse writes it"


def test_a_disk_has_the_kernels_name_whichever_lvm_prefers() -> None:
    text = (RECORDED / "lvm" / "deployed.txt").read_text()
    other = text.replace('"pv_name":"/dev/vdb"', '"pv_name":"/dev/sdf"')
    assert other != text
    assert lvm.parse(f"alias /dev/sdf /dev/vdb\n{other}") == lvm.parse(text)


@pytest.mark.parametrize("name", facts.MODULES)
def test_every_fact_has_records_of_a_fresh_machine_and_of_another(name: str) -> None:
    assert {"fresh", "deployed"} <= {path.stem for path in (RECORDED / name).glob("*.txt")}


def test_every_record_has_a_value_and_every_value_a_record() -> None:
    values = {path.with_suffix("") for path in RECORDED.glob("*/*.json")}
    assert {path.with_suffix("") for path in RECORDS} == values
    assert {path.parent.name for path in RECORDS} == set(facts.MODULES)


@pytest.mark.parametrize("name", facts.MODULES)
def test_a_fragment_is_in_the_script_behind_its_mark_in_a_subshell(name: str) -> None:
    query = Query(files=("/etc/a b",), pool="p", dir="/d", volume="vg/lv", bin_dir="/b", all_disks=True, prove=True)
    fragment: str = facts.MODULES[name].fragment(query)
    assert f"echo '@@ {name}'\n(\n{fragment}\n)\n" in facts.script(query)


@pytest.mark.parametrize(
    ("query", "quoted"),
    [
        (Query(pool="a b; reboot"), "name='a b; reboot'"),
        (Query(dir="/a$(reboot)"), "dir='/a$(reboot)'"),
        (Query(volume="v'g/l"), "volume='v'\"'\"'g/l'"),
        (Query(bin_dir="/a b"), "'/a b/ctr'"),
        (Query(bin_dir="/a b"), "'/a b'/containerd*"),
        (Query(files=("/a b", "/$c")), "for f in '/a b' '/$c'; do"),
        (Query(vg="a b;c"), "vg='a b;c'"),
        (Query(devices=("/dev/a b", "/dev/$c")), "for d in '/dev/a b' '/dev/$c'; do"),
        (Query(image="r/a b:t"), "images ls 'name==r/a b:t'"),
    ],
)
def test_every_name_in_the_script_is_quoted(query: Query, quoted: str) -> None:
    assert quoted in facts.script(query)


def test_gather_is_one_command() -> None:
    c = Machine([looks_like()])
    have = facts.gather(c, Query())
    assert c.log == ["gather"]
    assert (have.system.distribution, have.system.arch) == ("debian", "amd64")
    assert have.versions["containerd"].current is None
    assert have.pool.table is None


def test_gather_looks_also_when_dry() -> None:
    c = Machine([looks_like()], dry=True)
    assert facts.gather(c, Query()).system.arch == "amd64"


@pytest.mark.parametrize("name", facts.MODULES)
def test_a_fragment_runs_behind_what_it_uses(name: str) -> None:
    fragment = facts.MODULES[name].fragment(Query(image="r/i:t", prove=True))
    uses = (r"\b(unit|way) \d|\$units\b", r"\$pools\b|\$\{?held\b", r"\$udev\b|\$\{?room\b", r"\$suspended\b|\basked ")
    assert [name in users for _, users in prelude.USES] == [bool(re.search(use, fragment)) for use in uses]


def test_a_query_for_some_facts_gathers_no_others() -> None:
    query = Query(only=("needs",))
    c = Machine(["".join(f"@@ {name}\n{recorded(name, 'fresh')}" for name in ("system", "needs", "units"))])
    have = facts.gather(c, query)
    whole = facts.parse(looks_like())
    assert (have.system, have.needs, have.units) == (whole.system, whole.needs, whole.units)
    assert c.scripts == [target.PROLOGUE + facts.script(query)]
    assert "$pools" not in facts.script(query)
    for reads in (lambda: have.pool.table, lambda: "/etc/x" in have.files, lambda: list(have.disks)):
        with pytest.raises(LookupError, match="did not ask for the fact"):
            reads()


def test_a_query_for_all_facts_is_not_narrowed_by_another() -> None:
    needs, files, everything = Query(only=("needs",)), Query(only=("files",), files=("/a",)), Query()
    assert together([needs, files]).only == ("needs", "files")
    assert together([needs, everything, files]).only == ()


def test_a_banner_before_the_facts_is_not_one() -> None:
    assert facts.parse("Welcome!\n\n" + looks_like()) == facts.parse(looks_like())


@pytest.mark.parametrize(
    "output", ["", "sh: not found\n", "@@ system\nid debian\n", looks_like().partition("@@ smoke")[0]]
)
def test_an_answer_cut_short_is_a_failure_that_shows_it(output: str) -> None:
    with pytest.raises(Failed, match="facts script did not finish") as failed:
        facts.parse(output)
    assert "smoke" in failed.value.details
    assert output.strip()[-100:].splitlines()[-1:] == failed.value.details.splitlines()[1:][-1:]


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("system", "id debian\n"),
        ("versions", "dir stranger 1\n"),
        ("files", "@mode rw /etc/x\n"),
        ("containerd", "plugin a\n"),
        ("pool", "table 0 many thin-pool\n"),
        ("pool", "file 1 x /d/data\n"),
    ],
)
def test_an_answer_that_makes_no_sense_is_a_failure_that_names_the_fact(name: str, text: str) -> None:
    with pytest.raises(Failed, match=f"cannot parse the {name} facts") as failed:
        facts.parse(looks_like(**{name: text}))
    assert text.strip() in failed.value.details


def test_a_file_with_our_marks_in_it_stays_a_file() -> None:
    text = "@mode 644 /etc/x\n@file /etc/x\n|@@ smoke\n|@file /etc/y\n|@mode 777 /etc/y\n"
    have = facts.parse(looks_like(files=text))
    assert have.files == {"/etc/x": files.FileFact("@@ smoke\n@file /etc/y\n@mode 777 /etc/y\n", 0o644)}


names = st.text(st.characters(exclude_characters="\n\0", exclude_categories=["Cs"]), min_size=1).map("/{}".format)
lines = st.text(st.characters(exclude_characters="\n\0", exclude_categories=["Cs"]))


@given(st.dictionaries(names, st.tuples(st.lists(lines), st.integers(0, 0o7777)), max_size=4))
def test_files_come_back_as_they_went(written: dict[str, tuple[list[str], int]]) -> None:
    # What stat and awk print: all modes first, and of an empty file nothing but its mode.
    text = "".join(f"@mode {mode:o} {name}\n" for name, (_, mode) in written.items())
    for name, (content, _) in written.items():
        text += (f"@file {name}\n" if content else "") + "".join(f"|{line}\n" for line in content)
    assert files.parse(text) == {
        name: files.FileFact("".join(f"{line}\n" for line in content), mode)
        for name, (content, mode) in written.items()
    }


STATUS = {
    "0 209715200 thin-pool 1 161/19200 160/1638400 - rw discard_passdown queue_if_no_space - 1024": pool.Status(
        161, 19200, 160, 1638400, "rw", needs_check=False, when_full="queue", transaction=1
    ),
    "0 209715200 thin-pool 1 161/19200 160/1638400 - rw discard_passdown queue_if_no_space": pool.Status(
        161, 19200, 160, 1638400, "rw", needs_check=False, when_full="queue", transaction=1
    ),
    "0 8 thin-pool 0 9/9 5/5 7 out_of_data_space no_discard_passdown error_if_no_space - 1": pool.Status(
        9, 9, 5, 5, "out_of_data_space", needs_check=False, when_full="error"
    ),
    "0 8 thin-pool 0 9/9 5/5 - ro discard_passdown queue_if_no_space needs_check 1": pool.Status(
        9, 9, 5, 5, "ro", needs_check=True, when_full="queue"
    ),
    "0 8 thin-pool Fail": pool.Status(0, 0, 0, 0, "Fail", needs_check=False),
    "0 8 thin-pool Error": pool.Status(0, 0, 0, 0, "Error", needs_check=False),
    "0 8 linear": None,
}


@pytest.mark.parametrize(("line", "status"), STATUS.items(), ids=STATUS.keys())
def test_status_of_old_new_and_broken_pools(line: str, status: pool.Status | None) -> None:
    assert pool.parse_status(line.split()) == status


def test_architectures_and_families() -> None:
    text = (RECORDED / "system" / "fresh.txt").read_text()
    arm = text.replace("x86_64", "aarch64")
    assert facts.system.parse(arm).arch == "arm64"
    assert facts.system.parse(text.replace("x86_64", "riscv64")).arch == "riscv64"
    for line, family in {
        "id ubuntu\nlike debian": "debian",
        "id linuxmint\nlike ubuntu debian": "debian",
        "id rocky\nlike rhel centos fedora": "redhat",
        "id fedora\nlike ": "redhat",
        "id openEuler\nlike ": "redhat",
        "id alpine\nlike ": "alpine",
    }.items():
        assert facts.system.parse(text.replace("id debian\nlike ", line)).family == family


strings = st.lists(st.text('[]{}=.,"# ax0\n', max_size=12), max_size=6).map("\n".join)


@given(strings, strings)
@example("[# see the docs]", "")
@example("[a = {b = 1, c = 2} # x]", "")
@example(f"[x = {'[' * 5000}]", "")
def test_whatever_a_configuration_has_in_its_strings_it_is_read(one: str, other: str) -> None:
    text = f"a = '''\n{one}\n'''\n[plugins.x]\nb = '''\n{other}\n'''\n"
    assert config.source("/etc/containerd/config.toml", text).problem == ""


def test_a_configuration_without_end_is_a_problem() -> None:
    assert "is not TOML" in config.source("/etc/containerd/config.toml", f"a = {'[' * 100_000}").problem


def test_the_last_drop_in_decides_what_a_stop_kills() -> None:
    lines = [
        ("/etc/systemd/system/containerd.service.d/a.conf", "process"),
        ("/etc/systemd/system/service.d/z.conf", "none"),
        ("/run/systemd/system/containerd.service.d/b.conf", "mixed"),
        ("/usr/lib/systemd/system/containerd.service.d/b.conf", "control-group"),
    ]
    text = "".join(f"killing {number} {mode} {path}\n" for number, (path, mode) in enumerate(lines, 1))
    found = containerd.parse(text).kill_line
    assert found and (found.path, found.mode) == (lines[2][0], "mixed")
