"""The Debian generations of the lab, and the mirror from which the controller gets Debian."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from operator import itemgetter
from pathlib import Path
from urllib.parse import urlsplit

import msgspec

from fabfile.errors import Refused
from fabfile.lab import tools

SUITES: dict[str, tuple[str, ...]] = {
    "bookworm": (),
    "trixie": (),
    # The mirror of a suite in development may lag behind, so that its release file has expired.
    "forky": ('--aptopt=Acquire::Check-Valid-Until "false"',),
}
"""Suite → options of mmdebstrap for it."""

KEYRING = "/usr/share/keyrings/debian-archive-keyring.gpg"

RELEASE = re.compile(
    "(?:(?:old){0,2}stable|testing|unstable|sid|bullseye|bookworm|trixie|forky)(?:-updates|-backports|-proposed-updates)?"
)
"""Names of suites in Debian's archive; those with -security are in another archive."""

KEYS = "debian-archive-"
"""Part of the names of files with Debian's keys."""


class AptSource(msgspec.Struct, frozen=True):
    """An entry of apt's sources."""

    uris: Sequence[str]
    suites: Sequence[str]
    components: Sequence[str]
    keys: str = ""
    """Files with the keys that sign it; empty: any key that apt trusts."""

    @property
    def addresses(self) -> list[str]:
        """Addresses of an archive with Debian's suites; other vendors may use the names of suites as well."""
        if not any(map(RELEASE.fullmatch, self.suites)) or "main" not in self.components:
            return []
        return [uri.removesuffix("/") for uri in map(_followed, self.uris) if _is_address(uri)]

    def doubt(self, address: str) -> tuple[bool, bool]:
        """Reasons why one of the addresses may not be Debian's archive: other keys, an unusual path."""
        return bool(self.keys) and KEYS not in self.keys, "debian" not in address.split("/")[3:]


def check(suite: str) -> None:
    """Refuse a suite that the lab does not know."""
    if suite not in SUITES:
        raise Refused(f"no suite {suite!r} in the lab", f"known: {', '.join(SUITES)}")


def mirror(sources: Path = Path("/etc/apt")) -> str:
    """Return the address of Debian's archive in the controller's apt sources.

    Raises:
        Refused: there is none.
    """
    files = [sources / "sources.list", *sorted((sources / "sources.list.d").glob("*"))]
    entries = [entry for file in files if file.is_file() for entry in _entries(file)]
    found = [(entry.doubt(address), address) for entry in entries for address in entry.addresses]
    if not found:
        what = "no archive of Debian in this controller's apt sources"
        raise Refused(what, f"looked in {sources} for a suite of Debian with main", hint="run the lab on Debian")
    return min(found, key=itemgetter(0))[1]


def make(directory: Path, *command: str | Path, tree: Path, log: Path) -> None:
    """Run mmdebstrap with Debian's archive, which it reaches as the controller's apt does.

    Args:
        directory: working directory, which it sees as `tools.ASIDE`.
        command: program, options and suite.
        tree: path of the root directory to make, within `directory`.
        log: file to which the output is appended.

    Raises:
        Refused: there is no archive in the controller's apt sources.
        Failed: a package could not be downloaded or unpacked.
    """
    address = mirror()
    place = tools.ASIDE / tree.relative_to(directory)
    tools.aside(directory, *command, place, address, log=log, environment=proxy(address))


def proxy(address: str) -> dict[str, str]:
    """Environment variables with the proxy of the controller's apt.conf for an address; mmdebstrap does not read it.

    As variables, because options would be written to the new root directory.
    """
    lines = tools.run("apt-config", "dump", "--format", "%f=%v%n").splitlines()
    found = {key.lower(): value for key, _, value in (line.partition("=") for line in lines)}
    url = urlsplit(address)
    methods = dict.fromkeys((url.scheme, "http"))  # https uses the settings of http if it has none of its own
    keys = [f"acquire::{method}::proxy{host}" for host in (f"::{url.hostname}", "") for method in methods]
    wanted = next(filter(None, (found.get(key) for key in keys)), "")
    if not wanted:
        return {}
    return {f"{url.scheme}_proxy": wanted} if "://" in wanted else {"no_proxy": str(url.hostname)}  # "DIRECT", "false"


def _followed(uri: str) -> str:
    """The first address in the file that `mirror+file:PATH` names, as in Debian's cloud images; or else the address."""
    if not uri.startswith("mirror+file:"):
        return uri.removeprefix("mirror+")
    try:
        lines = Path(re.sub("^/+", "/", uri.removeprefix("mirror+file:"))).read_text(errors="replace").splitlines()
    except (OSError, ValueError):  # it does not exist, or cannot be a path
        return ""
    return next((line.split()[0] for line in lines if line.strip() and not line.startswith("#")), "")


def _is_address(uri: str) -> bool:
    try:
        url = urlsplit(uri)
    except ValueError:
        return False
    return url.scheme in ("http", "https") and bool(url.hostname)


def _entries(file: Path) -> Iterator[AptSource]:
    """The enabled entries for binary packages in a file of either format."""
    text = file.read_text(errors="replace")
    match file.suffix:
        case ".list":
            found = map(_one_line, text.splitlines())
        case ".sources":
            found = map(_stanza, re.split(r"\n[ \t]*\n", text))
        case _:  # apt ignores it
            return
    yield from filter(None, found)


def _one_line(line: str) -> AptSource | None:
    """The entry in a line of the old format, `deb [options] ADDRESS SUITE COMPONENT…`."""
    kind, rest = [*line.partition("#")[0].split(maxsplit=1), "", ""][:2]
    options = ""
    if rest.startswith("["):
        options, _, rest = rest[1:].partition("]")
    keys = "".join(option for option in options.split() if option.lower().startswith("signed-by="))
    uri, suite, *components = [*rest.split(), "", ""]
    return AptSource((uri,), (suite,), components, keys) if kind == "deb" else None


def _stanza(text: str) -> AptSource | None:
    """The entry in a stanza of the new format, fields `Name: value` that may go on in lines with an indent."""
    fields: dict[str, str] = {}
    name = ""
    for line in (line for line in text.splitlines() if not line.startswith("#")):
        value = line
        if not line.startswith((" ", "\t")):
            name, _, value = line.partition(":")
        fields[name.lower()] = f"{fields.get(name.lower(), '')} {value}"
    types, uris, suites, components, enabled = (
        fields.get(name, "").split() for name in ("types", "uris", "suites", "components", "enabled")
    )
    off = {word.lower() for word in enabled} & {"no", "false", "without", "off", "disable", "0"}
    return AptSource(uris, suites, components, fields.get("signed-by", "")) if "deb" in types and not off else None
