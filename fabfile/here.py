"""The executor behind inv: the tasks of a command line on this machine, and one exit code."""

from __future__ import annotations

from typing import Any

from invoke import Executor as InvokeExecutor
from invoke.exceptions import Exit

from fabfile import commandline, console, events, interruption, outcome
from fabfile.errors import Problem
from fabfile.outcome import Report


class Executor(InvokeExecutor):
    """Runs the tasks of a command line one after the other, up to the first that does not end well."""

    def execute(self, *tasks: Any) -> Any:
        """Run the tasks.

        Raises:
            Refused: there is no usable sudo password.
            Exit: with the code of the task that did not end well.
        """
        calls = self.normalize(tasks)
        as_json = any(call.kwargs.get("json") for call in calls)
        if as_json:
            console.keep_for_document()
        whole = Report()
        try:
            commandline.take_password(self.core)
        except Problem as error:
            if as_json:
                whole.status, whole.error, _ = outcome.explained(error)
                whole.exit_code = error.code
                outcome.publish(whole)
            raise
        file = commandline.typed(self.core, "events")
        with interruption.listening(here=True), events.written(file):
            events.tell("run-begin")
            try:
                for call in calls:
                    self.config.load_collection(self.collection.configuration(call.called_as))
                    self.config.load_shell_env()
                    if not outcome.take(call, call.make_context(self.config), whole, remote=False):
                        break
            except KeyboardInterrupt:  # between two tasks
                whole.status = "interrupted"
            whole.exit_code = outcome.exit_code([whole.status])
            events.tell("run-end", exit_code=whole.exit_code)
        if as_json:
            outcome.publish(whole)
        if whole.exit_code:
            raise Exit(code=whole.exit_code)
        return {}
