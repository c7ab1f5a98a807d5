"""Every command of ours in README.md, docs/ and the like is one that inv and fab take, options included."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from pathlib import Path

import pytest
from fabric.main import Fab
from invoke import Program

import fabfile
import tasks
from fabfile.cli import commandline, core_options
from fabfile.paths import REPOSITORY

PAGES = [REPOSITORY / f"{name}.md" for name in ("README", "SECURITY", "CONTRIBUTING")]
PAGES += sorted((REPOSITORY / "docs").glob("*.md"))

PLACEHOLDERS = {
    "TASK": "deploy", "NAME": "lab-1", "HOSTS": "hosts", "DEV": "/dev/sdb", "DEVICE": "/dev/sdb", "POOL": "pool",
    "SIZE": "1G", "DIR": "/srv/pool", "FILE": "/dev/null", "ID": "/dev/sdb",
    "RUN": "20261128-024452-123",
}  # fmt: skip


def commands(page: Path) -> Iterator[str]:
    """The commands of inv and fab in its code: indented lines, and what stands in backquotes."""
    text = page.read_text()
    found = [line.strip() for line in text.splitlines() if line.startswith("    ")]
    found += re.findall(r"`([^`\n]+)`", text)
    for each in found:
        each = re.split(r"  #| # | \| | > ", each)[0].removeprefix("$ ")
        each = re.sub(r"^(?:[A-Z_]+=\S+ )+", "", each.removeprefix("./bootstrap ").removeprefix("sudo "))
        if re.match(r"(inv|fab) ", each):
            yield each


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_command_is_taken(page: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for command in commands(page):
        words = [PLACEHOLDERS.get(word, word) for word in shlex.split(command)]
        monkeypatch.setattr("sys.argv", words)
        program, namespace = (
            (Fab(name="Fabric"), fabfile.ns) if words[0] == "fab" else (Program(name="Invoke"), tasks.ns)
        )
        program.parse_core(words)
        commandline.check(program, namespace)


def test_commands_are_found() -> None:
    assert len(list(commands(PAGES[0]))) > 8


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_option_that_is_named_is_one(page: Path) -> None:
    """`--size` in backquotes, without the task that it belongs to."""
    known = {each.option.flag for name in (*tasks.ns.task_names,) for each in tasks.ns[name].get_arguments()}
    known |= {flag for program in (Fab(), Program()) for flag in program.initial_context.flags}
    known |= {f"--{each.names[0]}" for each in core_options.arguments("Fabric")}
    named = set(re.findall(r"`(--[a-z][a-z-]+)(?:[ =][^`]*)?`", page.read_text()))
    assert named - known - OTHERS == set()


AVOIDED = re.compile(
    r"\b(the way out|mend(s|ed|ing)?|anew|daemons?|settings file|pools? on (files|disks))\b", re.IGNORECASE
)
"""What has another word in docs/glossary.md, or in plain English."""


def test_the_glossary_binds_the_pages_and_help() -> None:
    texts = {page.name: re.sub(r"`[^`\n]*`", "", page.read_text()) for page in PAGES}
    for name in tasks.ns.task_names:
        task = tasks.ns[name]
        texts[name] = f"{task.__doc__} {' '.join(str(each.help) for each in task.get_arguments())}"
    assert {name: found[0] for name, text in texts.items() if (found := AVOIDED.search(text))} == {}


OTHERS = {"--keep", "--machine", "--own-containerd", "--suite", "--zero", "--runc-root", "--ask", "--parse"}
"""Options of other programs, and of nox's sessions."""
