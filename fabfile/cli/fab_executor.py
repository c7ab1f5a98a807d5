"""The executor behind fab: runs tasks on the selected hosts in parallel, and ends with one summary and exit code."""

from __future__ import annotations

import shlex
import sys
from collections.abc import Callable, Sequence
from contextlib import suppress
from time import monotonic, time
from typing import Any, TextIO

from fabric.executor import Executor as FabricExecutor
from invoke.tasks import Call, Task

from fabfile import console, events, hints, interruption, inventory, ranges, selection, workers
from fabfile.cli import batches, core_options, documents
from fabfile.cli.batches import FailureLimit
from fabfile.console import prefixed, say
from fabfile.errors import Interrupted, Problem, Refused
from fabfile.host import Host
from fabfile.inventory import Inventory
from fabfile.output import json_document, live, outcome, summary
from fabfile.output.fleet_answers import Together
from fabfile.output.outcome import FleetReport, HostReport, Trouble
from fabfile.remote import lock
from fabfile.runs.record import recorded
from fabfile.ssh.connections import Connections


class Executor(FabricExecutor):
    """Runs the tasks of a command line on every selected host, several hosts at a time, each in one thread."""

    def execute(self, *tasks: Any) -> Any:
        """Run the tasks on the hosts, and write the documents that were requested.

        Raises:
            Refused: no hosts are given, the name of a host or run is unknown, there is no usable sudo password, or the
                file of --events cannot be opened.
            Failed: the JSON document, the answer of the tasks or the file of --junit cannot be written.
            Exit: with the exit code of the run, unless it is 0; see `outcome.exit_code`.
        """
        calls = self.normalize(tasks)
        as_json = documents.prepare(calls)
        try:
            known, hosts = self._hosts()
            core_options.take_password(self.core)
            events_file = events.opened(self._option("events"))
        except Problem as error:
            if as_json:
                report = FleetReport(error.code, {}, Trouble(error.what, error.details, error.hint))
                json_document.publish(report)
            raise
        begin = time()
        whole = self._run(known, hosts, calls, events_file)
        documents.finish(self.core, calls, whole, begin, as_json=as_json)
        return {}

    def _run(
        self, known: Inventory, hosts: list[Host], typed: Sequence[Any], events_file: TextIO | None
    ) -> FleetReport:
        names, plain, dry = [host.name for host in hosts], bool(self._option("plain")), bool(self.config.run.dry)
        in_batches = self._option("batches") and not dry
        calls = [*typed, *health_checks(typed)] if in_batches else typed
        together = Together(calls, names, dry=dry, plain=plain)
        lock.choose(self.config, self._option("wait-lock"))
        with (
            interruption.listening(here=False),
            recorded("fab", typed) as record,
            events.written(events_file),
        ):
            with Connections(known, self.config) as connections, live.shown(plain=plain):
                events.tell("run-begin", hosts=names)
                reports = self._batches(
                    known.parallel,
                    hosts,
                    lambda host, failure_limit: self._host(host, connections, calls, together, failure_limit),
                )
                console.only_this_thread()
            together.show()  # after the display, which hides the terminal and its width
            code = outcome.exit_code([report.status for report in reports.values()])
            events.tell("run-end", exit_code=code)
            whole = FleetReport(code, reports)
            record.end(whole)  # first: only a whole record can be tried again
            summary.show(reports, retry(record.name, sys.argv[1:]))
        return whole

    def _hosts(self) -> tuple[Inventory, list[Host]]:
        names = ranges.words(self.core[0].args.hosts.value or "")
        again = self._option("retry-from")
        if not names and not again:
            raise Refused("no hosts are given", hint="fab -H HOSTS TASK; for this controller: inv TASK")
        known = inventory.load()
        left = self._left(again) if again else []
        hosts = known.resolve(names or left)
        limit, exclude = (self._option(name) for name in core_options.NARROW)
        if limit or exclude:
            hosts = selection.narrowed(known.chosen, hosts, limit, exclude)
        if again:
            machines = _machines(known, left)
            hosts = [host for host in hosts if known.chosen.machine(host) in machines]
        if not hosts:
            raise Refused(f"no host is left of those of {again} that did not succeed", f"they are {', '.join(left)}")
        return known, hosts

    def _left(self, run: str) -> list[str]:
        """Return the names of the hosts that did not succeed in an earlier run."""
        from fabfile.runs import history

        return history.unfinished(history.last_on_hosts() if run == history.LAST else history.find(run))

    def _option(self, name: str) -> str:
        return core_options.typed(self.core, name)

    def _batches(
        self, parallel: int, hosts: list[Host], do: Callable[[Host, FailureLimit], HostReport]
    ) -> dict[str, HostReport]:
        """Run hosts batch after batch and return all reports; once too many hosts are not fine, the rest are skipped.

        Args:
            parallel: number of hosts at a time, unless --parallel was given.
            hosts: the hosts.
            do: runs the tasks on a host, if the failure limit lets it begin.
        """
        parallel = int(self._option("parallel") or parallel)
        sizes, most = self._option("batches"), self._option("max-fail")
        failure_limit = FailureLimit(batches.limit(most or "0") if most or sizes else None)
        order = batches.planned(hosts, batches.sizes(sizes)) if sizes else [hosts]
        reports: dict[str, HostReport] = {}
        for number, batch in enumerate(order, 1):
            failure_limit.next_batch(len(batch))
            if sizes and not failure_limit.stopped() and not interruption.asked():
                say(f"batch {number} of {len(order)}: {batches.few([host.name for host in batch])}")
            reports |= workers.each(batch, parallel, lambda host: do(host, failure_limit), given_up)
        return reports

    def _host(
        self,
        host: Host,
        connections: Connections,
        calls: Sequence[Any],
        together: Together,
        failure_limit: FailureLimit,
    ) -> HostReport:
        start, whole = monotonic(), HostReport()
        left_out = interruption.before(outcome.task_name(calls[0])) if interruption.asked() else failure_limit.stopped()
        if left_out:
            whole.status, whole.error, _ = outcome.explained(left_out)
            return told(host, whole)
        with prefixed(host.name), hints.entered(host), events.on(host.name):
            events.tell("host-begin")
            connection = None
            try:
                connection = connections.to(host)
                for number, call in enumerate(calls):
                    with together.of(number, host.name):
                        follows = outcome.take(call, connection, whole, remote=True)
                    if not follows:
                        break
            except Exception as error:
                whole.status, whole.error, text = outcome.explained(error, remote=True)
                say(text, error=True)
            finally:
                if connection:
                    connection.close()
        whole.seconds = round(monotonic() - start, 1)
        failure_limit.ended(host.name, whole.status)
        return told(host, whole)


def _machines(known: Inventory, names: Sequence[str]) -> set[selection.Place]:
    """Return the places of the hosts with these names, which may have been removed from the inventory since."""
    found: set[selection.Place] = set()
    for name in names:
        with suppress(Refused):
            found |= {known.chosen.machine(host) for host in known.resolve([name])}
    return found


def health_checks(calls: Sequence[Any]) -> list[Call]:
    """Return the calls of the health check: one for each containerd instance that a task with changes is about."""
    from fabfile.steps.status import check_health  # only a run in batches needs it

    changing = [call for call in calls if not getattr(call.task, "read_only", False)]
    instances = dict.fromkeys(call.kwargs.get("instance") or "" for call in changing)
    return [Call(Task(check_health), called_as="doctor", kwargs={"instance": instance}) for instance in instances]


def retry(record: str, typed: Sequence[str]) -> str:
    """Return the command that runs the same tasks on the hosts that did not succeed; empty without a record.

    Args:
        record: name of the run's record.
        typed: the words of the command line after `fab`.
    """
    again = core_options.without_selection(typed)  # the record has only hosts that were selected
    return shlex.join(["fab", "--retry-from", record, *map(console.masked_word, again)]) if record else ""


def given_up(host: Host, why: str) -> HostReport:
    """Print why a host's thread is no longer waited for, and return the host's report."""
    status, error, text = outcome.explained(Interrupted(f"interrupted: {why}", hint=interruption.AGAIN))
    with prefixed(host.name):
        say(text, error=True)
    return told(host, HostReport(status, error=error))


def told(host: Host, report: HostReport) -> HostReport:
    """Publish the end of a host as an event, and return its report unchanged."""
    error = report.error.what if report.error else ""
    events.tell("host-end", host=host.name, status=report.status, seconds=report.seconds, error=error)
    return report
