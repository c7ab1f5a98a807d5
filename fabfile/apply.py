"""Make changes true on a machine: one script under the machine's lock, which stops at the first that fails."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import PurePosixPath
from typing import TYPE_CHECKING

from fabfile import target
from fabfile.errors import Failed, Problem, Refused
from fabfile.facts import Facts
from fabfile.facts.units import UDEV
from fabfile.kept import sha256
from fabfile.plan import Change, Command, File, Upload, words
from fabfile.target import quote

if TYPE_CHECKING:
    from fabfile.context import Context

LOCK = "/run/containerd-devmapper.lock"
GENERATION = "/run/containerd-devmapper.generation"
BUSY, STALE = 75, 76
"""Exit codes of the apply script: another operator holds the lock; the machine changed since it was looked at."""
RESTART_UDEV = "systemctl restart systemd-udevd"
"""What helps a udev that does not answer."""
REFUSED = 77
"""Exit code of a change that looked once more and did nothing; of the first one it means that nothing was touched."""


def apply(c: Context, name: str, changes: list[Change], have: Facts, look: str = "") -> str | None:
    """Apply `changes` in one command, under the machine's lock, and return what they printed, each behind its mark.

    None: somebody else was faster, plan again. `look` is the facts script, to save a round trip: what the machine says
    of itself then comes after what the changes printed.
    """
    if have.units.silent:
        raise Refused(
            f"{name}: udev does not answer on this machine",
            f"whatever creates or removes a device would wait for ever; it had {UDEV} s to answer",
            hint=RESTART_UDEV,
        )
    staged: dict[int, tuple[str, str]] = {}
    for number, change in enumerate(changes):
        if isinstance(change, Upload):
            path = change.source.path()
            staged[number] = (target.stage(c, path, change.source.label), sha256(path))
    script = apply_script(changes, staged, have.system.generation)
    if look:
        script += f"set +e; echo\n{look}\nexit 0\n"  # whether it looked to the end is seen in what it says
    result = target.run(c, script)
    target.unstage(c, [path for path, _ in staged.values()])
    begun = result.stdout.startswith("@@")  # from here on an exit code is a change's, whatever its number
    if result.exited == STALE and not begun:
        return None
    if result.exited == BUSY and not begun:
        raise Failed(
            f"{name}: another operator is changing this machine", result.stdout, hint="wait, then run it again"
        )
    if result.exited:
        raise _failure(name, changes, result.stdout + result.stderr, result.exited)
    return str(result.stdout)


def apply_script(changes: Sequence[Change], staged: dict[int, tuple[str, str]], generation: str) -> str:
    """One script that makes all changes in order and stops at the first that fails.

    The lock is the kernel's (flock): it ends with the script, however that ends. A generation counts the changes made
    on this machine; a plan made for an older one is not applied.
    """
    lines = [
        f"exec 9>>{LOCK}",
        f"flock -w 5 9 || {{ cat {LOCK}; echo $(($(date +%s) - $(stat -c %Y {LOCK}))) s ago; exit {BUSY}; }}",
        f"now=''; [ ! -r {GENERATION} ] || read -r now <{GENERATION}",
        f'now=${{now:-0}}; [ "$now" = {quote(generation)} ] || exit {STALE}',
        f"echo $((now + 1)) >{GENERATION} || {{ echo 'nothing can be written to /run:'; df /run; exit 1; }}",
        f'echo "held by ${{SUDO_USER:-$(id -un)}} from ${{SSH_CLIENT:-this machine}}, pid $$, since $(date)" >{LOCK}',
        "set -e",
    ]
    written: list[File] = []
    for number, change in enumerate(changes):
        if not isinstance(change, File):
            lines += _durable(written)
            written = []
        # Closing 9: a daemon that a change starts must not inherit the lock.
        lines += [f"echo @@{number}", "(set -eu", *_script(change, staged.get(number)), ") 9>&- </dev/null 2>&1"]
        if isinstance(change, File):
            written.append(change)
    # A shell may run the last command without a process of its own: then what closes 9 for a change closes it for us,
    # and the lock is gone while the change goes on.
    return "\n".join([*lines, *_durable(written), ":"]) + "\n"


def _durable(written: Sequence[File]) -> list[str]:
    """Have files and their names on the disk before they are used: after a power cut there is what we said there is.

    The content of a file is one thing to sync, its name in its directory is another, and so is a new directory's name.
    """
    paths: list[str] = []
    for change in written:
        parent = PurePosixPath(change.path).parent
        # The content of a file that took another's place was synced before it did.
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
            # Most of a small script's time is the programs that it starts: none where the shell itself will do.
            lines = [
                f"[ -d {directory} ] || mkdir -p {directory}",
                # Always the same name, under the lock: what a killed run left is taken away by the next one.
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
            # An old file is replaced by one that is on the disk; new ones are synced together, before they are used.
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
    doing = changes[number].why if number >= 0 else "taking the machine's lock"
    tail, hint = hinted("\n".join(text[-40:]))
    return Failed(
        f"{name}: {doing}: failed",
        f"exit code {code}\n{tail}",
        hint=hint or "fix the cause and rerun the same command; it resumes where it stopped",
    )


NOTE = "note: "
"""How a line of a script's output begins that a person is to see although nothing failed."""

HINT = "hint: "
"""How a line of a script's output begins that says what to do about its failure."""


def notes(output: str) -> list[str]:
    """What changes noted in what they printed."""
    printed = output.partition("\n@@ ")[0].splitlines()
    return [line.removeprefix(NOTE) for line in printed if line.startswith(NOTE)]


def hinted(output: str) -> tuple[str, str]:
    """What a script printed, and apart from it the hint that it gave; empty where it gave none."""
    lines = output.splitlines()
    hints = [line.removeprefix(HINT) for line in lines if line.startswith(HINT)]
    return "\n".join(line for line in lines if not line.startswith(HINT)), hints[-1] if hints else ""
