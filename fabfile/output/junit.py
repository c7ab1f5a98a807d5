"""A run as JUnit XML, for CI servers: one suite, with a case for each step on each host."""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fabfile.console import printable
from fabfile.errors import Failed
from fabfile.output import report_rows
from fabfile.output.outcome import task_name
from fabfile.output.report_rows import SKIPPED, Case

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from xml.etree.ElementTree import Element

    from fabfile.output.outcome import HostReport

KINDS = {"failed": "failure", "refused": "error", "unreachable": "error", "interrupted": "error",
         "pending": "skipped", SKIPPED: "skipped"}  # fmt: skip
"""Status of a case → the XML element for it; a case with any other status has passed."""


def write(path: str, calls: Sequence[Any], hosts: Mapping[str, HostReport], begin: float) -> None:
    """Write the file of --junit.

    Args:
        path: the file to write.
        calls: Invoke's calls of the tasks; their names become the name of the suite.
        hosts: name of a host → its report.
        begin: when the run began, in seconds since the epoch.

    Raises:
        Failed: the file cannot be written.
    """
    name = " ".join(map(task_name, calls))
    try:
        Path(path).expanduser().write_bytes(document(name, hosts, begin))
    except OSError as error:
        raise Failed(f"--junit: {path} cannot be written", str(error)) from error


def document(name: str, hosts: Mapping[str, HostReport], begin: float) -> bytes:
    """Return the XML of a run.

    Args:
        name: name of the suite.
        hosts: see `write`.
        begin: see `write`.
    """
    from xml.etree.ElementTree import Element, SubElement, tostring  # only --junit needs it

    root = Element("testsuites")
    found = [(host, case) for host, report in hosts.items() for case in report_rows.of_host(report)]
    kinds = [KINDS.get(case.status) for _, case in found]
    suite = SubElement(
        root,
        "testsuite",
        name=printable(name),
        tests=str(len(found)),
        failures=str(kinds.count("failure")),
        errors=str(kinds.count("error")),
        skipped=str(kinds.count("skipped")),
        time=f"{sum(case.seconds for _, case in found):.2f}",
        timestamp=time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(begin)),
    )
    for host, case in found:
        title = case.name if case.name == case.task or not case.task else f"{case.task}: {case.name}"
        attributes = {"classname": printable(host), "name": printable(title), "time": f"{case.seconds:.2f}"}
        _tell(SubElement(suite, "testcase", attributes), case)
    text: bytes = tostring(root, encoding="utf-8", xml_declaration=True)
    return text


def _tell(element: Element, case: Case) -> None:
    """Add the outcome of a case to its element; characters that XML does not allow are escaped."""
    from xml.etree.ElementTree import SubElement

    if kind := KINDS.get(case.status):
        error = case.error
        what = error.what if error else case.reason or "not started"
        told = SubElement(element, kind, {"message": printable(what)})
        if kind != "skipped":
            told.set("type", case.status)
            told.text = printable("\n".join(filter(None, [error.details, error.hint]))) if error else ""
    elif case.status == "changed":
        SubElement(element, "system-out").text = printable(case.reason)
