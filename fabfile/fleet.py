"""The executor behind fab: names → hosts, bounded threads, one line a fact, one summary, one exit code."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from time import monotonic
from typing import Any

from fabric.executor import Executor as FabricExecutor
from invoke.exceptions import Exit

from fabfile import console, hints, inventory, outcome
from fabfile.console import prefixed, say
from fabfile.errors import Refused
from fabfile.inventory import Host, Inventory
from fabfile.outcome import FleetReport, HostReport, Trouble
from fabfile.ssh.ways import Ways

STATUSES = ("ok", "changed", "pending", "refused", "failed", "unreachable")


class Executor(FabricExecutor):
    """Runs the tasks of a command line on every host of -H, each host in a thread of its own."""

    def execute(self, *tasks: Any) -> Any:
        """Run the tasks on the hosts and end with the fleet's exit code.

        Raises:
            Refused: no hosts are given, or a name is unknown.
            Exit: with the code of the worst host: 1 failed, 2 refused, 3 pending, 4 unreachable.
        """
        calls = self.normalize(tasks)
        as_json = any(call.kwargs.get("json") for call in calls)
        if as_json:
            console.keep_for_document()
        try:
            known, hosts = self._hosts()
        except Refused as error:
            if as_json:
                report = FleetReport(error.code, {}, Trouble(error.what, error.details, error.hint))
                outcome.publish(report)
            raise
        threads = ThreadPoolExecutor(min(known.parallel, len(hosts)))
        with Ways(known, self.config) as ways, threads:
            results = list(threads.map(lambda host: self._host(host, ways, calls), hosts))
        reports = {host.name: report for host, report in zip(hosts, results, strict=True)}
        code = outcome.exit_code([report.status for report in results])
        summary(reports)
        if as_json:
            outcome.publish(FleetReport(code, reports))
        if code:
            raise Exit(code=code)
        return {}

    def _hosts(self) -> tuple[Inventory, list[Host]]:
        names = self.core[0].args.hosts.value
        if not names:
            raise Refused("no hosts are given", hint="fab -H HOSTS TASK; for this machine: inv TASK")
        if self.core.remainder:
            raise Refused("a bare command after -- is not a task", hint="fab -H HOSTS run --command 'uname -r'")
        known = inventory.load()
        return known, known.resolve(names.split(","))

    def _host(self, host: Host, ways: Ways, calls: Sequence[Any]) -> HostReport:
        start, whole = monotonic(), HostReport()
        with prefixed(host.name), hints.entered(host):
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
        return whole


def summary(reports: dict[str, HostReport]) -> None:
    """One line for each host, and one that counts."""
    if len(reports) > 1:
        width = max(map(len, reports))
        say()
        for host, report in reports.items():
            what = report.error.what.splitlines() if report.error else []
            say(f"{host:{width}}  {report.status:11} {report.seconds:6.1f} s  {what[0] if what else ''}")
    counts = {status: sum(report.status == status for report in reports.values()) for status in STATUSES}
    always = ("ok", "changed", "failed", "unreachable")
    say("  ".join(f"{status} {count}" for status, count in counts.items() if count or status in always))
