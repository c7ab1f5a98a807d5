"""ssh.trust: read host keys, show, confirm and record them; gateways come before the hosts behind them."""

from __future__ import annotations

import re
import shlex
import sys
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from time import monotonic
from typing import TYPE_CHECKING, Literal

import msgspec

from fabfile import inventory, ranges, workers
from fabfile.console import plural, say, shown
from fabfile.errors import Failed, Interrupted, Pending, Problem, Refused
from fabfile.host import Host
from fabfile.inventory import Inventory
from fabfile.output import outcome
from fabfile.output.answer import show
from fabfile.output.outcome import Outcome
from fabfile.remote.context import Context

if TYPE_CHECKING:
    from fabfile.ssh.hostkeys import Keys

ANSWERS = {"yes": True, "no": False}

PRINT = "ssh-keygen -lf /etc/ssh/ssh_host_ed25519_key.pub"
"""Command that prints the fingerprint on the host itself; the operator runs it at the host's console."""

Status = Literal["known", "recorded", "pending"]

AS_STEP: dict[Status, Literal["ok", "changed", "pending"]] = {
    "known": "ok",
    "recorded": "changed",
    "pending": "pending",
}
"""Status of a host's keys → status of a step: a host is reported as a step of the task."""


class Key(msgspec.Struct, frozen=True):
    """A host key."""

    kind: str
    """Kind of the key: `ssh-ed25519`."""
    fingerprint: str
    """Fingerprint, as `ssh-keygen -l` prints it."""


class Trusted(msgspec.Struct):
    """The outcome of ssh.trust for one host."""

    host: str
    """Name of the host in the inventory, or as it was typed."""
    name: str
    """Name of the host in known_hosts: `192.0.2.1` or `[192.0.2.1]:2222`."""
    file: str
    """Path of the known_hosts file."""
    status: Status
    keys: list[Key]
    """The keys that are recorded, or would be."""


class HostKeyResult(msgspec.Struct, frozen=True):
    """The result of reading the keys of a host: the keys, or the problem."""

    host: Host
    keys: Keys | None = None
    problem: Problem | None = None
    seconds: float = 0.0

    @property
    def file(self) -> Path:
        """The known_hosts file to record them in."""
        return Path(self.host.known_hosts).expanduser()


def check_fingerprint(text: str, name: str) -> None:
    """Check that a text is a SHA-256 fingerprint.

    Args:
        text: the text.
        name: name of the option, for the error.

    Raises:
        Refused: it is not a fingerprint.
    """
    if not re.fullmatch(r"SHA256:[A-Za-z0-9+/]{43}=?", text):
        what = f"{name}: {shown(text)} is not a fingerprint"
        raise Refused(what, "SHA256: and 43 characters", hint=f"on the host: {PRINT}")


def trust_hosts(c: Context, hosts: str, fingerprints: Sequence[str], *, yes: bool, known_hosts: str = "") -> None:
    """Show the keys of hosts, and record new ones once they are confirmed.

    Args:
        c: the controller; with --dry nothing is recorded.
        hosts: selection of hosts, as after -H.
        fingerprints: record only keys with one of these fingerprints, without asking.
        yes: record all keys, without asking.
        known_hosts: path of the file to record them in; empty: the file that the inventory names for each host.

    Raises:
        Refused: the keys were not confirmed, or a host has other keys than those that are recorded.
        Unreachable: a host does not answer, or a gateway is not trusted.
        Pending: with --dry, there are keys to record.
    """
    known = inventory.load()
    chosen = known.resolve(ranges.words(hosts))
    if known_hosts:
        chosen = [msgspec.structs.replace(host, known_hosts=known_hosts) for host in chosen]
    done: list[Trusted] = []
    problems: list[Problem] = []
    outcome.result(done)
    for together in _rounds(known, chosen):
        results = [_matching(result, fingerprints) for result in _read(known, together, every=bool(fingerprints))]
        for problem in (result.problem for result in results if result.problem):
            problems.append(problem)
            if len(chosen) > 1:
                say(str(problem), error=True)
        _show(results)
        new = [result for result in results if result.keys and not result.keys.known]
        if new and not c.config.run.dry and not (yes or fingerprints):
            _confirm(new, known_hosts)
        if not c.config.run.dry:
            _record(new)
        done += _told(results, dry=c.config.run.dry)
    _end(problems, len(chosen))
    if any(each.status == "pending" for each in done):
        raise Pending


def _rounds(known: Inventory, chosen: Sequence[Host]) -> Iterator[list[Host]]:
    """Yield the hosts in rounds, so that each gateway comes in an earlier round than the hosts behind it."""
    names = {host.name for host in chosen}
    depths: dict[int, list[Host]] = {}
    for host in chosen:
        depth, gateway = 0, host.gateway
        while gateway:
            depth += 1 if gateway in names else 0
            gateway = known.hosts[gateway].gateway
        depths.setdefault(depth, []).append(host)
    for depth in sorted(depths):
        yield depths[depth]


def _read(known: Inventory, hosts: Sequence[Host], *, every: bool) -> list[HostKeyResult]:
    from fabric import Config

    from fabfile.ssh import config, hostkeys  # slow to import, and needed only here
    from fabfile.ssh.connections import Connections

    config.check(None)
    with Connections(known, Config()) as connections:

        def read_keys(host: Host) -> HostKeyResult:
            start = monotonic()
            try:
                keys, problem = hostkeys.read(connections, host, every=every), None
            except Problem as error:
                keys, problem = None, error
            except Exception as error:
                keys, problem = (
                    None,
                    Failed(f"{host.name}: its keys cannot be read", f"{type(error).__name__}: {error}"),
                )
            return HostKeyResult(host, keys, problem, round(monotonic() - start, 2))

        return list(workers.each(hosts, known.parallel, read_keys, _given_up).values())


def _given_up(host: Host, why: str) -> HostKeyResult:
    return HostKeyResult(host, problem=Interrupted(f"{host.name}: interrupted", why))


def _matching(result: HostKeyResult, fingerprints: Sequence[str]) -> HostKeyResult:
    """Keep only the keys that have one of the fingerprints; without any fingerprint, all keys."""
    if not fingerprints or not result.keys:
        return result
    wanted = {each.rstrip("=") for each in fingerprints}
    keys = tuple(key for key in result.keys.keys if key.fingerprint in wanted)
    if keys:
        return msgspec.structs.replace(result, keys=msgspec.structs.replace(result.keys, keys=keys))
    listed = "\n".join(f"it has the {key.kind} key {key.fingerprint}" for key in result.keys.keys)
    return HostKeyResult(
        result.host, problem=Refused(f"{result.host.name}: none of its keys has that fingerprint", listed)
    )


def _show(results: Iterable[HostKeyResult]) -> None:
    lines = [
        (result.host.name, result.keys.name, key.kind, key.fingerprint, "known" if result.keys.known else "new")
        for result in results
        if result.keys
        for key in result.keys.keys
    ]
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    for line in lines:
        show("  ".join(f"{text:{width}}" for text, width in zip(line, widths, strict=True)))


def _confirm(new: Sequence[HostKeyResult], known_hosts: str) -> None:
    """Ask for confirmation on the terminal.

    Args:
        new: the hosts with keys to confirm.
        known_hosts: see `trust_hosts`.

    Raises:
        Refused: there is no terminal, or the answer is no.
    """
    if not sys.stdin.isatty():
        words = [",".join(result.host.name for result in new), *(["--known-hosts", known_hosts] if known_hosts else [])]
        raise Refused(
            "nobody has confirmed these host keys, and there is no terminal to ask on",
            f"compare the fingerprints with those that the hosts themselves print: {PRINT}",
            hint=f"inv ssh.trust {shlex.join(words)} --fingerprint SHA256:…",
        )
    count = sum(len(result.keys.keys) for result in new if result.keys)
    files = ", ".join(dict.fromkeys(result.host.known_hosts for result in new))
    say(f"Compare each fingerprint with the one that the host itself prints: {PRINT}")
    while (answer := _answer(f"Record {plural(count, 'key')} in {files}?")) is None:
        pass
    if not answer:
        raise Refused("these host keys were not recorded", "the answer was no")


def _answer(question: str) -> bool | None:
    """Ask a question; return whether the answer is yes, or None if it is neither yes nor no. End of input means no."""
    say(f"{question} (yes/no)")
    line = sys.stdin.readline()
    return ANSWERS.get(line.strip().lower()) if line else False


def _record(new: Iterable[HostKeyResult]) -> None:
    from fabfile.ssh import recording

    files: dict[Path, list[Keys]] = {}
    for result in new:
        if result.keys:
            files.setdefault(result.file, []).append(result.keys)
    for file, keys in files.items():
        recording.record(file, keys)


def _told(results: Iterable[HostKeyResult], *, dry: bool) -> Iterator[Trusted]:
    """Print and note the outcome for each host, as a step of the task, and yield it."""
    for result in results:
        if result.keys:
            new: Literal["recorded", "pending"] = "pending" if dry else "recorded"
            status = "known" if result.keys.known else new
            reason = f"{status}: {result.keys.name} in {result.file}"
            outcome.note(Outcome(result.host.name, AS_STEP[status], reason, result.seconds))
            show(f"{result.host.name}: {reason}")
            keys = [Key(key.kind, key.fingerprint) for key in result.keys.keys]
            yield Trusted(result.host.name, result.keys.name, str(result.file), status, keys)


def _end(problems: Sequence[Problem], count: int) -> None:
    """Raise an error if there was any problem; with several hosts, each problem has been printed already.

    Args:
        problems: the problems.
        count: number of hosts.
    """
    if problems and count == 1:
        raise problems[0]
    if problems:
        worst = min(problems, key=lambda problem: problem.code)
        names = "\n".join(problem.what for problem in problems)
        raise type(worst)(f"{len(problems)} of {count} hosts are not trusted", names)
