"""A machine whose program does not start: the program's own words are in the error, and nothing runs on."""

from __future__ import annotations

import socket
from pathlib import Path

import pytest

from fabfile.errors import Failed
from fabfile.lab import machines, vm
from fabfile.lab.image import Image
from fabfile.lab.kinds import KINDS
from fabfile.lab.kinds.uml_kernel import FILES
from fabfile.lab.vm import Vm


def machine(tmp_path: Path, kind: str, port: int, kernel: bytes) -> tuple[Vm, Image]:
    """A machine that has no kernel; of User-mode Linux it has one with any content."""
    image = Image("bookworm", tmp_path / "an image, of \"one\" 'file'")
    for name in (*FILES, "root.img"):
        file = image.directory / ("kernel" if name in FILES else "") / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(bytes(1 << 20) if name == "root.img" else kernel)
        file.chmod(0o755)
    directory = tmp_path / "a lab, é" / "lab-1"
    directory.mkdir(parents=True)
    (directory / "seed.tar").write_bytes(bytes(10240))
    return Vm(directory, kind, "bookworm", image.directory, port, memory=512), image


def said(tmp_path: Path, kind: str, port: int, kernel: bytes = b"") -> str:
    new, image = machine(tmp_path, kind, port, kernel)
    KINDS[kind].make_disks(new, image)
    KINDS[kind].start(new, image)
    try:
        with pytest.raises(Failed) as failed:
            vm.wait(new, 60)
        assert failed.value.what == "lab-1 stopped while it booted"
        assert new.pid is None
    finally:
        machines.kill(new)
    return failed.value.details


@pytest.mark.parametrize(
    ("kind", "words"), [("tcg", "qemu: could not open kernel file"), ("uml", "Exec format error: './linux'")]
)
def test_its_words_are_in_the_error(tmp_path: Path, kind: str, words: str) -> None:
    assert words in said(tmp_path, kind, vm.free_ports(1)[0])


@pytest.mark.parametrize("kind", ["tcg", "uml"])
def test_a_port_that_somebody_took_meanwhile(tmp_path: Path, kind: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        words = said(tmp_path, kind, port, b"#!/bin/sh\nexec sleep 600\n")
    assert f"Could not set up host forwarding rule 'tcp:127.0.0.1:{port}-:22'" in words
