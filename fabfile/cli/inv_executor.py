"""The executor behind inv: runs the tasks of a command line on the controller, and ends with one exit code."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import nullcontext
from time import time
from typing import Any

from invoke import Executor as InvokeExecutor

from fabfile import events, interruption
from fabfile.cli import core_options, documents
from fabfile.errors import Problem
from fabfile.output import json_document, live, outcome
from fabfile.output.outcome import Report
from fabfile.remote import lock
from fabfile.runs.record import recorded


class Executor(InvokeExecutor):
    """Runs the tasks of a command line in order, and stops after the first one that does not succeed."""

    def execute(self, *tasks: Any) -> Any:
        """Run the tasks, and write the documents that were requested.

        Raises:
            Refused: there is no usable sudo password, or the file of --events cannot be opened.
            Failed: the JSON document, the answer of the tasks or the file of --junit cannot be written.
            Exit: with the exit code of the run, unless it is 0; see `outcome.exit_code`.
        """
        calls = self.normalize(tasks)
        as_json = documents.prepare(calls)
        whole = Report()
        try:
            core_options.take_password(self.core)
            events_file = events.opened(core_options.typed(self.core, "events"))
        except Problem as error:
            if as_json:
                whole.status, whole.error, _ = outcome.explained(error)
                whole.exit_code = error.code
                json_document.publish(whole)
            raise
        begin = time()
        changes = [] if self.config.run.dry else calls
        lock.choose(self.config, core_options.typed(self.core, "wait-lock"))
        with (
            interruption.listening(here=True),
            recorded("inv", changes) as record,
            events.written(events_file),
        ):
            events.tell("run-begin")
            try:
                self._take(calls, whole, plain=bool(core_options.typed(self.core, "plain")))
            except KeyboardInterrupt:  # between two tasks
                whole.status = "interrupted"
            whole.exit_code = outcome.exit_code([whole.status])
            events.tell("run-end", exit_code=whole.exit_code)
            record.end(whole)
        documents.finish(self.core, calls, whole, begin, as_json=as_json)
        return {}

    def _take(self, calls: Sequence[Any], whole: Report, *, plain: bool) -> None:
        for call in calls:
            self.config.load_collection(self.collection.configuration(call.called_as))
            # Nothing is drawn for a task without steps, as it may use the terminal itself; lab.shell does.
            view = live.shown(plain=plain) if getattr(call.task, "takes_steps", False) else nullcontext()
            with view:
                follows = outcome.take(call, call.make_context(self.config), whole, remote=False)
            if not follows:
                break
