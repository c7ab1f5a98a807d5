"""The lock file as the audit reads it."""

from __future__ import annotations

import pytest

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
