"""Apt's sources as anybody may have written them: the address of Debian's archive."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from fabfile.errors import Refused
from fabfile.lab import suites, tools
from tests.unit import cost
from tests.unit.damage import damaged

DEBIAN = "http://deb.example.org/debian"
LINE = f"deb {DEBIAN} bookworm main\n"
STANZA = f"Types: deb deb-src\nURIs: {DEBIAN}\nSuites: trixie trixie-updates\nComponents: main\n"
SECURITY = "Types: deb\nURIs: http://deb.example.org/debian-security\nSuites: trixie-security\nComponents: main\n"
DOCKER = "deb [arch=amd64 signed-by=/etc/apt/keyrings/docker.asc] https://docker.example/linux/debian bookworm stable\n"
TAILSCALE = "deb [signed-by=/usr/share/keyrings/tailscale.gpg] https://pkgs.example/stable/debian bookworm main\n"
UBUNTU = "Types: deb\nURIs: http://archive.example/ubuntu\nSuites: noble noble-updates\nComponents: main universe\n"
SIGNED = "Signed-By: /usr/share/keyrings/debian-archive-keyring.gpg\n"


NONE = "no archive of Debian in this controller's apt sources"


def mirror(tmp_path: Path, **files: str) -> str:
    """The address, or the error, from files in sources.list.d, or `sources` in sources.list; `a_list` is a.list."""
    (tmp_path / "sources.list.d").mkdir(exist_ok=True)
    for name, text in files.items():
        file = "sources.list" if name == "sources" else f"sources.list.d/{name.replace('_', '.')}"
        (tmp_path / file).write_bytes(text.encode(errors="surrogatepass"))
    try:
        return suites.mirror(tmp_path)
    except Refused as refused:
        return refused.what


@pytest.mark.parametrize(
    ("text", "address"),
    [
        (LINE, DEBIAN),
        (
            "deb [arch=amd64 signed-by=/k] https://m.example.org/x/debian/ trixie main\n",
            "https://m.example.org/x/debian",
        ),
        ("deb mirror+https://m.example.org/debian bookworm main\n", "https://m.example.org/debian"),
        (f"deb\t[trusted=yes]\t{DEBIAN}\tbookworm\tcontrib main # ours\n", DEBIAN),
        (f"# deb http://a.example/debian sid main\ndeb-src http://b.example/debian sid main\n{LINE}", DEBIAN),
        (f"deb http://a.example/debian-security bookworm-security main\n{LINE}", DEBIAN),
        (f"deb http://vendor.example/apt bookworm main\n{LINE}", DEBIAN),
        (DOCKER + TAILSCALE + LINE, DEBIAN),
        ("deb http://cache.example/remote stable main\n", "http://cache.example/remote"),
        (DOCKER, NONE),
        ("deb http://[/debian bookworm main\ndeb http:///debian bookworm main\n", NONE),
        ("deb cdrom:[Debian 12]/ bookworm main\n", NONE),
        ("", NONE),
    ],
)
def test_lines_of_apts_sources(tmp_path: Path, text: str, address: str) -> None:
    assert mirror(tmp_path, sources=text) == address


@pytest.mark.parametrize(
    ("text", "address"),
    [
        (STANZA, DEBIAN),
        (f"{SECURITY}\n{STANZA}", DEBIAN),
        (f"{SECURITY} \n# a comment\n{STANZA.upper().replace(DEBIAN.upper(), DEBIAN).lower()}", DEBIAN),
        (f"Enabled: no\n{STANZA}", NONE),
        (f"Enabled: yes\n{STANZA}", DEBIAN),
        (STANZA.replace("deb deb-src", "deb-src"), NONE),
        (f"Types: deb\nURIs:\n {DEBIAN}\n#c\n http://a.example/debian\nSuites: sid\nComponents: main", DEBIAN),
        (f"{STANZA.replace('.org', '.com')}Signed-By:\n -----BEGIN\n .\n x\n\n{STANZA}{SIGNED}", DEBIAN),
        (UBUNTU, NONE),
    ],
)  # fmt: skip
def test_stanzas_of_apts_sources(tmp_path: Path, text: str, address: str) -> None:
    assert mirror(tmp_path, debian_sources=text) == address


@pytest.mark.parametrize("other", [DOCKER, TAILSCALE, DOCKER + TAILSCALE])
def test_a_vendors_file_is_not_preferred_to_debians(tmp_path: Path, other: str) -> None:
    assert mirror(tmp_path, a_list=other, debian_sources=f"{SECURITY}\n{STANZA}{SIGNED}") == DEBIAN


def test_a_file_that_apt_ignores_is_ignored(tmp_path: Path) -> None:
    assert mirror(tmp_path, debian_sources_save=STANZA, a_list_disabled=LINE) == NONE


@pytest.mark.parametrize("form", ["mirror+file:{}", "mirror+file://{}"])
def test_the_list_of_mirrors_of_a_cloud_image_is_followed(tmp_path: Path, form: str) -> None:
    names = tmp_path / "debian.list"
    stanza = STANZA.replace(DEBIAN, form.format(names))
    assert mirror(tmp_path, debian_sources=stanza) == NONE, "it does not exist"
    names.write_text("")
    assert mirror(tmp_path, debian_sources=stanza) == NONE
    names.write_text(f"# ours\n\n{DEBIAN}/\tpriority:1\nhttps://other.example/debian\n")
    assert mirror(tmp_path, debian_sources=stanza) == DEBIAN


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(text=damaged([LINE, DOCKER, STANZA, f"{SECURITY}\n{STANZA}"]) | st.text(max_size=80))
def test_any_sources_have_an_address_or_one_error(tmp_path: Path, text: str) -> None:
    for address in (mirror(tmp_path, sources=text, a_sources=""), mirror(tmp_path, sources="", a_sources=text)):
        assert address == NONE or (address.startswith(("http://", "https://")) and len(address.split()) == 1)


@pytest.mark.parametrize(
    "text", ["deb " + "http://" * 100_000, "URIs: " + "http://a/debian" * 50_000, "deb [" * 100_000, "\n \n" * 100_000]
)
def test_hostile_sources_cost_no_time(tmp_path: Path, text: str) -> None:
    with cost.at_most(5):
        assert mirror(tmp_path, sources=text, a_sources=text) == NONE


@pytest.mark.parametrize(
    ("dump", "address", "variables"),
    [
        ("Acquire=\n", DEBIAN, {}),
        ("Acquire::http::Proxy=http://p.example:3128\n", DEBIAN, {"http_proxy": "http://p.example:3128"}),
        ("acquire::HTTP::proxy=http://u:a=b@p.example\n", DEBIAN, {"http_proxy": "http://u:a=b@p.example"}),
        ("Acquire::http::Proxy=http://p.example\n", "https://m.example/debian", {"https_proxy": "http://p.example"}),
        (
            "Acquire::http::Proxy=http://p.example\nAcquire::https::Proxy=http://q.example\n",
            "https://m.example/debian",
            {"https_proxy": "http://q.example"},
        ),
        (
            "Acquire::http::Proxy=http://p.example\nAcquire::http::Proxy::deb.example.org=DIRECT\n",
            DEBIAN,
            {"no_proxy": "deb.example.org"},
        ),
        (
            "Acquire::http::Proxy=http://p.example\nAcquire::https::Proxy=false\n",
            "https://m.example/debian",
            {"no_proxy": "m.example"},
        ),
        ("Acquire::http::Proxy=\nAcquire::http::Proxy::other.example=http://p.example\n", DEBIAN, {}),
    ],
)
def test_the_proxy_of_apts_settings(
    monkeypatch: pytest.MonkeyPatch, dump: str, address: str, variables: dict[str, str]
) -> None:
    monkeypatch.setattr(tools, "run", lambda *_: dump)
    assert suites.proxy(address) == variables
