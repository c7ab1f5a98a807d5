"""The picture of a deploy: what is drawn, what it may not show, and what is in the repository."""

from __future__ import annotations

import html
import re
from pathlib import Path
from xml.etree import ElementTree

import pytest

from fabfile import inventory
from tests import picture, throwaway

LAB = """
[defaults]
user = "root"
identity_file = "/srv/lab/id_ed25519"
mirror = "/srv/mirror"
registry = "http://192.0.2.2:4000"

[hosts.lab-1]
address = "127.0.0.1"
port = 2222
"""


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """The inventory of a picture, made of that of a lab."""
    (tmp_path / throwaway.INVENTORY).write_text(LAB)
    return picture.inventory(tmp_path, tmp_path / "picture.toml")


def lines(svg: str) -> list[str]:
    """What a person reads in a picture, from above."""
    found: dict[float, str] = {}
    matrix = svg.partition('-matrix">')[2]
    for y, text in re.findall(r'<text [^>]*? y="([0-9.]+)"[^>]*>([^<]*)</text>', matrix):
        found[float(y)] = found.get(float(y), "") + html.unescape(text).replace("\N{NO-BREAK SPACE}", " ")
    return [text.rstrip() for _, text in sorted(found.items())]


def test_the_machine_has_the_name_that_the_pages_give_it(file: Path) -> None:
    known = inventory.load(file)
    assert list(known.hosts) == ["node-1"]
    assert (known.hosts["node-1"].port, known.hosts["node-1"].pool.size) == (2222, "8G")


def test_commands_and_outputs_are_drawn_as_they_are() -> None:
    outputs = [("fab one", "node-1: [a] <b> & c\n"), ("fab two", "x" * 120 + "\n")]
    svg = picture.drawn(outputs)
    assert [line for line in lines(svg) if line] == [
        "$ fab one", "node-1: [a] <b> & c", "$ fab two", "x" * 100, "x" * 20
    ]  # fmt: skip
    assert svg == picture.drawn(outputs)
    assert "@font-face" not in svg and "url(http" not in svg


SECRETS = ["/srv/mirror/runc", "192.0.2.2:4000/library/x", "/srv/lab/known_hosts", "127.0.0.1"]


@pytest.mark.parametrize("secret", SECRETS)
def test_what_is_of_this_computer_is_not_drawn(file: Path, monkeypatch: pytest.MonkeyPatch, secret: str) -> None:
    monkeypatch.setattr(throwaway, "fab", lambda *words, **options: f"ok {secret}\n")
    with pytest.raises(SystemExit, match="fab --dry deploy printed"):
        picture.taken(file)


def test_the_inventory_is_called_by_its_usual_name(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(throwaway, "fab", lambda *words, **options: f"see {file}\n")
    assert {said for _, said in picture.taken(file)} == {"see hosts.toml\n"}


def test_the_picture_that_is_there_shows_a_deploy_and_nothing_of_a_computer() -> None:
    svg = picture.PICTURE.read_text()
    assert ElementTree.fromstring(svg).tag.endswith("}svg")
    read = lines(svg)
    assert len(svg.encode()) <= picture.BYTES and "@font-face" not in svg
    prompts = [line.removeprefix("$ ") for line in read if line.startswith("$ ")]
    assert prompts == [f"fab -H hosts {' '.join(words)}" for words, _ in picture.COMMANDS]
    assert max(map(len, read)) <= picture.COLUMNS
    said = "\n".join(read)
    assert not re.search(r"/(home|tmp)\b|127\.0\.0\.1|10\.0\.2\.", said)
    assert not re.search(r"^(\S+: )?(error|warn|fail)\b", said, re.MULTILINE | re.IGNORECASE)
