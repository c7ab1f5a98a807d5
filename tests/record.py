"""Records facts for the unit tests: what a fact's fragment prints on a machine, and what its parser makes of that.

    nox -s record -- FACT [NAME]                  a throwaway machine: fresh, deployed, or both
    nox -s record -- FACT NAME --host HOST        a host of the inventory, in whatever state it is
    nox -s record -- FACT [NAME] --parse          no machine: the JSON alone, after a change of the parser

A machine is asked what a deploy asks it; `--ask devices=/dev/vdb` changes a field of `facts.query.Query`.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any

import msgspec
from fabric import Config

from fabfile import facts, inventory
from fabfile.errors import Failed, Problem, Refused
from fabfile.facts.query import Query, together
from fabfile.host import Host
from fabfile.inventory import Inventory
from fabfile.remote import target
from fabfile.remote.context import Context
from fabfile.ssh.connections import Connections
from fabfile.steps import deploy
from tests import throwaway
from tests.unit.fakes import RECORDED

STATES = ("fresh", "deployed")
"""States of a throwaway machine that can be recorded, in this order."""

QUERY = {field.name: field.type for field in msgspec.structs.fields(Query)}


def query(host: Host, asked: Sequence[str] = ()) -> Query:
    """Return the query of a deploy of `host`, including its proof, with other values for some fields.

    Args:
        host: the machine.
        asked: `FIELD=VALUE`; items of a tuple are separated by commas.

    Raises:
        Refused: there is no such field of `Query`, or the value is not valid for it.
    """
    found = together([step.query for step in deploy.steps(host)])
    changes: dict[str, Any] = {"prove": True}
    for word in asked:
        name, _, value = word.partition("=")
        if name not in QUERY:
            raise Refused(f"--ask {word}: no field {name!r}", f"there are: {', '.join(QUERY)}")
        items = value if QUERY[name] in (str, bool) else tuple(filter(None, value.split(",")))
        try:
            changes[name] = msgspec.convert(items, QUERY[name], strict=False)
        except msgspec.ValidationError as error:
            raise Refused(f"--ask {word}", str(error)) from error
    return msgspec.structs.replace(found, **changes)


def printed(c: Context, fact: str, asked: Query) -> str:
    """Return what the fact's fragment prints on a machine, byte for byte.

    Raises:
        Failed: the script failed, or ended before the fragment.
    """
    output = target.sh(c, facts.script(asked, (fact,)), f"recording {fact}", limit=300)
    before, mark, text = output.partition(f"@@ {fact}\n")
    if not mark:
        raise Failed(f"recording {fact}: the script ended before the fragment", before)
    return text


def meaning(fact: str, text: str) -> str:
    """Return the JSON of a parsed record; it is reproducible.

    Raises:
        Failed: the parser does not understand the record.
    """
    try:
        value = facts.MODULES[fact].parse(text)
    except (LookupError, ValueError) as error:
        raise Failed(f"cannot parse the {fact} facts", f"{error!r}") from error
    return msgspec.json.format(msgspec.json.encode(value, order="deterministic"), indent=2).decode() + "\n"


def write(fact: str, name: str, text: str, directory: Path = RECORDED) -> None:
    """Write a record and its meaning. A record that the parser does not understand is written as well, for fixing it.

    Args:
        fact: name of the fact.
        name: name of the machine's state.
        text: output of the fragment.
        directory: directory with the directories of all facts.

    Raises:
        Failed: the parser does not understand the record.
    """
    place = directory / fact
    place.mkdir(exist_ok=True)
    _write(place / f"{name}.txt", text)
    _write(place / f"{name}.json", meaning(fact, text))


def _write(file: Path, content: str) -> None:
    old = file.read_text() if file.exists() else None
    file.write_text(content)
    became = "new" if old is None else "unchanged" if content == old else "changed"
    print(f"{file.parent.name}/{file.name}: {became}")


def of_host(known: Inventory, name: str, fact: str, asked: Sequence[str]) -> str:
    """Return what the fragment prints on a host of an inventory."""
    (host,) = known.resolve([name])
    with Connections(known, Config()) as ways, closing(ways.to(host)) as connection:
        return printed(connection, fact, query(host, asked))


def records(options: argparse.Namespace) -> Iterator[tuple[str, str]]:
    """Yield name and text of each requested record.

    Raises:
        Refused: a throwaway machine cannot be brought into that state.
    """
    if options.parse:
        for file in sorted((RECORDED / options.fact).glob(f"{options.name or '*'}.txt")):
            yield file.stem, file.read_text()
        return
    if options.host:
        yield options.name, of_host(inventory.load(), options.host, options.fact, options.ask)
        return
    with throwaway.machine(options.suite, options.machine) as machine:
        file = machine.directory.parent / throwaway.INVENTORY
        for state in [options.name] if options.name else STATES:
            if state == "deployed":
                throwaway.fab("-H", machine.name, "deploy", inventory=file)
            yield state, of_host(inventory.load(file), machine.name, options.fact, options.ask)


def options(words: Sequence[str]) -> argparse.Namespace:
    """Parse the command line.

    Raises:
        SystemExit: it is not valid, or only asks for help.
    """
    parser = argparse.ArgumentParser(prog="nox -s record --", description=str(__doc__).partition("\n")[0])
    parser.add_argument("fact", metavar="FACT", choices=list(facts.MODULES), help=", ".join(facts.MODULES))
    parser.add_argument("name", metavar="NAME", nargs="?", default="", help="state of the machine, such as deployed")
    parser.add_argument("--host", default="", help="host of hosts.toml, or of the inventory that HOSTS_FILE names")
    parser.add_argument("--parse", action="store_true", help="write the JSON alone, from the text that is there")
    parser.add_argument("--ask", action="append", default=[], metavar="FIELD=VALUE", help="field of facts.query.Query")
    parser.add_argument("--suite", default="bookworm", help="Debian generation of the throwaway machine")
    parser.add_argument("--machine", default="", help="its kind: kvm, uml, tcg, or debian for Debian's own kernel")
    found = parser.parse_args(words)
    if found.host and not found.name:
        parser.error("--host: a NAME for the state of the host is needed")
    if found.name not in ("", *STATES) and not (found.host or found.parse):
        parser.error(f"{found.name}: bring a host into this state, and name it by --host")
    return found


def main(words: Sequence[str]) -> int:
    """Make the requested records."""
    given = options(words)
    try:
        for name, text in records(given):
            write(given.fact, name, text)
    except Problem as problem:
        print(problem, file=sys.stderr)
        return problem.code
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
