"""Fill in templates/*.j2. A missing value is an error, never an empty string."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from fabfile.once import once
from fabfile.paths import REPOSITORY
from fabfile.shell import quote

if TYPE_CHECKING:
    from jinja2 import Environment, Template

TEMPLATES = REPOSITORY / "templates"


@once
def environment() -> Environment:
    """The settings of all templates, and those that were compiled."""
    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    made = Environment(
        loader=FileSystemLoader(TEMPLATES),
        undefined=StrictUndefined,
        keep_trailing_newline=True,
        trim_blocks=True,
        lstrip_blocks=True,
        autoescape=False,  # shell, TOML and unit files; templates quote with the filter `sh`
    )
    made.filters["sh"] = lambda value: quote(str(value))
    return made


@once
def template(name: str) -> Template:
    """Compile the template `name` below templates/, once."""
    return environment().get_template(name)


def render(name: str, /, **values: Any) -> str:
    """Fill in the template `name` below templates/.

    Raises:
        jinja2.UndefinedError: a value that the template needs is missing.
    """
    return template(name).render(**values)
