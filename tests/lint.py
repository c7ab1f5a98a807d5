"""Lint what ruff does not read: shell (plain and rendered), TOML, Jinja. Exits non-zero where one is wrong."""

from __future__ import annotations

import io
import os
import re
import shutil
import subprocess
import sys
import tempfile
import tomllib
from collections.abc import Callable, Iterator
from contextlib import redirect_stderr, redirect_stdout
from pathlib import Path

import jinja2
import pytest

from fabfile import render
from fabfile.paths import REPOSITORY

CONTROL = re.compile(rb"[\x00-\x08\x0b-\x1f\x7f]")


def tracked() -> list[Path]:
    """The files of the repository, committed or not yet."""
    command = ["git", "ls-files", "-co", "--exclude-standard"]
    listing = subprocess.run(command, cwd=REPOSITORY, check=True, capture_output=True, text=True).stdout
    return [path for name in listing.splitlines() if (path := REPOSITORY / name).is_file()]


def is_shell(path: Path) -> bool:
    """A script by its name or its first line; a template is none before it is rendered."""
    with path.open("rb") as file:
        first = file.readline()
    shebang = first.startswith(b"#!") and b"sh" in first.split(b"/")[-1]
    return path.suffix == ".sh" or (shebang and path.suffix != ".j2")


def rendered(directory: Path, templates: list[Path]) -> Iterator[Path]:
    """Write the rendered examples to files; every shell template must have one."""
    from tests.shell_examples import shell_examples

    environment = render.environment()
    environment.cache.clear()  # type: ignore[union-attr] # it has one, and holds what is compiled from here on
    examples = shell_examples()
    compiled = {name for _, name in environment.cache}  # type: ignore[union-attr]
    for name, text in examples.items():
        path = directory / f"{name}.sh"
        path.write_text(text if text.startswith("#!") else f"#!/bin/sh\n{text}")
        yield path
    for template in templates:
        if template.name.endswith(".sh.j2") and str(template.relative_to(render.TEMPLATES)) not in compiled:
            raise ValueError(f"{template.relative_to(REPOSITORY)} has no example in tests/shell_examples.py")


def planned(directory: Path) -> Iterator[Path]:
    """Write every script in the plans of all tasks to a file, for both variants of a pool.

    Many scripts are composed of strings, and have no template.

    Raises:
        ValueError: a task failed, so its scripts would go unchecked.
    """
    from tests.unit import test_every_task as every
    from tests.unit.steps.conftest import make_mirror

    (mirror := directory / "mirror").mkdir()
    known: set[str] = set()
    for tried in every.TRIES:
        with pytest.MonkeyPatch.context() as patch:
            report, _ = every.planned(tried, make_mirror(mirror), patch)
        changes = [change for step in report.steps for change in step.changes]
        if report.error:
            raise ValueError(f"{tried[0]}: {report.error.what}")
        for change in changes:
            text = "\n".join(getattr(change, part, "") for part in ("functions", "script", "validate")).strip()
            if text and text not in known:
                known.add(text)
                path = directory / f"{tried[0]}, {len(known)}.sh"
                path.write_text(f"#!/bin/sh\n{text}\n")
                yield path


def wrong(paths: list[Path], parse: Callable[[str], object]) -> Iterator[str]:
    """What `parse` says against each file."""
    for path in paths:
        try:
            parse(path.read_text())
        except (ValueError, jinja2.TemplateSyntaxError) as error:
            yield f"{path.relative_to(REPOSITORY)}: {error}"


def controls(paths: list[Path]) -> Iterator[str]:
    """Control characters that an editor does not show, such as one that should have been a backslash and a digit."""
    for path in paths:
        if found := CONTROL.search(path.read_bytes()):
            yield f"{path.relative_to(REPOSITORY)}: control character {found[0]!r}"


def shellcheck(scripts: list[Path]) -> bool:
    """Whether shellcheck finds anything. It uses one processor, so the scripts are split among all of them."""
    scripts = list({path.read_bytes(): path for path in scripts}.values())  # some variants render to the same text
    share = len(os.sched_getaffinity(0))
    checks = [["shellcheck", "--severity=style", *map(str, scripts[first::share])] for first in range(share)]
    running = [subprocess.Popen(check) for check in checks if len(check) > 2]
    codes = [process.wait() for process in running]
    return any(codes)


def main() -> int:
    """Check everything; the number of files is printed so that an empty check is seen."""
    if not shutil.which("shellcheck"):
        print("error: shellcheck is missing\nhint: ./bootstrap nox -s lint installs it", file=sys.stderr)
        return 1
    files = tracked()
    tomls = [path for path in files if path.suffix == ".toml"]
    templates = [path for path in files if path.suffix == ".j2"]
    text = [path for path in files if path.suffix in (".py", ".j2", ".sh", ".md", ".toml", ".html")]
    problems = [*controls(text), *wrong(tomls, tomllib.loads), *wrong(templates, jinja2.Environment().parse)]
    scripts = [path for path in files if is_shell(path)]
    with tempfile.TemporaryDirectory() as directory:
        try:
            scripts.extend(rendered(Path(directory), templates))
            with redirect_stdout(io.StringIO()), redirect_stderr(io.StringIO()):
                scripts.extend(planned(Path(directory)))
        except (ValueError, jinja2.TemplateError) as error:
            problems.append(f"rendering the examples: {error}")
        found = shellcheck(scripts)
    for problem in problems:
        print(f"error: {problem}", file=sys.stderr)
    print(f"{len(scripts)} shell scripts, {len(tomls)} TOML files, {len(templates)} templates")
    return 1 if found or problems or not (scripts and tomls and templates) else 0


if __name__ == "__main__":
    sys.exit(main())
