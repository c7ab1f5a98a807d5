"""Apply changes to a machine: one script under the machine's lock, which stops at the first failure."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import PurePosixPath
from typing import TYPE_CHECKING

from fabfile import activity
from fabfile.artefacts.cache_files import sha256
from fabfile.errors import Failed, Problem, Refused
from fabfile.facts import Facts
from fabfile.facts.units import UDEV
from fabfile.plan import Change, Command, File, Upload
from fabfile.remote import lock, target
from fabfile.shell import quote, words

if TYPE_CHECKING:
    from fabfile.remote.context import Context

RESTART_UDEV = "systemctl restart systemd-udevd"
"""Command that makes udev respond again."""
LONGEST = 20
"""Bytes that are kept of an incomplete line: more than a mark of the apply script has."""
REFUSED = 77
"""Exit code of a change that refused its target and did nothing; if it is the first, nothing was changed at all."""


def apply(c: Context, name: str, changes: list[Change], have: Facts, facts_script: str = "") -> str:
    """Apply changes in one command, under the machine's lock.

    Args:
        c: the machine.
        name: name of the step or task.
        changes: what to do.
        have: the facts that the changes were planned from.
        facts_script: the facts script, to be run after the changes, which saves a round trip.

    Returns:
        What the changes printed, each after its mark, and then the output of `facts_script`.

    Raises:
        Stale: the machine was changed by somebody else since the facts were gathered: plan again.
        Refused: udev does not respond, or the first change refused its target.
        Failed: a change failed, or another operator holds the lock.
    """
    if have.units.silent:
        raise Refused(
            f"{name}: udev does not answer on the host",
            f"udev did not answer within {UDEV} s; any command that creates or removes a device would hang",
            hint=RESTART_UDEV,
        )
    staged: dict[int, tuple[str, str]] = {}
    for number, change in enumerate(changes):
        if isinstance(change, Upload):
            path = change.source.path()
            staged[number] = (target.stage(c, path, change.source.label), sha256(path))
    uploads = [path for path, _ in staged.values()]
    clear = target.removal(c, uploads)
    script = apply_script(changes, staged, have.system.generation, name, lock.patience(c), clear)
    if facts_script:
        script += f"set +e; echo\n{facts_script}\nexit 0\n"  # its output shows whether it finished
    progress = Progress(changes)
    with activity.doing(progress.__str__):
        result = lock.run(c, name, script, progress.hear)
    if not lock.begun(result):
        target.unstage(c, uploads)
    lock.check(name, result)
    if result.exited:
        raise _failure(name, changes, result.stdout + result.stderr, result.exited)
    return result.stdout


class Progress:
    """Tracks which change is being made, by the marks in the output of the apply script."""

    def __init__(self, changes: Sequence[Change]) -> None:
        self._changes, self._number, self._rest = changes, -1, b""

    def hear(self, piece: bytes) -> None:
        """Read the next piece of the output."""
        *lines, rest = (self._rest + piece).split(b"\n")
        self._rest = rest[-LONGEST:]  # of a line without end, enough to tell that it is not a mark
        for line in lines:
            if line == b"@@%d" % (self._number + 1) and self._number + 1 < len(self._changes):
                self._number += 1

    def __str__(self) -> str:
        """Return the reason of the current change; empty before the first one."""
        return self._changes[self._number].why if self._number >= 0 else ""


def apply_script(
    changes: Sequence[Change],
    staged: dict[int, tuple[str, str]],
    generation: str,
    name: str = "",
    wait: int | None = None,
    clear: str = "",
) -> str:
    """Compose the script that takes the machine's lock, makes all changes in order, and stops at the first failure.

    Args:
        changes: what to do.
        staged: number of an upload → path and digest of its file on the machine.
        generation: the generation that the changes were planned for, see `lock.taken`.
        name: name of the step or task.
        wait: seconds to wait for the lock.
        clear: command that removes the uploads, however the script ends once it has the lock; empty: there are none.
    """
    lines = [*lock.taken(generation, name, wait), "set -e"]
    if clear:
        # When the connection is lost, all processes get SIGTERM, and one that still prints something gets SIGPIPE.
        lines.append(f"trap {quote(clear)} EXIT; trap 'exit 143' TERM PIPE")
    written: list[File] = []
    for number, change in enumerate(changes):
        if not isinstance(change, File):
            lines += _durable(written)
            written = []
        # Descriptor 9 is closed, so that a daemon started by a change does not inherit the lock.
        lines += [f"echo @@{number}", "(set -eu", *_script(change, staged.get(number)), ") 9>&- </dev/null 2>&1"]
        if isinstance(change, File):
            written.append(change)
    # A shell may run its last command without forking; then closing 9 for that change would release the lock while the
    # change is still running.
    return "\n".join([*lines, *_durable(written), ":"]) + "\n"


def _durable(written: Sequence[File]) -> list[str]:
    """Sync files and their directory entries before they are used, so that they survive a power cut.

    The content of a file, its entry in its directory, and the entry of a new directory have to be synced separately.
    """
    paths: list[str] = []
    for change in written:
        parent = PurePosixPath(change.path).parent
        # A file that replaces another one is synced before that.
        paths += [str(parent)] if change.before is not None else [change.path, str(parent), str(parent.parent)]
    return [words("sync", *dict.fromkeys(paths))] if paths else []


def _script(change: Change, staged: tuple[str, str] | None) -> list[str]:
    match change:
        case Command():
            return [*filter(None, [change.functions]), change.script]
        case Upload():
            assert staged is not None
            path, digest = map(quote, staged)
            return [
                f"set -- {path}",
                f'echo {digest}"  $1" | sha256sum -c --quiet - || {{ echo "the transfer broke"; exit 1; }}',
                change.script,
            ]
        case File():
            path, directory = quote(change.path), quote(str(PurePosixPath(change.path).parent))
            # Starting programs takes most of a small script's time, so the shell itself does what it can.
            lines = [
                f"[ -d {directory} ] || mkdir -p {directory}",
                # Always the same name, under the lock, so that the next run removes what a killed one left.
                f"set -- {quote(change.path + '.new')}; trap 'rm -f \"$1\"' EXIT",
                '[ ! -e "$1" ] || rm -f "$1"',
                f'umask {0o777 & ~change.mode & ~0o111:03o}; printf %s {quote(change.content)} >"$1"; umask 022',
                *([f'chmod {change.mode:o} "$1"'] if change.mode & 0o111 else []),
                *([f'[ ! -e {path} ] || chown --reference={path} "$1"'] if change.before is not None else []),
            ]
            if change.validate:
                lines.append(change.validate)
            if change.backup:
                backup = quote(change.backup)
                lines.append(f"[ ! -e {path} ] || {{ cp -p {path} {backup}; sync {backup}; }}")
            # A replacement is synced before it is renamed; new files are synced together, before they are used.
            sync = [] if change.before is None else ['sync "$1"']
            return [*lines, *sync, f'mv -fT "$1" {path}; trap - EXIT']


def _failure(name: str, changes: list[Change], output: str, code: int) -> Problem:
    number, text = -1, list[str]()
    for line in output.splitlines():
        if line == f"@@{number + 1}" and number + 1 < len(changes):
            number, text = number + 1, []
        else:
            text.append(line)
    if code == REFUSED and number == 0:
        first, *rest = text or ["it is in use"]
        return Refused(f"{name}: {first}", "\n".join(rest), hint="nothing was touched; fix that, then run it again")
    doing = changes[number].why if number >= 0 else "taking the host's lock"
    tail, hint = hinted("\n".join(text[-40:]))
    return Failed(
        f"{name}: {doing}: failed",
        f"exit code {code}\n{tail}",
        hint=hint or "fix the cause and rerun the same command; it resumes where it stopped",
    )


NOTE = "note: "
"""Prefix of a line in a script's output that is shown to the operator although nothing failed."""

HINT = "hint: "
"""Prefix of a line in a script's output that tells how to fix its failure."""


def notes(output: str) -> list[str]:
    """Return the notes in the output of changes."""
    printed = output.partition("\n@@ ")[0].splitlines()
    return [line.removeprefix(NOTE) for line in printed if line.startswith(NOTE)]


def hinted(output: str) -> tuple[str, str]:
    """Separate the output of a script from its last hint, which is empty if there is none."""
    lines = output.splitlines()
    hints = [line.removeprefix(HINT) for line in lines if line.startswith(HINT)]
    return "\n".join(line for line in lines if not line.startswith(HINT)), hints[-1] if hints else ""
