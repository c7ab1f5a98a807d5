"""The mirror's own archives: the same packages give the same digest, whenever they were unpacked."""

from __future__ import annotations

import os
import zipfile
from pathlib import Path

from fabfile.lab import mirror


def tree(root: Path, modified: int) -> Path:
    """Create the files of protoc, all with the same modification time, in seconds since 1970."""
    for name, mode in (("bin/protoc", 0o755), ("include/google/a.proto", 0o644)):
        path = root / name
        path.parent.mkdir(parents=True)
        path.write_text(name)
        path.chmod(mode)
        os.utime(path, (modified, modified))
    return root


def test_a_zip_does_not_depend_on_when_its_files_were_written(tmp_path: Path) -> None:
    archives = [tmp_path / "first.zip", tmp_path / "second.zip"]
    for archive, modified in zip(archives, (1_000_000_000, 1_700_000_000), strict=True):
        mirror._zip(tree(tmp_path / archive.stem, modified), archive)
    assert archives[0].read_bytes() == archives[1].read_bytes()
    with zipfile.ZipFile(archives[0]) as found:
        modes = {entry.filename: entry.external_attr >> 16 & 0o777 for entry in found.infolist() if not entry.is_dir()}
        assert modes == {"bin/protoc": 0o755, "include/google/a.proto": 0o644}
        assert found.read("bin/protoc") == b"bin/protoc"
