"""Questions that only a real boot answers, asked once: the answer is remembered under all that it depends on."""

from __future__ import annotations

import hashlib
import os
import select
import subprocess
from collections.abc import Callable, Sequence
from pathlib import Path
from time import monotonic
from typing import Any

from fabfile import paths
from fabfile.lab.progress import progress
from fabfile.releases import locked


def remembered(name: str, depends: Sequence[str], ask: Callable[[], str]) -> str:
    """Why something does not work here, or nothing: from an earlier time, or asked now.

    Args:
        name: what it is about, such as `kvm`.
        depends: all that the answer depends on.
        ask: finds it out; takes seconds.
    """
    digest = hashlib.sha256("\0".join(depends).encode()).hexdigest()[:16]
    answer = paths.cache() / "probes" / f"{name}-{digest}"
    with locked(answer):
        if not answer.exists():
            with progress(f"{name}: does it boot a kernel here?"):
                why = ask()
            part = answer.with_suffix(".part")
            part.write_text(why)
            part.rename(answer)
        return answer.read_text()


def says(command: Sequence[str | Path], words: bytes, limit: float, **options: Any) -> bool:
    """Run a command until it has printed some words, then end it.

    Args:
        command: program and arguments.
        words: what to wait for in its standard output.
        limit: seconds to wait for them.
        options: of subprocess.Popen.

    Returns:
        Whether they came.
    """
    end, printed = monotonic() + limit, b""
    with subprocess.Popen(
        list(map(str, command)), stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, **options
    ) as process:
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
