"""The lock file as the audit reads it, and the sizes of releases.toml beside those that a server says."""

from __future__ import annotations

from io import BytesIO
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
