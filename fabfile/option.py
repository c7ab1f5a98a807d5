"""Options, declared once: on a field of the inventory, or on a parameter of a task.

The declaration is the annotation, `Annotated[int, Meta(ge=1, le=100, description="…")]`. hosts.toml is validated by it,
and flags, `--help` and docs/hosts.md are made from it.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from functools import cache
from types import UnionType
from typing import Annotated, Any, Literal, Union, get_args, get_origin

import msgspec
from msgspec import Meta

from fabfile import sizes
from fabfile.console import shown
from fabfile.errors import Refused

LONGEST = 4096
"""Limit for the characters of a value: a longer one is a mistake."""

Check = Callable[[str, str], object]
"""Refuses a text; its second argument is the name of the option in the error."""


def about(description: str, *, check: Check | None = None, unit: str = "", **limits: Any) -> Meta:
    """Declare an option, beside its type in `Annotated`.

    Args:
        description: a noun phrase, with the unit of a number.
        check: refuses texts that are not valid.
        unit: kind of text.
        limits: `ge` and `le` of a number.
    """
    return Meta(description=description, extra={"check": check, "unit": unit}, **limits)


def size_of(description: str, *, least: int = 1, containerd: bool = False) -> Meta:
    """Declare an option that is a size; see `sizes.parse`."""
    return about(
        description, check=lambda text, name: sizes.parse(text, name, least=least, containerd=containerd), unit="size"
    )


class Option(msgspec.Struct, frozen=True):
    """An option of a task, or a key of hosts.toml."""

    name: str
    """Its name in Python and in hosts.toml; with hyphens it is the flag."""
    kind: type
    """str, int, bool; list if it may be repeated."""
    meaning: str
    default: Any = None
    choices: tuple[str, ...] = ()
    least: int | None = None
    most: int | None = None
    check: Check | None = None
    unit: str = ""
    """Kind of text: `size`."""
    setting: bool = False
    """Whether it is also a key of hosts.toml; its default is then the default of the key."""

    @property
    def key(self) -> str:
        """Its name in Invoke: `device` for the field `devices`, `from` for the parameter `from_`."""
        return (self.name.removesuffix("s") if self.kind is list else self.name).rstrip("_")

    @property
    def flag(self) -> str:
        """The flag, as it is typed."""
        return "--" + self.key.replace("_", "-")

    @property
    def limits(self) -> str:
        """Valid values; empty: any text."""
        if self.choices:
            return " or ".join(self.choices)
        if self.least is not None and self.most is not None:
            return f"{self.least} to {self.most}"
        return f"at least {self.least}" if self.least is not None else ""

    @property
    def help(self) -> str:
        """Its text in --help."""
        more = [self.limits] if self.limits else []
        if self.kind is list:
            more.append("may be repeated")
        elif self.default not in (None, "", False):
            more.append(f"default: {self.default}")
        return f"{self.meaning} ({'; '.join(more)})" if more else self.meaning

    def read(self, text: str) -> Any:
        """Parse the value that was typed.

        Raises:
            Refused: it is not valid.
        """
        self.refuse_text(text, self.flag)
        if not text.strip():
            raise Refused(f"{self.flag}: an empty value", self.limits or self.meaning, hint=self._example())
        if self.kind is int:
            return self._number(text)
        if self.choices and text not in self.choices:
            raise Refused(f"{self.flag}: {shown(text)} is not possible", self.limits, hint=self._example())
        if self.check:
            self.check(text, self.flag)
        return text

    def _number(self, text: str) -> int:
        if not re.fullmatch(r"[+-]?[0-9]{1,18}", text):
            raise Refused(
                f"{self.flag}: {shown(text)} is not a whole number",
                "; ".join(filter(None, [self.meaning, self.limits])),
                hint=self._example(),
            )
        number = int(text)
        if (self.least is not None and number < self.least) or (self.most is not None and number > self.most):
            raise Refused(f"{self.flag}: {number} is out of range", self.limits, hint=self._example())
        return number

    def refuse_text(self, text: str, name: str) -> None:
        """Refuse a text that is not valid for any option.

        Raises:
            Refused: it has control characters, or is too long.
        """
        if len(text) > LONGEST:
            raise Refused(f"{name}: a value of {len(text)} characters", f"{shown(text)}\nat most {LONGEST}")
        if wrong := re.search(r"[\x00\ud800-\udfff]", text):
            raise Refused(f"{name}: {shown(text)} has the character {wrong[0]!r}", "no option can have that")

    def _example(self) -> str:
        example = self.default if self.default not in (None, "", False) else next(iter(self.choices), self.least)
        return "" if example is None else f"for example {self.flag} {example}"


def option(name: str, annotation: Any, default: Any = None, *, setting: bool = False) -> Option:
    """Return the option that an annotation declares.

    Raises:
        TypeError: it declares none, which is a mistake in this program.
    """
    if get_origin(annotation) in (Union, UnionType):  # if its default is None
        annotation = next(each for each in get_args(annotation) if each is not type(None))
    base: Any = annotation
    metas: list[Any] = []
    if get_origin(annotation) is Annotated:
        base, *metas = get_args(annotation)
    meta = next((each for each in metas if isinstance(each, Meta)), None)
    if meta is None or not meta.description:
        raise TypeError(f"the option {name} has no description")
    choices = get_args(base) if get_origin(base) is Literal else ()
    kind = str if choices else list if get_origin(base) in (tuple, list) or "Sequence" in str(base) else base
    least, most = (None if limit is None else int(limit) for limit in (meta.ge, meta.le))
    check, unit = (meta.extra or {}).get("check"), (meta.extra or {}).get("unit", "")
    return Option(name, kind, meta.description, default, choices, least, most, check, unit, setting)


@cache  # once for each table of hosts.toml
def options(table: type[msgspec.Struct]) -> dict[str, Option]:
    """Return the options that the fields of a table declare; nested tables are left out."""
    return {
        field.name: option(field.name, field.type, field.default, setting=True)
        for field in msgspec.structs.fields(table)
        if get_origin(field.type) is Annotated
    }
