"""`@task`: Invoke's, with options that are declared once, clear errors, and no automatic short flags."""

from __future__ import annotations

import inspect
import re
import sys
from collections.abc import Callable, Mapping, Sequence
from pkgutil import resolve_name
from typing import Annotated, Any, overload

import invoke
import msgspec
from invoke import Argument

from fabfile import option
from fabfile.console import shown
from fabfile.errors import Refused
from fabfile.host import Host
from fabfile.option import Option, about
from fabfile.output import outcome

Instance = Annotated[
    str, about("containerd instance, each with its own pool: a name, or default; by default the one in hosts.toml")
]
Name = Annotated[str, about("pool name; by default the one in hosts.toml, or the instance's only one")]
Wipe = Annotated[Sequence[str], about("path of a device given by --device, whose content may be destroyed")]
Force = Annotated[bool, about("permission to kill the containers that run on the pool")]
SOURCES = [(Host, ("release", "mirror"))]
"""Options of every task that installs something."""

JSON = Option(
    "json", bool, "print one JSON document on standard output, see docs/json.md, and the rest on standard error"
)
DIFF = Option("diff", bool, "show the commands and file differences behind each line of the plan, with --dry")


ANEW = frozenset({"diff", "instance", "json", "name"})
"""Options that a hint does not repeat: it names the instance and the pool itself, and a person reads the output."""


class Flag(Argument):
    """An option, as Invoke's parser sees it."""

    def __init__(self, option: Option, *, positional: bool = False) -> None:
        self.option = option
        name = option.flag.removeprefix("--")
        super().__init__(
            names=(name,),
            attr_name=option.key if option.key != name else None,  # an alias of itself never ends
            kind=option.kind,
            default={list: [], bool: False}.get(option.kind),
            help=option.help,
            positional=positional,
        )

    def set_value(self, value: Any, cast: bool = True) -> None:
        """Take the value that was typed.

        Raises:
            Refused: it is not valid.
        """
        if self.positional and str(value).startswith("-"):
            raise Refused(
                f"{self.option.flag}: {shown(value)} is an option",
                "a value was expected",
                hint="an option such as --dry or --help stands before the task",
            )
        if self.kind is bool or not cast:
            super().set_value(value, cast)
        else:
            super().set_value(self.option.read(value), cast=self.kind is list)


class Task(invoke.Task[Any]):
    """A task whose body gets only the options that were given; its own defaults and hosts.toml supply the others.

    Args:
        body: the function; its parameters are annotated as options.
        settings: tables of hosts.toml, and which of their fields are options; the body gets these as `**given`.
        positional: required options whose flag may be omitted.
        follows: optional options whose flag may be omitted → pattern of their values, which tells them from a task.
        json: whether the task has --json.
        answers: type of its `result` in the document, which docs/json.md describes: `module:name`, or `module:name[]`
            for a list of them; empty: it has none.
        diff: whether the task has --diff.
        read_only: whether the task never changes anything.
        here: whether the task concerns the controller only: inv has it, and fab does not.
        together: `module:name` of the function that shows its answers of several hosts, see `fleet_answers.View`;
            empty: each is shown by itself.
        record: whether a run of it leaves a record, see `recorded_by`.
    """

    def __init__(
        self,
        body: Callable[..., Any],
        *,
        settings: Sequence[tuple[type[msgspec.Struct], Sequence[str]]] = (),
        positional: Sequence[str] = (),
        follows: Mapping[str, str] | None = None,
        json: bool = True,
        answers: str = "",
        diff: bool = False,
        read_only: bool = False,
        here: bool = False,
        together: str = "",
        record: bool = True,
        **rest: Any,
    ) -> None:
        self.options = {each.name: each for each in _declared(body)}
        for table, names in settings:
            known = option.options(table)
            self.options |= {name: known[name] for name in names}
        self.options |= {each.name: each for each, wanted in ((DIFF, diff), (JSON, json)) if wanted}
        super().__init__(body, positional=tuple(positional), auto_shortflags=False, **rest)
        self._answers, self._together = answers, together
        self.read_only, self.here, self.follows, self.record = read_only, here, follows or {}, record

    @property
    def answers(self) -> Any:
        """The type of its `result`; None if it has none."""
        name = self._answers.removesuffix("[]")
        one: Any = resolve_name(name) if name else None
        return one if name == self._answers else list[one]

    @property
    def together(self) -> Callable[..., list[str]] | None:
        """The function that shows its answers of several hosts; None: each is shown by itself."""
        view: Callable[..., list[str]] | None = resolve_name(self._together) if self._together else None
        return view

    @property
    def takes_steps(self) -> bool:
        """Whether it plans and makes changes; other tasks only show something, or become a shell."""
        return DIFF.name in self.options

    def get_arguments(self, ignore_unknown_help: bool | None = None) -> list[Argument]:
        """Return its options for Invoke's parser, whose positional arguments are always required."""
        first = [*self.positional, *(name for name, pattern in self.follows.items() if self._is_followed(pattern))]
        names = [*first, *(name for name in self.options if name not in first)]
        return [Flag(self.options[name], positional=name in first) for name in names]

    def _is_followed(self, pattern: str) -> bool:
        """Return whether a word that matches `pattern` follows this task and its options on the command line."""
        takes = {each.flag for each in self.options.values() if each.kind is not bool}
        for at, task in enumerate(sys.argv):
            rest = iter(sys.argv[at + 1 :] if task.rpartition(".")[2] == self.name else ())
            for word in rest:
                if not word.startswith("-"):
                    if re.fullmatch(pattern, word):
                        return True
                    break
                if word in takes:
                    next(rest, None)
        return False

    def recorded_by(self, program: str) -> bool:
        """Whether runs of it leave records: all runs on hosts do, and those of `inv` that may change the controller."""
        return self.record and (program == "fab" or not self.read_only)

    def typed(self, given: Mapping[str, Any]) -> list[str]:
        """Return the given options as they are typed, without those in `ANEW`."""
        words: list[str] = []
        for own in self.options.values():
            value = given.get(own.key)
            if own.name not in ANEW and value is not None and value is not False:
                for each in value if isinstance(value, list) else [value]:
                    words += [own.flag, *([] if each is True else [str(each)])]
        return words

    def __call__(self, *args: Any, **given: Any) -> Any:
        """Run the task; options that were not given are left to the body."""
        names = {own.key: own.name for own in self.options.values()}
        given = {names[key]: value for key, value in given.items() if value is not None and value != []}
        given.pop(JSON.name, None)
        outcome.show_diff(bool(given.pop(DIFF.name, False)))
        return super().__call__(*args, **given)


def _declared(body: Callable[..., Any]) -> list[Option]:
    """The options that the parameters of a body declare, after the context."""
    _, *parameters = inspect.signature(body, eval_str=True).parameters.values()
    return [
        option.option(each.name, each.annotation, None if each.default is each.empty else each.default)
        for each in parameters
        if each.kind is not each.VAR_KEYWORD
    ]


@overload
def task(body: Callable[..., Any], /) -> Task: ...
@overload
def task(**options: Any) -> Callable[[Callable[..., Any]], Task]: ...
def task(body: Callable[..., Any] | None = None, /, **options: Any) -> Task | Callable[[Callable[..., Any]], Task]:
    """Decorate a task; the arguments are those of `Task`."""
    return Task(body) if body else lambda body: Task(body, **options)
