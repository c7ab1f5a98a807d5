"""The cache belongs to its user alone: what is in it is installed on hosts."""

from __future__ import annotations

import os
import stat
from pathlib import Path

import pytest

from fabfile import paths
from fabfile.artefacts import download
from fabfile.errors import Refused


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The cache, which is not there yet."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "shared" / "base"))
    return paths.cache()


def use() -> None:
    """Use the cache, as all do."""
    with download.locked(paths.cache() / "builds" / "key" / "containerd.tar.gz"):
        assert paths.cache().is_dir()


@pytest.mark.parametrize("made", [None, 0o755])
def test_nobody_else_may_enter_the_cache(cache: Path, made: int | None) -> None:
    old = os.umask(0)
    try:
        if made:
            cache.mkdir(made, parents=True)
        use()
    finally:
        os.umask(old)
    assert stat.S_IMODE(cache.stat().st_mode) == 0o700


@pytest.mark.parametrize("mode", [0o775, 0o777, 0o1777])
def test_a_cache_that_others_may_write_to_is_refused(cache: Path, mode: int) -> None:
    cache.mkdir(parents=True)
    cache.chmod(mode)
    with pytest.raises(Refused) as refused:
        use()
    assert refused.value.what == f"others may write to {cache}" and refused.value.hint == f"chmod go-w {cache}"
    assert not list(cache.iterdir())
    cache.chmod(mode & ~0o022)
    use()


@pytest.mark.parametrize("whose", ["directory", "link"])
def test_a_cache_of_another_user_is_refused(cache: Path, monkeypatch: pytest.MonkeyPatch, whose: str) -> None:
    real = cache if whose == "directory" else cache.with_name("real")
    real.mkdir(parents=True)
    if whose == "link":
        cache.symlink_to(real)
        own, other = Path.lstat, real.stat().st_uid + 1
        monkeypatch.setattr(Path, "lstat", lambda path: _owned_by(own(path), other) if path == cache else own(path))
    else:
        monkeypatch.setattr("os.geteuid", lambda: real.stat().st_uid + 1)
    with pytest.raises(Refused, match=f"{cache} belongs to user") as refused:
        use()
    assert "export XDG_CACHE_HOME=" in refused.value.hint
    assert not list(real.iterdir())


def _owned_by(found: os.stat_result, user: int) -> os.stat_result:
    return os.stat_result((*found[:4], user, *found[5:]))


def test_a_link_of_ones_own_is_followed(cache: Path) -> None:
    real = cache.with_name("real")
    real.mkdir(parents=True)
    cache.symlink_to(real)
    use()
    assert (real / "builds" / "key").is_dir()
