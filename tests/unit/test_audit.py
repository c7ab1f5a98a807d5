"""The lock file as the audit reads it, and the sizes of releases.toml beside those that a server says."""

from __future__ import annotations

from email.message import Message
from io import BytesIO
from urllib.error import HTTPError
from urllib.request import Request

import pytest

from tests import audit
from tests.audit import LOCKS, REPOSITORY, locked


def test_a_requirement_with_its_hashes() -> None:
    text = "# by uv\nAb_c==1.2 \\\n    --hash=sha256:aa \\\n    --hash=sha256:bb\n    # via x\nd==3\n"
    assert locked(text) == {"ab-c": ("1.2", 2), "d": ("3", 0)}


@pytest.mark.parametrize("line", ["a>=1", "a @ https://example.org/a.whl", "-e ."])
def test_what_is_not_exact_is_an_error(line: str) -> None:
    with pytest.raises(ValueError, match="not an exact version"):
        locked(line)


@pytest.mark.parametrize("lock", LOCKS)
def test_every_requirement_has_a_hash(lock: str) -> None:
    assert all(hashes for _, hashes in locked((REPOSITORY / lock).read_text()).values())


class Answer(BytesIO):
    """A server's answer to the question for a file's size."""

    def __init__(self, size: int) -> None:
        super().__init__()
        self.headers = {"Content-Length": str(size)}


def test_sizes_that_are_missing_or_others_are_told_as_the_line_to_write(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[Request] = []

    def answer(request: Request, timeout: int) -> Answer:
        asked.append(request)
        return Answer(66879095 if "go1.26.5.linux-amd64" in request.full_url else 7)

    monkeypatch.setattr(audit, "urlopen", answer)
    said = audit.sizes()
    assert "go 1.26.5 for arm64: size = 7" in said and "protoc 3.20.1 for amd64: size = 7" in said
    assert not [line for line in said if "66879095" in line]
    assert {request.get_method() for request in asked} == {"HEAD"}


def test_a_file_that_is_not_there_is_a_finding_and_the_others_are_still_asked_for(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def answer(request: Request, timeout: int) -> Answer:
        if "protoc" in request.full_url:
            raise HTTPError(request.full_url, 404, "Not Found", Message(), None)
        return Answer(7)

    monkeypatch.setattr(audit, "urlopen", answer)
    said = audit.sizes()
    assert "protoc 3.20.1 for amd64: HTTP Error 404: Not Found" in said
    assert "runc 1.4.3 for arm64: size = 7" in said


@pytest.mark.parametrize(
    ("stated", "permitted"),
    [
        ("MIT", True),
        ("Apache-2.0 OR GPL-2.0-only", True),
        ("License :: OSI Approved :: GNU Lesser General Public License v2 or later (LGPLv2+)", True),
        ("GPL-3.0-only AND MIT", False),
        ("AGPL-3.0-or-later AND BSD-3-Clause", False),
        ("GPL-3.0, formerly MIT", False),
        ("License :: OSI Approved :: GNU General Public License v3 (GPLv3)", False),
        ("", False),
    ],
)
def test_a_licence_permits_use_if_all_of_its_parts_do(stated: str, permitted: bool) -> None:
    assert audit.permits(stated) == permitted
