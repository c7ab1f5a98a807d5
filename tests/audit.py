"""What `nox -s audit` checks: hashes and licences of the lock files, known advisories, and sizes."""

from __future__ import annotations

import json
import re
import sys
from importlib import metadata
from pathlib import Path
from urllib.error import HTTPError, URLError
from urllib.request import Request, urlopen

from fabfile.artefacts.catalogue import parse
from fabfile.artefacts.releases import MACHINES, load

REPOSITORY = Path(__file__).parent.parent
LOCKS = ("requirements.lock", "requirements-bench.lock", "requirements-peers.lock")
ADVISORIES = "https://api.osv.dev/v1/querybatch"
LIMIT = 20
"""Seconds to wait for a service."""

LICENCES = re.compile(
    r"\b(MIT|BSD|Apache|PSF|Python Software Foundation|ISC|MPL|Mozilla|LGPL|Lesser General|Unlicense|0BSD|Zlib|HPND)",
    re.IGNORECASE,
)
"""Licences under which a dependency may be used and redistributed beside Apache-2.0."""

COPYLEFT = re.compile(r"\bA?GPL|(?<!Lesser )General Public", re.IGNORECASE)
"""Licences under which it may not, whatever else is stated with them."""

PROGRAMS = (("codespell", "GPL-2.0-only"),)
"""Programs with other licences that only lint runs: nothing imports or redistributes them."""


def locked(text: str) -> dict[str, tuple[str, int]]:
    """Parse a lock file into name → version and number of hashes.

    Raises:
        ValueError: a requirement has no exact version.
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
    """Return the licence that an installed distribution states."""
    known = metadata.metadata(name)
    classifiers = [each for each in known.get_all("Classifier") or () if each.startswith("License ::")]
    expression, text = ("".join(known.get_all(key) or ()) for key in ("License-Expression", "License"))
    return expression or "; ".join(classifiers) or text.partition("\n")[0]


def permits(stated: str) -> bool:
    """Return whether a licence permits use beside Apache-2.0: all that AND joins do, and one of what OR joins."""
    return all(
        any(LICENCES.search(choice) and not COPYLEFT.search(choice) for choice in term.split(" OR "))
        for term in stated.split(" AND ")
    )


def advisories(requirements: dict[str, tuple[str, int]]) -> list[str]:
    """Return known advisories, a line each.

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


def sizes() -> list[str]:
    """Return the files that are not on their server, or whose size in releases.toml is missing or differs, a line each.

    Raises:
        URLError: a server was not reached.
    """
    wrong = []
    for release in (load(name, arch) for name in own_sets() for arch in MACHINES):
        for part in release.parts.values():
            file = f"{part.name} {part.version} for {release.arch}"
            try:
                with urlopen(Request(part.url, method="HEAD"), timeout=LIMIT) as answer:
                    size = int(answer.headers["Content-Length"])
            except HTTPError as error:
                wrong.append(f"{file}: {error}")
                continue
            if size != part.size:
                wrong.append(f"{file}: size = {size}")
    return sorted(set(wrong))


def own_sets() -> list[str]:
    """Return the release sets that need no mirror."""
    sets = parse((REPOSITORY / "releases.toml").read_text(), "releases.toml")["set"]
    return [name for name, content in sets.items() if not content.get("from_mirror")]


def main() -> int:
    """Print all findings; the exit code is 1 if there are any."""
    wrong = []
    for lock in LOCKS:
        requirements = locked((REPOSITORY / lock).read_text())
        wrong += [f"{lock}: {name} has no hash" for name, (_, hashes) in requirements.items() if not hashes]
        try:
            wrong += [f"{lock}: {line}" for line in advisories(requirements)]
        except HTTPError as error:
            wrong.append(f"{lock}: advisories: {error}")
        except (URLError, TimeoutError) as error:
            print(f"{lock}: advisories not asked: {error}")
        print(f"{lock}: {len(requirements)} requirements, each with an exact version")
    try:
        wrong += [f"releases.toml: {line}" for line in sizes()]
    except (URLError, TimeoutError) as error:
        print(f"releases.toml: sizes not asked: {error}")
    known = locked((REPOSITORY / LOCKS[0]).read_text())
    for distribution in metadata.distributions():
        name = re.sub(r"[-_.]+", "-", distribution.metadata["Name"]).lower()
        if name in known:
            stated = licence(name)
            if not permits(stated) and (name, stated) not in PROGRAMS:
                wrong.append(f"{name}: licence {stated!r}")
        elif name not in ("pip", "setuptools"):
            wrong.append(f"{name} is installed and not in {LOCKS[0]}")
    print("\n".join(wrong) or "nothing found")
    return bool(wrong)


if __name__ == "__main__":
    sys.exit(main())
