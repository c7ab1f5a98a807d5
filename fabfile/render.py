"""Fill in templates/*.j2. A missing value is an error, never an empty string."""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING, Any

from fabfile.paths import REPOSITORY
from fabfile.target import quote

if TYPE_CHECKING:
    from jinja2 import Environment, Template

TEMPLATES = REPOSITORY / "templates"


@cache
def _environment() -> Environment:
    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    environment = Environment(
        loader=FileSystemLoader(TEMPLATES),
        undefined=StrictUndefined,
        keep_trailing_newline=True,
        trim_blocks=True,
        lstrip_blocks=True,
        autoescape=False,  # shell, TOML and unit files; templates quote with the filter `sh`
    )
    environment.filters["sh"] = lambda value: quote(str(value))
    return environment


def template(name: str) -> Template:
    """Compile the template `name` below templates/, once."""
    return _environment().get_template(name)


def render(name: str, /, **values: Any) -> str:
    """Fill in the template `name` below templates/.

    Raises:
        jinja2.UndefinedError: a value that the template needs is missing.
    """
    return template(name).render(**values)
