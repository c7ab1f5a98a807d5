"""The document that --json prints: a report as JSON. docs/json.md describes it."""

from __future__ import annotations

from typing import Any

import msgspec

from fabfile import console
from fabfile.errors import Failed
from fabfile.output.outcome import FleetReport, Report


def publish(report: Report | FleetReport) -> None:
    """Print the JSON document of a report.

    Raises:
        Failed: it could not be written completely, so its reader must not use it. A reader that is gone is no failure.
    """
    if (error := console.write_document(document(report))) and not isinstance(error, BrokenPipeError):
        raise Failed("the JSON document cannot be written", str(error))


def as_builtins(value: Any) -> Any:
    """Convert `value` to types that JSON has. The source of an upload becomes its fields, or else its label."""
    return msgspec.to_builtins(value, enc_hook=lambda source: source.label)


def as_json(value: Any) -> str:
    """Return `value` as JSON; see `as_builtins`."""
    import json

    return json.dumps(as_builtins(value))


def document(report: Report | FleetReport) -> str:
    """Return the JSON of a report. It is ASCII, so that every program can read it, whatever a host printed."""
    return as_json(console.masked_in(as_builtins({"schema": report.schema, **msgspec.structs.asdict(report)})))
