"""docs/hosts.md and docs/json.md say what the code says: run `python -m tests.reference` after a change."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from tests import reference


@pytest.mark.parametrize(
    ("file", "page"), [(reference.HOSTS, reference.hosts_page), (reference.JSON, reference.json_page)]
)
def test_the_page_is_up_to_date(file: Path, page: Callable[[str], str]) -> None:
    text = file.read_text()
    assert page(text) == text


def test_every_field_of_the_document_has_a_meaning() -> None:
    known = reference.meanings(reference.JSON.read_text())
    assert {key for key, meaning in known.items() if not meaning} == set()
    assert len(known) > 200
