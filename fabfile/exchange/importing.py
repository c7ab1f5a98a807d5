"""inventory.import: convert an Ansible inventory to a hosts.toml, and list what hosts.toml cannot represent."""

from __future__ import annotations

import os
import re
import shlex
from collections.abc import Iterator, Mapping
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec

from fabfile import inventory, ranges
from fabfile.console import say
from fabfile.errors import Failed, Pending, Refused
from fabfile.exchange.ansible import AnsibleInventory, Left, only_ansible
from fabfile.inventory_tables import quoted
from fabfile.output import outcome
from fabfile.output.answer import show
from fabfile.output.outcome import Outcome
from fabfile.remote.context import Context

if TYPE_CHECKING:
    from fabfile.exchange.translation import Tables

MOST = 8 << 20
"""Limit for the bytes of an inventory: enough for 20,000 hosts with their variables."""

YAML = (".yml", ".yaml", ".json")
VARIABLES = ("group_vars", "host_vars")
"""Directories beside an inventory from which Ansible also reads variables."""


class Imported(msgspec.Struct, frozen=True):
    """The result of an import."""

    text: str
    """Content of the hosts.toml."""
    hosts: int
    """Number of hosts in it."""
    left: list[Left]
    """What it cannot represent."""


def import_inventory(c: Context, file: str, output: str, *, yes: bool) -> None:
    """Print an Ansible inventory as a hosts.toml, or write it to a file.

    Args:
        c: the controller; with --dry nothing is written.
        file: path of the inventory.
        output: path of the file to write; empty: standard output.
        yes: replace the file if it exists.

    Raises:
        Refused: the inventory cannot be read, has an impossible value or no hosts, or the file to write exists.
        Failed: the file cannot be written.
        Pending: with --dry, a file would be written.
    """
    from fabfile.exchange.translation import translated  # slow to import, which `inv --list` should not wait for

    if output == "-":
        raise Refused("--output: - is not a file", "without --output, it is printed", hint="remove --output")
    source = read(Path(file))
    tables = translated(source)
    tables.left += beside(Path(file))
    text = "".join(_text(tables, Path(file).name))
    known = inventory.parsed(text, Path(output or "the new hosts.toml"))
    outcome.result(Imported(text, len(known.hosts), tables.left))
    for left in tables.left:
        where = f"{file}, line {left.line}" if left.line else file
        say(f"note: {where}: {left.name}: {left.why}", error=True)
    if not known.hosts:
        raise Refused(f"{file} has no hosts to import", "a hosts.toml without hosts is of no use")
    if not output:
        show(text)
        return
    reason = f"{len(known.hosts)} hosts and {len(known.groups)} groups to {output}"
    dry = c.config.run.dry
    _write(Path(output), text, yes=yes, dry=dry, again=f"inv inventory.import --file {shlex.quote(file)}")
    outcome.note(Outcome("inventory.import", "pending" if dry else "changed", reason, 0.0))
    show(f"{'would write' if dry else 'wrote'} {reason}")
    if dry:
        raise Pending


def read(file: Path) -> AnsibleInventory:
    """Read an Ansible inventory from a file, in INI format or YAML.

    Raises:
        Refused: it cannot be read, is not an inventory, or is one that only Ansible itself can read.
    """
    from fabfile.exchange import ansible_ini, ansible_yaml

    name = str(file)
    try:
        if file.is_dir():
            raise only_ansible(name, "a directory")
        with file.open("rb") as stream:
            content = stream.read(MOST + 1)
        if len(content) > MOST:
            raise Refused(f"{name} is too large", f"more than {MOST} bytes")
        text = content.decode("utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise Refused(f"cannot read {name}", str(error)) from error
    if text.startswith("$ANSIBLE_VAULT"):
        raise Refused(f"{name} is encrypted", "by Ansible Vault", hint=f"ansible-vault view {shlex.quote(name)}")
    if text.startswith("#!") and os.access(file, os.X_OK):
        raise only_ansible(name, "a script")
    if file.suffix == ".toml":
        raise only_ansible(name, "TOML")
    return ansible_yaml.read(text, name) if _is_yaml(file, text) else ansible_ini.read(text, name)


def _is_yaml(file: Path, text: str) -> bool:
    """Return whether an inventory is YAML, by the suffix of its name or else by its first line."""
    if file.suffix in (*YAML, ".ini", ".cfg"):
        return file.suffix in YAML
    lines = (line.split(" #")[0].strip() for line in text.splitlines())
    first = next((line for line in lines if line and line[0] not in "#;"), "")
    return (
        first == "---"
        or first.startswith(("{", "%YAML"))
        or bool(re.fullmatch(r"""('[^']*'|"[^"]*"|[\w.-]+)\s*:""", first))
    )


def beside(file: Path) -> Iterator[Left]:
    """Yield the files of variables beside an inventory, which are not read."""
    for directory in (file.parent / name for name in VARIABLES):
        if directory.is_dir():
            names = sorted(each.name for each in islice(directory.iterdir(), 1000))
            why = "not read: ansible-inventory --list --yaml prints an inventory that has these variables"
            yield from (Left(0, f"{directory.name}/{name}", why) for name in names)


def _text(tables: Tables, name: str) -> Iterator[str]:
    """Yield the text of hosts.toml in pieces; hosts whose names differ only in a number share a table."""
    yield f"# From the Ansible inventory {name!r}.\n"
    if tables.defaults:
        yield from ("\n[defaults]\n", *_pairs(tables.defaults))
    if tables.groups:
        yield "\n[groups]\n"
        for group, members in tables.groups.items():
            inner = [member for member in members if member in tables.groups]
            hosts = [member for member in members if member in tables.hosts]
            yield from _pairs({group: [*inner, *ranges.folded(hosts)]})
    for word, table in _ranges(tables.hosts):
        yield from (f"\n[hosts.{quoted(word)}]\n", *_pairs(table))


def _ranges(hosts: Mapping[str, dict[str, Any]]) -> Iterator[tuple[str, dict[str, Any]]]:
    alike: dict[str, list[str]] = {}
    for name, table in hosts.items():
        alike.setdefault(name if "address" in table else repr(table), []).append(name)
    for names in alike.values():
        for word in ranges.folded(names):
            yield word, hosts[names[0]]


def _pairs(table: Mapping[str, Any]) -> Iterator[str]:
    import tomlkit

    for key, value in table.items():
        yield f"{quoted(key)} = {tomlkit.item(value).as_string()}\n"


def _write(file: Path, text: str, *, yes: bool, dry: bool, again: str) -> None:
    """Write the whole file or nothing; an existing one is replaced only if `yes` is set.

    Args:
        file: path of the file.
        text: its content.
        yes: replace the file if it exists.
        dry: only check whether it exists.
        again: the command that was typed, without its options for the output, for the hint.

    Raises:
        Refused: the file exists.
        Failed: it cannot be written.
    """
    refusal = Refused(
        f"{file} exists",
        "it is replaced only with --yes",
        hint=f"{again} --output {shlex.quote(str(file))} --yes",
    )
    if not yes and os.path.lexists(file):
        raise refusal
    if dry:
        return
    import secrets

    part = file.with_name(f".{file.name[:100]}.{secrets.token_hex(8)}")
    try:
        with part.open("x", encoding="utf-8") as stream:
            stream.write(text)
            stream.flush()
            os.fsync(stream.fileno())
        if yes:
            part.replace(file)
        else:
            file.hardlink_to(part)  # unlike a rename, this never replaces a file
    except FileExistsError as error:
        raise refusal from error
    except OSError as error:
        raise Failed(f"cannot write {file}", str(error)) from error
    finally:
        part.unlink(missing_ok=True)
