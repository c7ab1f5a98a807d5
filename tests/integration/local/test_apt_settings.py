"""What this machine's apt.conf says: its proxy is used, and nothing in it selects other packages or unsigned ones."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from fabfile.errors import Failed
from fabfile.lab import suites, tools
from fabfile.lab.kinds import uml_kernel

PACKAGE = "Package: tiny\nVersion: 1\nArchitecture: amd64\nMaintainer: tests\nDescription: tiny\n"


class Proxy(BaseHTTPRequestHandler):
    """Has nothing, and notes the addresses that it is asked for."""

    asked: list[str]

    def do_GET(self) -> None:
        self.asked.append(self.path)
        self.send_error(404)

    def log_message(self, format: str, *args: object) -> None:
        pass


@pytest.fixture
def proxy() -> Iterator[tuple[str, list[str]]]:
    """The address of a proxy, and what it is asked for."""
    Proxy.asked = []
    with ThreadingHTTPServer(("127.0.0.1", 0), Proxy) as server:
        threading.Thread(target=server.serve_forever).start()
        yield f"http://127.0.0.1:{server.server_port}", Proxy.asked
        server.shutdown()


def apt_conf(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, *lines: str) -> None:
    """Add lines to this machine's settings of apt."""
    file = tmp_path / "apt.conf"
    file.write_text("".join(f"{line};\n" for line in lines))
    monkeypatch.setenv("APT_CONFIG", str(file))


def test_mmdebstrap_uses_the_proxy_of_apts_settings(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, proxy: tuple[str, list[str]]
) -> None:
    address, asked = proxy
    apt_conf(tmp_path, monkeypatch, f'Acquire::http::Proxy "{address}"')
    monkeypatch.setattr(suites, "mirror", lambda: "http://debian.invalid/debian")
    command = ("mmdebstrap", "--variant=custom", "bookworm")
    with pytest.raises(Failed, match="mmdebstrap failed"):
        suites.make(tmp_path, *command, tree=tmp_path / "tree", log=tmp_path / "log")
    assert "http://debian.invalid/debian/dists/bookworm/InRelease" in asked


def test_the_release_that_this_machine_prefers_is_no_matter(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    apt_conf(tmp_path, monkeypatch, 'APT::Default-Release "none-of-debians"')
    monkeypatch.setattr(uml_kernel, "PACKAGES", ("hostname",))
    uml_kernel._download(tmp_path, "bookworm", tmp_path / "log")
    assert list((tmp_path / "tree").rglob("bin/hostname"))


def test_an_unsigned_package_is_refused_even_if_this_machine_allows_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    allow = ("APT::Get::AllowUnauthenticated", "Acquire::AllowInsecureRepositories")
    apt_conf(tmp_path, monkeypatch, *(f'{name} "true"' for name in allow))
    archive, here = tmp_path / "archive", tmp_path / "here"
    lists = archive / "dists/forky/main/binary-amd64"
    for directory in (lists, here, tmp_path / "tiny/DEBIAN"):
        directory.mkdir(parents=True)
    (tmp_path / "tiny/DEBIAN/control").write_text(PACKAGE)
    tools.run("dpkg-deb", "-b", tmp_path / "tiny", archive / "tiny.deb")
    size = (archive / "tiny.deb").stat().st_size
    digest = tools.run("sha256sum", archive / "tiny.deb").split()[0]
    (lists / "Packages").write_text(f"{PACKAGE}Filename: tiny.deb\nSize: {size}\nSHA256: {digest}\n")
    monkeypatch.setattr(suites, "mirror", lambda: f"copy:{archive}")
    monkeypatch.setattr(uml_kernel, "PACKAGES", ("tiny",))
    with pytest.raises(Failed, match="apt-get failed"):
        uml_kernel._download(here, "forky", tmp_path / "log")
    assert "does not have a Release file" in (tmp_path / "log").read_text()
    assert not list(here.glob("*.deb"))
