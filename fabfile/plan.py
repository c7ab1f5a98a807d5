"""A step's changes as data, and the one loop that makes them true: gather → plan → apply → look again.

A step is a name and a pure function from facts to changes. The same plan is shown by --dry, goes out as --json, and is
applied; after it was applied the machine is looked at again, and whatever is still to be done then is a failure.
"""

from __future__ import annotations

import difflib
import shlex
from collections.abc import Callable, Sequence
from pathlib import Path, PurePosixPath
from time import monotonic
from typing import TYPE_CHECKING, Any, Literal, Protocol

import msgspec

from fabfile import facts, target
from fabfile.console import say
from fabfile.errors import Failed, Pending, Problem
from fabfile.facts import Facts, Query, gather
from fabfile.target import quote

if TYPE_CHECKING:
    from invoke import Context


class Source(Protocol):
    """A file of the controller that may have to be fetched or built first."""

    @property
    def label(self) -> str:
        """Name, version and key, unique to the content: `go-1.26.5-5c2c3b16caef`."""

    def path(self) -> Path:
        """Fetch or build it, verified, and return where it is."""


class Command(msgspec.Struct, frozen=True, tag="command"):
    """Run `script` (POSIX sh, as root). It may be run twice: it is repeatable."""

    why: str
    script: str
    functions: str = ""
    """Shell functions that the script calls; left out where a plan is shown to a person."""


class File(msgspec.Struct, frozen=True, tag="file"):
    """Make `path` hold `content`, atomically, with a backup beside it if `backup` names one.

    `validate` is a command that gets the new file's temporary path as $1 and refuses it by its exit code.
    """

    why: str
    path: str
    content: str
    before: str | None = None
    mode: int = 0o644
    validate: str = ""
    backup: str = ""


class Upload(msgspec.Struct, frozen=True, tag="upload"):
    """Bring `source` to the machine, verify its digest there, and run `script` with its path as $1."""

    why: str
    source: Any  # a Source; msgspec needs a concrete type here
    script: str


Change = Command | File | Upload


class Step(msgspec.Struct, frozen=True):
    """A noun to converge: its plan is a pure function of the facts."""

    name: str
    plan: Callable[[Facts], list[Change]]
    files: tuple[str, ...] = ()
    """Files whose content and mode the plan wants to know."""


class Outcome(msgspec.Struct, frozen=True):
    """What became of a step."""

    step: str
    status: Literal["ok", "changed", "pending", "failed", "skipped"]
    reason: str
    seconds: float
    changes: list[Any] = []


def file(have: Facts, why: str, path: str, content: str, **options: Any) -> list[Change]:
    """The change, if any, that makes `path` hold `content`."""
    now = have.files.get(path)
    if now and now.content == content and now.mode == options.get("mode", 0o644):
        return []
    return [File(why=why, path=path, content=content, before=now.content if now else None, **options)]


def converge(c: Context, steps: Sequence[Step], query: Query, *, json: bool = False) -> list[Outcome]:
    """Make `steps` true in their order and say what became of each. With --dry only say what would change.

    Args:
        c: the machine.
        steps: in the order in which they depend on each other.
        query: what to ask the machine, besides the steps' files.
        json: with --dry, print the plan as one JSON document instead of a diff.

    Raises:
        Pending: with --dry, if anything would change.
        Problem: the first step that failed or refused; later steps are not tried.
    """
    query = msgspec.structs.replace(query, files=tuple(sorted({*query.files, *(f for s in steps for f in s.files)})))
    have, look = gather(c, query), facts.script(query)
    if target.is_dry(c):
        return _preview([(step.name, step.plan(have)) for step in steps], json)
    # Every plan is made once before the first change: a refusal of a late step comes before anything is touched.
    for step in steps:
        step.plan(have)
    outcomes = []
    for step in steps:
        start = monotonic()
        changes, printed = step.plan(have), None
        for _ in range(3):
            if not changes or (printed := apply(c, step.name, changes, have, look)) is not None:
                break
            have = gather(c, query)  # somebody else changed the machine since we looked
            changes = step.plan(have)
        else:
            raise Failed(f"{step.name}: the machine keeps changing", "another operator is at work", hint="run it again")
        if printed is not None:
            have = facts.parse(printed)
            _must_be_done(step, have)
        outcome = Outcome(
            step.name, "changed" if changes else "ok", _reason(changes), round(monotonic() - start, 2), list(changes)
        )
        say(f"{outcome.status:8} {step.name:22} {outcome.seconds:6.1f} s  {outcome.reason}")
        outcomes.append(outcome)
    return outcomes


def _reason(changes: list[Change]) -> str:
    return "; ".join(change.why for change in changes) if changes else "nothing to do"


def _must_be_done(step: Step, have: Facts) -> None:
    left = step.plan(have)
    if left:
        raise Failed(
            f"{step.name}: applied, but the machine does not show it",
            "\n".join(f"still to do: {change.why}" for change in left),
            hint="run it again with --dry to see the difference",
        )


def _preview(plans: list[tuple[str, list[Change]]], json: bool) -> list[Outcome]:
    if json:
        say(as_json([{"step": name, "changes": changes} for name, changes in plans]))
    else:
        for name, changes in plans:
            say(f"{'pending' if changes else 'ok':8} {name}")
            for change in changes:
                say("\n".join(f"    {line}" for line in describe(change)))
    if any(changes for _, changes in plans):
        raise Pending
    return [Outcome(name, "ok", "nothing to do", 0) for name, _ in plans]


def as_json(value: Any) -> str:
    """`value` as JSON; a source is the data that it is made of, or else its label."""
    return msgspec.json.encode(value, enc_hook=lambda source: source.label).decode()


def describe(change: Change) -> list[str]:
    """The lines that show a change to a person: why, then a diff or the commands."""
    match change:
        case Command():
            return [f"* {change.why}", *(f"  $ {line}" for line in change.script.strip().splitlines())]
        case Upload():
            return [
                f"* {change.why}",
                f"  < {change.source.label}",
                *(f"  $ {line}" for line in change.script.strip().splitlines()),
            ]
        case File():
            diff = difflib.unified_diff(
                (change.before or "").splitlines(),
                change.content.splitlines(),
                change.path if change.before is not None else "/dev/null",
                change.path,
                lineterm="",
            )
            lines = list(diff) or [f"mode {change.mode:o} {change.path}"]
            return [f"* {change.why}", *(f"  {line}" for line in lines)]


LOCK = "/run/containerd-devmapper.lock"
GENERATION = "/run/containerd-devmapper.generation"
BUSY, STALE = 75, 76
"""Exit codes of the apply script: another operator holds the lock; the machine changed since it was looked at."""


def apply(c: Context, name: str, changes: list[Change], have: Facts, look: str = "") -> str | None:
    """Apply `changes` in one command, under the machine's lock, and return what they printed, each behind its mark.

    None: somebody else was faster, plan again. `look` is the facts script, to save a round trip: what the machine says
    of itself then comes after what the changes printed.
    """
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


def sha256(path: Path) -> str:
    """The SHA-256 of a file, in hex."""
    import hashlib

    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def apply_script(changes: Sequence[Change], staged: dict[int, tuple[str, str]], generation: str) -> str:
    """One script that makes all changes in order and stops at the first that fails.

    The lock is the kernel's (flock): it ends with the script, however that ends. A generation counts the changes made
    on this machine; a plan made for an older one is not applied.
    """
    lines = [
        f"exec 9>>{LOCK}",
        f"flock -w 5 9 || {{ cat {LOCK}; exit {BUSY}; }}",
        f"now=''; [ ! -r {GENERATION} ] || read -r now <{GENERATION}",
        f'now=${{now:-0}}; [ "$now" = {quote(generation)} ] || exit {STALE}',
        f"echo $((now + 1)) >{GENERATION}",
        f'echo "held by ${{SUDO_USER:-$(id -un)}} from ${{SSH_CLIENT:-this machine}}, pid $$, since $(date)" >{LOCK}',
        "set -e",
    ]
    new: list[str] = []
    for number, change in enumerate(changes):
        if new and not isinstance(change, File):
            lines.append(words("sync", *new))
            new = []
        # Closing 9: a daemon that a change starts must not inherit the lock.
        lines += [f"echo @@{number}", "(set -eu", *_script(change, staged.get(number)), ") 9>&- </dev/null 2>&1"]
        if isinstance(change, File) and change.before is None:
            new.append(change.path)
    return "\n".join([*lines, *([words("sync", *new)] if new else [])]) + "\n"


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
            ]
            if change.validate:
                lines.append(change.validate)
            if change.backup:
                lines.append(f"[ ! -e {path} ] || cp -p {path} {quote(change.backup)}")
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
    doing = changes[number].why if number >= 0 else "taking the machine's lock"
    tail = "\n".join(text[-40:])
    return Failed(
        f"{name}: {doing}: failed",
        f"exit code {code}\n{tail}",
        hint="mend it and run the same again: it goes on from there",
    )


def words(*parts: str | int | Path) -> str:
    """Quote `parts` as the words of a shell command."""
    return shlex.join(map(str, parts))
