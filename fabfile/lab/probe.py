"""Questions that only an actual boot can answer; the answers are cached under everything that they depend on."""

from __future__ import annotations

import hashlib
import os
import select
import subprocess
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from time import monotonic
from typing import Any

from fabfile import paths
from fabfile.artefacts.download import locked
from fabfile.lab import files, tools
from fabfile.lab.progress import progress

STATUS = Path("/proc/self/status")
SECURITY = (Path("/proc/sys/kernel/yama/ptrace_scope"), Path("/proc/self/attr/current"))

WORKS, NOT = "yes\n", "no: "
"""Prefixes of cached answers; an empty file is none, so a power cut does not leave one."""


def remembered(name: str, depends: Sequence[str], ask: Callable[[Path], str]) -> str:
    """Return why something does not work here, from the cache or by trying it; empty: it works.

    Args:
        name: what is tried, such as `kvm`.
        depends: everything that the answer depends on.
        ask: tries it in an empty directory, which takes seconds; returns the reason, or empty.

    Raises:
        Failed: it could not be tried.
    """
    digest = hashlib.sha256("\0".join(depends).encode()).hexdigest()[:16]
    answer = paths.cache() / "probes" / f"{name}-{digest}"
    with locked(answer):
        known = answer.read_text() if answer.exists() else ""
        if known != WORKS and not known.startswith(NOT):
            with (
                files.writing(answer.parent, "XDG_CACHE_HOME"),
                progress(f"{name}: does it boot a kernel on this controller?"),
            ):
                why = _ask(answer.with_name(f".{answer.name}.part"), ask)
                known = f"{NOT}{why}" if why else WORKS
                files.write(answer, known)
        return "" if known == WORKS else known.removeprefix(NOT)


def _ask(directory: Path, ask: Callable[[Path], str]) -> str:
    files.fresh(directory)
    try:
        return ask(directory)
    finally:
        files.discard(directory)


def confinement() -> list[str]:
    """Security settings of this process: containers may share the cache, but the answers in it depend on these."""
    found = [line for line in STATUS.read_text().splitlines() if line.startswith(("CapEff", "NoNewPrivs", "Seccomp"))]
    for file in SECURITY:
        with suppress(OSError):  # they do not exist without Yama, or without a security module with profiles
            found.append(file.read_text().strip())
    return found


def says(command: Sequence[str | Path], words: bytes, limit: float, **options: Any) -> bool:
    """Run a command until it has printed some text, then end it. It is killed when we are.

    Args:
        command: program and arguments.
        words: the text to wait for in its standard output.
        limit: seconds to wait.
        options: options of subprocess.Popen.

    Returns:
        Whether the text was printed.
    """
    end, printed = monotonic() + limit, b""
    with subprocess.Popen(
        [*tools.ENDS_WITH_US, *map(str, command)],
        stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, **options,
    ) as process:  # fmt: skip
        assert process.stdout is not None
        try:
            while words not in printed and (left := end - monotonic()) > 0:
                if select.select([process.stdout], [], [], left)[0]:
                    more = os.read(process.stdout.fileno(), 65536)
                    if not more:
                        break
                    printed = printed[-len(words) :] + more
        finally:
            process.kill()
    return words in printed
