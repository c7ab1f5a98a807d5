"""The executor behind fab: names → hosts, bounded threads, one line a fact, one summary, one exit code."""

from __future__ import annotations

from collections.abc import Sequence
from time import monotonic
from typing import Any

from fabric.executor import Executor as FabricExecutor
from invoke.exceptions import Exit

from fabfile import commandline, console, crew, events, hints, interruption, inventory, live, outcome, selection
from fabfile.console import prefixed, say
from fabfile.errors import Interrupted, Problem, Refused
from fabfile.inventory import Host, Inventory
from fabfile.outcome import FleetReport, HostReport, Trouble
from fabfile.ssh.ways import Ways

STATUSES = ("ok", "changed", "pending", "refused", "failed", "unreachable", "interrupted")


class Executor(FabricExecutor):
    """Runs the tasks of a command line on every host of -H, each host in a thread of its own."""

    def execute(self, *tasks: Any) -> Any:
        """Run the tasks on the hosts and end with the fleet's exit code.

        Raises:
            Refused: no hosts are given, a name is unknown, or there is no usable sudo password.
            Exit: with the code of the worst host: 1 failed, 2 refused, 3 pending, 4 unreachable; 130 interrupted.
        """
        calls = self.normalize(tasks)
        as_json = any(call.kwargs.get("json") for call in calls)
        if as_json:
            console.keep_for_document()
        try:
            known, hosts = self._hosts()
            commandline.take_password(self.core)
        except Problem as error:
            if as_json:
                report = FleetReport(error.code, {}, Trouble(error.what, error.details, error.hint))
                outcome.publish(report)
            raise
        with interruption.listening(here=False), events.written(self._option("events")):
            with Ways(known, self.config) as ways, live.shown(plain=bool(self._option("plain"))):
                events.tell("run-begin", hosts=[host.name for host in hosts])
                reports = crew.each(hosts, known.parallel, lambda host: self._host(host, ways, calls), given_up)
            console.only_this_thread()
            code = outcome.exit_code([report.status for report in reports.values()])
            events.tell("run-end", exit_code=code)
            summary(reports)
        if as_json:
            outcome.publish(FleetReport(code, reports))
        if code:
            raise Exit(code=code)
        return {}

    def _hosts(self) -> tuple[Inventory, list[Host]]:
        names = selection.words(self.core[0].args.hosts.value or "")
        if not names:
            raise Refused("no hosts are given", hint="fab -H HOSTS TASK; for this machine: inv TASK")
        if self.core.remainder:
            raise Refused("a bare command after -- is not a task", hint="fab -H HOSTS run --command 'uname -r'")
        known = inventory.load()
        hosts = known.resolve(names)
        limit, exclude = (self._option(name) for name in commandline.NARROW)
        if limit or exclude:
            hosts = selection.narrowed(known.chosen, hosts, limit, exclude)
        return known, hosts

    def _option(self, name: str) -> str:
        return commandline.typed(self.core, name)

    def _host(self, host: Host, ways: Ways, calls: Sequence[Any]) -> HostReport:
        start, whole = monotonic(), HostReport()
        if interruption.asked():
            left_out = interruption.before(outcome.task_name(calls[0]))
            whole.status, whole.error, _ = outcome.explained(left_out)
            return told(host, whole)
        with prefixed(host.name), hints.entered(host), events.on(host.name):
            events.tell("host-begin")
            connection = None
            try:
                connection = ways.to(host)
                for call in calls:
                    if not outcome.take(call, connection, whole, remote=True):
                        break
            except Exception as error:
                whole.status, whole.error, text = outcome.explained(error, remote=True)
                say(text, error=True)
            finally:
                if connection:
                    connection.close()
        whole.seconds = round(monotonic() - start, 1)
        return told(host, whole)


def given_up(host: Host, why: str) -> HostReport:
    """The report of a host whose thread was not waited for."""
    status, error, text = outcome.explained(Interrupted(f"interrupted: {why}", hint=interruption.AGAIN))
    say("\n".join(f"{host.name}: {line}" for line in text.splitlines()), error=True)
    return told(host, HostReport(status, error=error))


def told(host: Host, report: HostReport) -> HostReport:
    """The report, once those who listen have heard of it."""
    error = report.error.what if report.error else ""
    events.tell("host-end", host=host.name, status=report.status, seconds=report.seconds, error=error)
    return report


def _steps(report: HostReport) -> list[str]:
    """How many of its steps ended how, as one text; of a host without steps, nothing."""
    statuses = [step.status for task in report.tasks for step in task.steps]
    counts = {status: statuses.count(status) for status in ("ok", "changed", "pending")}
    counts["skipped"] = sum(len(task.skipped) for task in report.tasks)
    text = ", ".join(f"{count} {status}" for status, count in counts.items() if count)
    return [f"steps: {text}"] if text else []


def summary(reports: dict[str, HostReport]) -> None:
    """One line for each host, and one that counts."""
    if len(reports) > 1:
        width = max(map(len, reports))
        say()
        for host, report in reports.items():
            what = [*_steps(report), *(report.error.what.splitlines()[:1] if report.error else [])]
            say(f"{host:{width}}  {report.status:11} {report.seconds:6.1f} s  {'  '.join(what)}")
    counts = {status: sum(report.status == status for report in reports.values()) for status in STATUSES}
    always = ("ok", "changed", "failed", "unreachable")
    say("  ".join(f"{status} {count}" for status, count in counts.items() if count or status in always))
