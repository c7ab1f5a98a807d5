"""How a change is shown to an operator, and the form of the script that makes it."""

from __future__ import annotations

import shlex
from contextlib import suppress
from pathlib import Path

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fabfile.apply import apply, apply_script
from fabfile.artefacts import releases
from fabfile.artefacts.cache_files import sha256
from fabfile.output.json_document import as_json
from fabfile.plan import Change, Command, File, Upload, describe
from fabfile.remote.lock import GENERATION, LOCK, STALE, Stale
from fabfile.shell import words
from tests.unit.fakes import Machine, Remote, have, looks_like


class Source(msgspec.Struct, frozen=True):
    """A file on the controller."""

    file: str
    label: str = "go-1.26.5-5c2c3b16caef"

    def path(self) -> Path:
        """Its path."""
        return Path(self.file)


def test_a_command_is_shown_line_by_line() -> None:
    assert describe(Command("activate it", "a\n b\n"), diff=True) == ["* activate it", "  $ a", "  $  b"]


def test_an_upload_is_shown_with_its_source() -> None:
    assert describe(Upload("go in /opt", Source("x"), "tar x"), diff=True) == [
        "* go in /opt",
        "  < go-1.26.5-5c2c3b16caef",
        "  $ tar x",
    ]


def test_a_new_file_is_shown_by_its_size() -> None:
    change = File("the unit", "/etc/x", "a\n" * 3000, mode=0o600)
    assert describe(change) == ["* the unit: /etc/x, new, 5.9K"]
    assert describe(change, diff=True) == ["* the unit: /etc/x, new, 5.9K", "  mode 600"]


CHANGES = [
    Command("activate it", "a\nb\n"),
    Upload("go in /opt", Source("x"), "tar x"),
    File("the unit", "/etc/x", "a\nc\n", before="a\nb\n"),
]


@pytest.mark.parametrize("change", CHANGES)
def test_without_diff_a_change_is_one_line(change: Change) -> None:
    (line,) = describe(change)
    assert line.startswith(f"* {change.why}")


def test_a_changed_file_is_shown_as_what_changes() -> None:
    assert describe(File("the unit", "/etc/x", "a\nc\n", before="a\nb\n"), diff=True)[1:] == [
        "  --- /etc/x", "  +++ /etc/x", "  @@ -1,2 +1,2 @@", "   a", "  -b", "  +c",
    ]  # fmt: skip


def test_a_file_of_the_same_content_is_shown_with_its_mode() -> None:
    change = File("the script", "/etc/x", "a\n", before="a\n", mode=0o755)
    assert describe(change, diff=True) == ["* the script: /etc/x", "  mode 755"]


def test_json_says_what_kind_each_change_is() -> None:
    changes = [Command("a", "b"), File("c", "/d", "e"), Upload("f", Source("g"), "h")]
    kinds = [change["type"] for change in msgspec.json.decode(as_json(changes))]
    assert kinds == ["command", "file", "upload"]


def test_json_has_of_a_source_what_names_it() -> None:
    go = releases.load("2.3", "amd64").go
    (upload,) = msgspec.json.decode(as_json([Upload("f", go, "h")]))
    assert upload["source"]["version"] == go.version
    assert upload["source"]["sha256"] == go.sha256


def test_the_same_plan_is_the_same_json() -> None:
    assert as_json(have()) == as_json(have())


def test_a_file_that_is_replaced_keeps_its_owner_and_a_new_one_is_never_wider_than_its_mode() -> None:
    lines = apply_script([File("a", "/etc/x", "new", before="old", mode=0o600)], {}, "0")
    assert 'chown --reference=/etc/x "$1"' in lines
    assert "umask 066; printf %s new" in lines
    assert "chown" not in apply_script([File("a", "/etc/x", "new")], {}, "0")


def test_every_change_has_its_mark_and_its_own_shell() -> None:
    changes: list[Change] = [Command("a", "first"), Command("b", "second")]
    lines = apply_script(changes, {}, "0").splitlines()
    assert lines[lines.index("echo @@0") + 1 :][:6] == [
        "(set -eu", "first", ") 9>&- </dev/null 2>&1", "echo @@1", "(set -eu", "second",
    ]  # fmt: skip


def test_files_and_their_names_are_on_the_disk_before_they_are_used_and_at_the_end() -> None:
    changes: list[Change] = [
        File("new", "/etc/new.d/a", "a\n"),
        File("old", "/etc/b", "b\n", before="a\n", backup="/etc/b.bak"),
        Command("use them", "use"),
        File("last", "/srv/c", "c\n", before="b\n"),
    ]
    lines = apply_script(changes, {}, "0").splitlines()
    assert lines[lines.index("echo @@2") - 1] == "sync /etc/new.d/a /etc/new.d /etc"
    assert lines[-2:] == ["sync /srv", ":"]
    assert "[ ! -e /etc/b ] || { cp -p /etc/b /etc/b.bak; sync /etc/b.bak; }" in lines
    # A replacement is on disk before it is renamed.
    places = [number for number, line in enumerate(lines) if line == 'sync "$1"']
    assert [lines[number + 1].split()[:3] for number in places] == [["mv", "-fT", '"$1"']] * 2


def test_the_lock_outlives_the_last_change() -> None:
    # In a subshell, dash runs the last command in the process that holds the lock, with all of its redirections.
    assert apply_script([Command("a", "first")], {}, "0").splitlines()[-1] == ":"


def test_the_lock_comes_before_everything_else() -> None:
    lines = apply_script([Command("a", "first")], {}, "0").splitlines()
    assert lines[0] == f"umask 077; exec 9>>{LOCK}; umask 022; chmod 600 {LOCK}"
    assert lines[1].startswith("flock -w 5 9 ||")
    taken = lines.index("say_holders; exit 75; }")
    assert GENERATION in lines[taken + 1] and "first" in lines[taken + 2 :]


@given(st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"])))
def test_no_generation_breaks_out_of_its_quotes(generation: str) -> None:
    _, _, rest = apply_script([], {}, generation).partition('[ "$now" = ')
    word, _, _ = rest.partition(f" ] || {{ cat {LOCK}; exit {STALE}; }}\n")
    assert shlex.split(word) == [generation]


@pytest.mark.parametrize(("wait", "seconds"), [(None, 5), (0, 0), (3, 3), (600, 5)])
def test_a_script_waits_for_the_lock_itself_for_seconds_only(wait: int | None, seconds: int) -> None:
    lines = apply_script([Command("a", "first")], {}, "0", "step", wait).splitlines()
    assert lines[1].startswith(f"flock -w {seconds} 9 ||")
    exported = [line for line in lines if line.startswith("export ")]
    assert exported == ([] if wait is None else [f"export DEVMAPPER_POOL_WAIT={wait}"])


def test_words_are_quoted_one_by_one() -> None:
    assert words("rm", "-f", Path("/a b"), 7, "it's") == "rm -f '/a b' 7 'it'\"'\"'s'"


def test_an_upload_here_is_used_where_it_is(tmp_path: Path) -> None:
    source = tmp_path / "tar"
    source.write_text("x")
    c = Machine([looks_like()])
    assert apply(c, "step", [Upload("f", Source(str(source)), "tar x")], have()) is not None
    assert c.log == ["apply"]
    assert f"set -- {source}\n" in c.scripts[0]
    assert sha256(source) in c.scripts[0]


@pytest.mark.parametrize("answer", [(0, ""), (STALE, "")])
def test_an_upload_elsewhere_is_removed_after_use(tmp_path: Path, answer: tuple[int, str]) -> None:
    source = tmp_path / "tar"
    source.write_text("x")
    c = Remote([looks_like()], [answer])
    with suppress(Stale):
        apply(c, "step", [Command("before", "true"), Upload("f", Source(str(source)), "tar x")], have())
    (path,) = c.files
    assert c.files == {path: "x"}
    assert c.log == ["apply", "run"]
    assert c.scripts[1].endswith(f"rm -rf {path.removesuffix('/file')}")
    assert f"set -- {path}\n" in c.scripts[0]


def test_the_digest_of_a_file(tmp_path: Path) -> None:
    (tmp_path / "x").write_bytes(b"abc")
    assert sha256(tmp_path / "x") == "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
