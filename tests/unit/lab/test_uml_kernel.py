"""The kernel of User-mode Linux comes from a suite that may change during the download."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from fabfile import paths
from fabfile.errors import Failed
from fabfile.lab import tools
from fabfile.lab.kinds import uml_kernel

CONTENT = (
    "usr/bin/linux.uml",
    "usr/lib/uml/modules/7.2.7/kernel/fs/ext4.ko",
    "usr/lib/uml/modules/7.2.7/kernel/sound/a.ko",
)


class Debian:
    """An archive behind the commands: the package lists that they download may be older than its packages."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, failures: int, lacking: str = "") -> None:
        self.failures, self.lacking = failures, lacking
        self.unpacked: list[str] = []
        monkeypatch.setattr(tools, "aside", self.aside)
        monkeypatch.setattr(tools, "run", self.run)
        monkeypatch.setattr("fabfile.lab.suites.mirror", lambda: "http://mirror.example/debian")

    def aside(self, directory: Path, *command: str, log: Path) -> str:
        log.write_text("what apt said")
        if "download" in command:
            tried = f"user-mode-linux_{self.failures}.deb"
            (directory / tried).write_text("")
            if self.failures:
                self.failures -= 1
                raise Failed("apt-get failed", "404 Not Found", hint=f"full log: {log}")
        return ""

    def run(self, *command: Any, log: Path) -> str:
        if command[0] == "dpkg-deb":
            self.unpacked.append(command[2].name)
            libraries = (f"usr/lib/x86_64-linux-gnu/{name}" for name in uml_kernel.LIBRARIES)
            for name in (*CONTENT, *libraries):
                if name != self.lacking:
                    (command[3] / name).parent.mkdir(parents=True, exist_ok=True)
                    (command[3] / name).write_text(name)
        return ""


def left() -> list[str]:
    return sorted(path.name for path in (paths.cache() / "kernels").iterdir() if path.suffix != ".lock")


def test_a_suite_that_changed_during_the_download_is_tried_once_more(monkeypatch: pytest.MonkeyPatch) -> None:
    debian = Debian(monkeypatch, failures=1)
    kernel = uml_kernel.find("forky")
    assert debian.unpacked == ["user-mode-linux_0.deb"], "nothing of the first attempt is mixed with the second"
    assert kernel.version == "7.2.7"
    names = sorted(path.name for path in kernel.directory.iterdir())
    assert names == [".manifest.json", "lib", "linux", "modules", "version"]
    assert not (kernel.directory / "modules/kernel/sound").exists()
    assert uml_kernel.find("forky") == kernel and len(debian.unpacked) == 1
    (kernel.directory / "linux").write_bytes(b"")
    assert uml_kernel.find("forky") == kernel and len(debian.unpacked) == 2


@pytest.mark.parametrize("lacking", ["usr/bin/linux.uml", "usr/lib/x86_64-linux-gnu/libc.so.6", CONTENT[1]])
def test_packages_with_an_unknown_layout_are_an_error_without_traceback(
    monkeypatch: pytest.MonkeyPatch, lacking: str
) -> None:
    debian = Debian(monkeypatch, failures=0, lacking=lacking)
    if lacking == CONTENT[1]:
        monkeypatch.setattr(f"{__name__}.CONTENT", CONTENT[:1])
    with pytest.raises(Failed, match="Debian forky are not laid out as expected"):
        uml_kernel.find("forky")
    assert debian.unpacked and left() == [".forky.log"]


def test_a_failed_download_leaves_only_the_log(monkeypatch: pytest.MonkeyPatch) -> None:
    Debian(monkeypatch, failures=2)
    with pytest.raises(Failed, match="apt-get failed"):
        uml_kernel.find("forky")
    assert left() == [".forky.log"]
