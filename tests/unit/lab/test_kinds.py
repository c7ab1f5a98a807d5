"""Kinds of machine: which are tried, what is said where none works, what their disks are called."""

from __future__ import annotations

from pathlib import Path

import pytest

from fabfile.errors import Refused
from fabfile.lab import kinds
from fabfile.lab.image import Image
from fabfile.lab.kinds import kind as interface
from fabfile.lab.kinds import uml_cow
from fabfile.lab.kinds.kind import Unfit


@pytest.mark.parametrize(
    ("name", "variable", "tried"),
    [
        ("", "", ("kvm", "uml", "tcg")),
        ("", "tcg", ("tcg",)),
        ("uml", "tcg", ("uml",)),
        ("debian", "", ("kvm", "tcg")),
        ("", "debian", ("kvm", "tcg")),
    ],
)
def test_which_kinds_are_tried(
    monkeypatch: pytest.MonkeyPatch, name: str, variable: str, tried: tuple[str, ...]
) -> None:
    monkeypatch.setenv("LAB_MACHINE", variable)
    assert kinds.wanted(name) == tried


@pytest.mark.parametrize(("name", "variable", "where"), [("xen", "", "--machine"), ("", "xen", "LAB_MACHINE")])
def test_an_unknown_kind_is_refused(monkeypatch: pytest.MonkeyPatch, name: str, variable: str, where: str) -> None:
    monkeypatch.setenv("LAB_MACHINE", variable)
    with pytest.raises(Refused) as refused:
        kinds.wanted(name)
    assert refused.value.what == f"{where}: no kind of machine 'xen'"
    assert "kvm, uml, tcg" in refused.value.details


class Works:
    what = "a machine that works"

    def __init__(self, directory: Path) -> None:
        (directory / "version").write_text("1.2.3")
        self.directory = directory

    def image(self, suite: str) -> Image:
        return Image(suite, self.directory)


class Fails:
    def __init__(self, name: str, *packages: str) -> None:
        self.name, self.packages = name, packages

    def image(self, suite: str) -> Image:
        raise Unfit(self.name, f"{self.name} does not work", self.packages)


def test_the_first_that_works_is_taken(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.delenv("LAB_MACHINE", raising=False)
    works = Works(tmp_path)
    monkeypatch.setattr(kinds, "KINDS", {"kvm": Fails("kvm"), "uml": works, "tcg": Fails("tcg")})
    kind, image = kinds.choose("bookworm")
    assert kind is works and image.directory == tmp_path
    assert capsys.readouterr().out == "machines: a machine that works, Linux 1.2.3\n"


def test_where_none_works_every_reason_is_given_and_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("LAB_MACHINE", raising=False)
    monkeypatch.setattr(kinds, "KINDS", {"uml": Fails("uml", "patchelf", "qemu"), "tcg": Fails("tcg", "qemu")})
    with pytest.raises(Refused) as refused:
        kinds.choose("bookworm")
    assert refused.value.details == "uml: uml does not work\ntcg: tcg does not work"
    assert refused.value.hint == "apt-get install --no-install-recommends patchelf qemu"


def test_another_architecture_and_a_missing_program_are_reasons(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("platform.machine", lambda: "riscv64")
    with pytest.raises(Unfit, match="x86_64 machines, and this computer is riscv64"):
        interface.require("uml", {})
    monkeypatch.setattr("platform.machine", lambda: "x86_64")
    with pytest.raises(Unfit, match="missing: no-such-program") as unfit:
        interface.require("uml", {"no-such-program": "a-package", "sh": "dash"})
    assert unfit.value.packages == ("a-package",)


def test_the_third_disk_is_the_seed_in_every_kind() -> None:
    assert [kinds.KINDS["tcg"].disk(number) for number in range(4)] == ["/dev/vda", "/dev/vdb", "/dev/vdd", "/dev/vde"]
    assert [kinds.KINDS["uml"].disk(number) for number in range(3)] == ["/dev/ubda", "/dev/ubdb", "/dev/ubdd"]


def test_an_overlay_is_what_user_mode_linux_makes_itself(tmp_path: Path) -> None:
    """Compared with one that Linux 7.2 made: the header's fields, and where the data begins."""
    image, overlay = tmp_path / "image", tmp_path / "overlay"
    with image.open("wb") as out:
        out.truncate(16 << 20)
    uml_cow.create(overlay, image, "/tmp/base.img")
    found = overlay.read_bytes()[:8192]
    time = int(image.stat().st_mtime).to_bytes(4, "big")
    assert found.startswith(b"OOOM\0\0\0\3" + time + bytes.fromhex("0000000001000000000002000000100000000000"))
    assert found[32:].startswith(b"/tmp/base.img\0")
    assert overlay.stat().st_size == (16 << 20) + 12288
    assert overlay.stat().st_blocks * 512 <= 8192, "sparse"
