"""`@task`: Invoke's, with options that are declared once, refused by name, and have no short forms by chance."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping, Sequence
from typing import Annotated, Any, overload

import invoke
import msgspec
from invoke import Argument

from fabfile import option, outcome
from fabfile.console import shown
from fabfile.errors import Refused
from fabfile.host import Host
from fabfile.option import Option, about

Instance = Annotated[
    str, about("additional containerd instance to act on, which has a pool of its own; by default the main one")
]
Name = Annotated[str, about("pool name; by default the one in hosts.toml, or the instance's only one")]
Wipe = Annotated[Sequence[str], about("path of a device given by --device, whose content may be destroyed")]
Force = Annotated[bool, about("permission to kill the containers that run on the pool")]
SOURCES = [(Host, ("release", "mirror"))]
"""Options of every task that installs something."""

JSON = Option("json", bool, "one JSON document on standard output, see docs/json.md; the rest on standard error")
DIFF = Option("diff", bool, "commands and file differences behind each line of the plan, with --dry")


ANEW = frozenset({"diff", "instance", "json", "name"})
"""Options that a hint does not repeat: which pool is meant is said anew, and a hint is for a person."""


class Flag(Argument):
    """An option as Invoke's parser sees it."""

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
        """Take what was typed.

        Raises:
            Refused: it cannot be that.
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
    """A task whose body gets only what was given: its own defaults, and hosts.toml, hold for the rest.

    Args:
        body: it; its parameters are annotated as options.
        settings: a table of hosts.toml, and which of its fields are options, which reach the body's `**given`.
        positional: options whose flag may be left out.
        json: whether --json has a meaning.
        answers: the type of its `result` in the document; None: it has none. docs/json.md describes it.
        diff: whether it shows plans.
        here: whether it is about this controller alone: inv has it, and fab does not.
    """

    def __init__(
        self,
        body: Callable[..., Any],
        *,
        settings: Sequence[tuple[type[msgspec.Struct], Sequence[str]]] = (),
        positional: Sequence[str] = (),
        json: bool = True,
        answers: Any = None,
        diff: bool = False,
        here: bool = False,
        **rest: Any,
    ) -> None:
        self.options = {each.name: each for each in _declared(body)}
        for table, names in settings:
            known = option.options(table)
            self.options |= {name: known[name] for name in names}
        self.options |= {each.name: each for each, wanted in ((DIFF, diff), (JSON, json)) if wanted}
        super().__init__(body, positional=tuple(positional), auto_shortflags=False, **rest)
        self.answers, self.here = answers, here

    def get_arguments(self, ignore_unknown_help: bool | None = None) -> list[Argument]:
        """Its options, for Invoke's parser."""
        names = [*self.positional, *(name for name in self.options if name not in self.positional)]
        return [Flag(self.options[name], positional=name in self.positional) for name in names]

    def typed(self, given: Mapping[str, Any]) -> list[str]:
        """What was given, as it is typed, except for which pool and how it is shown."""
        words: list[str] = []
        for own in self.options.values():
            value = given.get(own.key)
            if own.name not in ANEW and value is not None and value is not False:
                for each in value if isinstance(value, list) else [value]:
                    words += [own.flag, *([] if each is True else [str(each)])]
        return words

    def __call__(self, *args: Any, **given: Any) -> Any:
        """Do it; what was not given is left to the body."""
        names = {own.key: own.name for own in self.options.values()}
        given = {names[key]: value for key, value in given.items() if value is not None and value != []}
        given.pop(JSON.name, None)
        outcome.show_diff(bool(given.pop(DIFF.name, False)))
        return super().__call__(*args, **given)


def _declared(body: Callable[..., Any]) -> list[Option]:
    """The options that the parameters of a body declare, behind the context."""
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
    """The decorator; its arguments are those of `Task`."""
    return Task(body) if body else lambda body: Task(body, **options)
