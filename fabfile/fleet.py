"""The executor behind fab: names → hosts, bounded threads, one line a fact, one summary, one exit code."""

from __future__ import annotations

import traceback
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from time import monotonic
from typing import Any, Literal

import msgspec
from fabric.executor import Executor as FabricExecutor
from invoke.exceptions import Exit
from paramiko.ssh_exception import SSHException

from fabfile import hints, inventory
from fabfile.console import prefixed, say
from fabfile.converge import Outcome
from fabfile.errors import Failed, Pending, Problem, Refused, Unreachable
from fabfile.inventory import Host, Inventory
from fabfile.ssh.machine import connect


class Result(msgspec.Struct, frozen=True):
    """What became of one host."""

    host: str
    status: Literal["ok", "changed", "pending", "refused", "failed", "unreachable"]
    seconds: float
    error: str = ""


class Executor(FabricExecutor):
    """Runs the tasks of a command line on every host of -H, each host in a thread of its own."""

    def execute(self, *tasks: Any) -> Any:
        """Run the tasks on the hosts and end with the fleet's exit code.

        Raises:
            Refused: no hosts are given, or a name is unknown.
            Exit: with the code of the worst host: 1 failed, 2 refused, 3 pending, 4 unreachable.
        """
        names = self.core[0].args.hosts.value
        if not names:
            raise Refused("fab works on hosts, and none is given", hint="fab -H hosts TASK; for this machine: inv TASK")
        if self.core.remainder:
            raise Refused("a bare command after -- is not a task", hint="fab -H HOSTS run --command 'uname -r'")
        calls = self.normalize(tasks)
        known = inventory.load()
        hosts = known.resolve(names.split(","))
        with ThreadPoolExecutor(min(known.parallel, len(hosts))) as threads:
            results = list(threads.map(lambda host: self._host(host, known, calls), hosts))
        summary(results)
        code = exit_code(results)
        if code:
            raise Exit(code=code)
        return {}

    def _host(self, host: Host, known: Inventory, calls: Sequence[Any]) -> Result:
        start, changed = monotonic(), False
        status: Literal["ok", "changed", "pending", "refused", "failed", "unreachable"] = "ok"
        error = ""
        with prefixed(host.name), hints.entered(host):
            connection = None
            try:
                connection = connect(host, known, self.config)
                for call in calls:
                    outcomes = call.task(connection, *call.args, **call.kwargs) or []
                    changed |= any(isinstance(o, Outcome) and o.status == "changed" for o in outcomes)
                status = "changed" if changed else "ok"
            except Pending:
                status = "pending"
            except Unreachable as problem:
                status, error = "unreachable", str(problem)
            except Refused as problem:
                status, error = "refused", str(problem)
            except (Problem, Exit) as problem:
                status, error = "failed", str(problem)
            except (OSError, EOFError, SSHException) as problem:  # the connection broke in the middle
                status, error = "failed", str(Failed("the connection was lost", str(problem), hint="run it again"))
            except Exception as bug:  # ours: shown whole, and the other hosts get their answers nevertheless
                what = f"error: {type(bug).__name__}: {bug}".splitlines()[0]
                status, error = "failed", f"{what}\n{traceback.format_exc()}"
            finally:
                if connection:
                    connection.close()
            if error:
                say(error, error=True)
        return Result(host.name, status, round(monotonic() - start, 1), error)


def exit_code(results: Sequence[Result]) -> int:
    """The process's exit code: 1 failed, before 2 refused, 3 pending, and 4 for hosts that were just unreachable."""
    codes = {"failed": 1, "refused": 2, "pending": 3, "unreachable": 4}
    return min((codes[r.status] for r in results if r.status in codes), default=0)


def summary(results: Sequence[Result]) -> None:
    """One line for each host, and one that counts."""
    if len(results) > 1:
        width = max(len(r.host) for r in results)
        say()
        for r in results:
            first = r.error.splitlines()[0].removeprefix("error: ") if r.error else ""
            say(f"{r.host:{width}}  {r.status:11} {r.seconds:6.1f} s  {first}")
    counts = {
        status: sum(r.status == status for r in results)
        for status in ("ok", "changed", "pending", "refused", "failed", "unreachable")
    }
    say(
        "  ".join(
            f"{status} {count}"
            for status, count in counts.items()
            if count or status in ("ok", "changed", "failed", "unreachable")
        )
    )
