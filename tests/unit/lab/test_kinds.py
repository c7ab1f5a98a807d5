"""Kinds of machines: which are tried, the error if none works, and the names of their disks."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from fabfile.errors import Failed, Refused
from fabfile.lab import kinds
from fabfile.lab.files import Unwritable
from fabfile.lab.image import Image
from fabfile.lab.kinds import kind as interface
from fabfile.lab.kinds import kvm, qemu, uml, uml_cow
from fabfile.lab.kinds.kind import Unfit
from fabfile.lab.kinds.uml_kernel import UmlKernel
from fabfile.lab.vm import Vm


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


def test_the_first_kind_that_works_is_used(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.delenv("LAB_MACHINE", raising=False)
    works: object = Works(tmp_path)
    monkeypatch.setattr(kinds, "KINDS", {"kvm": Fails("kvm"), "uml": works, "tcg": Fails("tcg")})
    kind, image = kinds.choose("bookworm")
    assert kind is works and image.directory == tmp_path
    assert capsys.readouterr().out == "machines: a machine that works, Linux 1.2.3\n"


def test_if_no_kind_works_all_reasons_and_packages_are_given(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("LAB_MACHINE", raising=False)
    monkeypatch.setattr(kinds, "KINDS", {"uml": Fails("uml", "patchelf", "qemu"), "tcg": Fails("tcg", "qemu")})
    with pytest.raises(Refused) as refused:
        kinds.choose("bookworm")
    assert refused.value.details == "uml: uml does not work\ntcg: tcg does not work"
    assert refused.value.hint == "apt-get install --no-install-recommends patchelf qemu"


def test_another_architecture_and_a_missing_program_are_reasons(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("platform.machine", lambda: "riscv64")
    with pytest.raises(Unfit, match="x86_64 machines, and this controller is riscv64"):
        interface.require("uml", {})
    monkeypatch.setattr("platform.machine", lambda: "x86_64")
    with pytest.raises(Unfit, match="missing: no-such-program") as unfit:
        interface.require("uml", {"no-such-program": "a-package", "sh": "dash"})
    assert unfit.value.packages == ("a-package",)


def computer(monkeypatch: pytest.MonkeyPatch, directory: Path, *programs: str) -> None:
    """Pretend that the computer has only these programs, and no /dev/kvm."""
    for program in programs:
        (directory / program).write_text("#!/bin/sh\n")
        (directory / program).chmod(0o755)
    monkeypatch.setenv("PATH", str(directory))
    monkeypatch.delenv("LAB_MACHINE", raising=False)
    monkeypatch.setattr(kvm, "DEVICE", directory / "kvm")


def test_without_qemu_every_kind_says_so(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    computer(monkeypatch, tmp_path)
    with pytest.raises(Refused) as refused:
        kinds.choose("bookworm")
    assert refused.value.details.splitlines() == [
        f"kvm: {tmp_path / 'kvm'} cannot be opened",
        "uml: missing: qemu-system-x86_64, patchelf, apt-get, dpkg-deb",
        "tcg: missing: qemu-system-x86_64, qemu-img",
    ]
    packages = "apt dpkg patchelf qemu-system-x86 qemu-utils"
    assert refused.value.hint == f"apt-get install --no-install-recommends {packages}"


def test_on_another_architecture_every_kind_says_so(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    computer(monkeypatch, tmp_path)
    monkeypatch.setattr("platform.machine", lambda: "aarch64")
    with pytest.raises(Refused) as refused:
        kinds.choose("bookworm")
    other = "it runs x86_64 machines, and this controller is aarch64"
    assert refused.value.details.splitlines()[1:] == [f"uml: {other}", f"tcg: {other}"]
    assert refused.value.hint == "use another machine"


def tcg_has_an_image(monkeypatch: pytest.MonkeyPatch, directory: Path) -> None:
    (directory / "image").mkdir()
    (directory / "image" / "version").write_text("6.1")
    monkeypatch.setattr("fabfile.lab.image.build", lambda suite, kernel: Image(suite, directory / "image"))


def test_without_patchelf_the_processor_is_emulated(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    computer(monkeypatch, tmp_path, "qemu-system-x86_64", "qemu-img", "apt-get", "dpkg-deb")
    tcg_has_an_image(monkeypatch, tmp_path)
    assert kinds.choose("bookworm")[0] is kinds.KINDS["tcg"]
    with pytest.raises(Refused) as refused:
        kinds.choose("bookworm", "uml")
    assert refused.value.details == "uml: missing: patchelf"


def test_where_no_program_can_be_run_in_the_lab_the_processor_is_emulated(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    computer(monkeypatch, tmp_path, *qemu.PROGRAMS, *uml.PROGRAMS)
    tcg_has_an_image(monkeypatch, tmp_path)
    monkeypatch.setattr("fabfile.lab.files.noexec", lambda directory: True)
    assert kinds.choose("bookworm")[0] is kinds.KINDS["tcg"]
    with pytest.raises(Refused, match="which is mounted with noexec"):
        kinds.choose("bookworm", "uml")


@pytest.mark.parametrize("newest", [True, False])
def test_a_kernel_that_cannot_be_downloaded_or_does_not_boot_is_a_reason(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, newest: bool
) -> None:
    computer(monkeypatch, tmp_path, *qemu.PROGRAMS, *uml.PROGRAMS)

    def find(suite: str) -> UmlKernel:
        if suite == "forky" and not newest:
            raise Failed("apt-get failed", "exit code 100\nE: 404 Not Found")
        return UmlKernel(tmp_path, f"of {suite}")

    monkeypatch.setattr("fabfile.lab.kinds.uml_kernel.find", find)
    monkeypatch.setattr(uml, "_boot", lambda kernel, directory: f"Linux {kernel.version}: ptrace is forbidden")
    with pytest.raises(Refused) as refused:
        kinds.choose("bookworm", "uml")
    first = (
        "Linux of forky: ptrace is forbidden" if newest else "Debian forky's kernel: apt-get failed: E: 404 Not Found"
    )
    assert refused.value.details == f"uml: {first}; Linux of bookworm: ptrace is forbidden"


def test_a_full_cache_is_no_reason_to_try_another_kind(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    computer(monkeypatch, tmp_path, *qemu.PROGRAMS, *uml.PROGRAMS)

    def find(suite: str) -> UmlKernel:
        raise Unwritable("no room is left in the cache")

    monkeypatch.setattr("fabfile.lab.kinds.uml_kernel.find", find)
    with pytest.raises(Unwritable):
        kinds.choose("bookworm")


@pytest.mark.parametrize("name", ["a b", "a,b", "q\"uo'te", "é%h${HOME}"])
def test_qemu_takes_every_path(tmp_path: Path, name: str) -> None:
    machine = Vm(tmp_path / name / "lab-1", "tcg", "bookworm", tmp_path / name / "image", 40001)
    command = list(map(str, qemu.command(machine, Image("bookworm", machine.image), (), ())))
    drives = [command[place + 1] for place, word in enumerate(command) if word == "-drive"]
    options = [drive.replace(",,", "\0").split(",")[0].replace("\0", ",") for drive in drives]
    assert options == [f"file={machine.directory / file}" for file in ("root.qcow2", "disk.qcow2", "seed.tar")]
    assert command[command.index("-kernel") + 1] == str(machine.image / "vmlinuz")


def test_the_memory_is_on_disk_if_dev_shm_will_not_do(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(uml, "MEMORY", tmp_path)
    room = os.statvfs(tmp_path)
    assert uml._memory(1) == tmp_path
    assert uml._memory((room.f_bavail * room.f_frsize >> 20) + 2048) == Path("own")
    monkeypatch.setattr("fabfile.lab.files.noexec", lambda directory: True)
    assert uml._memory(1) == Path("own")
    monkeypatch.setattr(uml, "MEMORY", tmp_path / "none")
    assert uml._memory(1) == Path("own")


def test_an_overlay_has_the_format_that_user_mode_linux_writes(tmp_path: Path) -> None:
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
