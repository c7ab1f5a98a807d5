"""What `nox -s audit` checks: hashes and licences of the lock files, and what is known against what they hold."""

from __future__ import annotations

import json
import re
import sys
from importlib import metadata
from pathlib import Path
from urllib.error import URLError
from urllib.request import Request, urlopen

REPOSITORY = Path(__file__).parent.parent
LOCKS = ("requirements.lock", "requirements-bench.lock")
ADVISORIES = "https://api.osv.dev/v1/querybatch"
LIMIT = 20
"""Seconds for the service of advisories."""

LICENCES = re.compile(
    r"\b(MIT|BSD|Apache|PSF|Python Software Foundation|ISC|MPL|Mozilla|LGPL|Lesser General|Unlicense|0BSD|Zlib|HPND)",
    re.IGNORECASE,
)
"""Licences under which a dependency may be used and passed on beside Apache-2.0."""

PROGRAMS = (("codespell", "GPL-2.0-only"),)
"""Programs that only lint runs, with other licences: nothing imports them or passes them on."""


def locked(text: str) -> dict[str, tuple[str, int]]:
    """Name → version and number of hashes, of each requirement in a lock file.

    Raises:
        ValueError: a requirement without an exact version.
    """
    found: dict[str, tuple[str, int]] = {}
    name = ""
    for line in text.splitlines():
        if line and not line.startswith((" ", "#")):
            match = re.match(r"([A-Za-z0-9._-]+)==([^\s;\\]+)", line)
            if not match:
                raise ValueError(f"not an exact version: {line}")
            name = re.sub(r"[-_.]+", "-", match[1]).lower()
            found[name] = (match[2], 0)
        if name and "--hash=sha256:" in line:
            version, hashes = found[name]
            found[name] = (version, hashes + 1)
    return found


def licence(name: str) -> str:
    """The licence that an installed distribution states."""
    known = metadata.metadata(name)
    classifiers = [each for each in known.get_all("Classifier") or () if each.startswith("License ::")]
    return known.get("License-Expression") or "; ".join(classifiers) or (known.get("License") or "").partition("\n")[0]


def advisories(requirements: dict[str, tuple[str, int]]) -> list[str]:
    """Known advisories, a line each.

    Raises:
        URLError: the service was not reached.
    """
    names = list(requirements)
    queries = [
        {"package": {"name": name, "ecosystem": "PyPI"}, "version": version}
        for name, (version, _) in requirements.items()
    ]
    request = Request(
        ADVISORIES, json.dumps({"queries": queries}).encode(), {"Content-Type": "application/json"}, method="POST"
    )
    with urlopen(request, timeout=LIMIT) as answer:
        results = json.loads(answer.read(1 << 24))["results"]
    return [
        f"{name}: {found['id']}"
        for name, result in zip(names, results, strict=True)
        for found in result.get("vulns", ())
    ]


def main() -> int:
    """Print every finding; the exit code is 1 if there is one."""
    wrong = []
    for lock in LOCKS:
        requirements = locked((REPOSITORY / lock).read_text())
        wrong += [f"{lock}: {name} has no hash" for name, (_, hashes) in requirements.items() if not hashes]
        try:
            wrong += [f"{lock}: {line}" for line in advisories(requirements)]
        except (URLError, TimeoutError) as error:
            print(f"{lock}: advisories not asked: {error}")
        print(f"{lock}: {len(requirements)} requirements, each with an exact version")
    known = locked((REPOSITORY / LOCKS[0]).read_text())
    for distribution in metadata.distributions():
        name = re.sub(r"[-_.]+", "-", distribution.metadata["Name"]).lower()
        if name in known:
            stated = licence(name)
            if not LICENCES.search(stated) and (name, stated) not in PROGRAMS:
                wrong.append(f"{name}: licence {stated!r}")
        elif name not in ("pip", "setuptools"):
            wrong.append(f"{name} is installed and not in {LOCKS[0]}")
    print("\n".join(wrong) or "nothing found")
    return bool(wrong)


if __name__ == "__main__":
    sys.exit(main())
