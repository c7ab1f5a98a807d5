"""Addresses: valid ones, redirects, and that a password goes only to its server."""

from __future__ import annotations

import base64
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fabfile.artefacts import address, releases
from fabfile.artefacts.repository import environment
from fabfile.cli.fab_executor import retry
from fabfile.console import masked_word, printable, shown
from fabfile.errors import Failed, Refused
from fabfile.output.json_document import as_json
from fabfile.plan import Upload


def basic(text: str) -> str:
    return "Basic " + base64.b64encode(text.encode()).decode()


@pytest.mark.parametrize(
    "good",
    [
        "http://mirror.example/dir",
        "https://mirror.example:8443/a%20dir/~x",
        "http://[::1]:80/x",
        "http://my_mirror",
        "file:///srv/a%20mirror",
    ],
)
def test_an_address_stays_as_it_is(good: str) -> None:
    assert address.clean(good, "mirror") == good
    assert address.authorization(good) == ""


@pytest.mark.parametrize(
    "bad",
    [
        "ftp://mirror.example/x",
        "ext::sh -c id",
        "ext://sh -c id",
        "--upload-pack=x://y",
        "http://",
        "http:///x",
        "http://-x/y",
        "http://host/../x",
        "http://host/%2e%2e/x",
        "http://host/a b",
        "http://host/a%0ab",
        "http://host/a\n",
        "http://host/x?sig=1",
        "http://host/x#y",
        "http://host:999999/",
        "http://[0]",
        "http://[1::2::3]/x",
        "file://other/x",
        "file://x",
        "file:///a%00b",
        "http://höst/x",
        "http://host/$(id)`",
    ],
)
def test_an_invalid_address_is_refused(bad: str) -> None:
    with pytest.raises(Refused, match="mirror: not a usable address"):
        address.clean(bad, "mirror")


@given(st.text(max_size=60) | st.text("htps:/@%.2e[]-f\n\x1b ?#", max_size=40).map("http://".__add__))
def test_any_text_is_an_address_without_credentials_or_refused(text: str) -> None:
    try:
        plain = address.clean(text, "mirror")
    except Refused:
        return
    assert "@" not in plain.split("/")[2] and plain.isprintable() and plain.isascii()
    address.authorization(plain)


@pytest.mark.parametrize("mirror", ["http://user:SE%40CRET@creds.example/x", "http://SECRET@creds.example/x/"])
def test_the_password_is_in_no_plan_message_or_argument_but_goes_with_what_is_below(mirror: str) -> None:
    release = releases.load("2.3", "amd64", mirror)
    plan = as_json([Upload("why", release.runc, "true"), Upload("why", release.containerd, "true")])
    assert "SECRET" not in plan and "CRET" not in plan
    assert release.runc.url == "http://creds.example/x/runc-1.4.3.amd64"
    wanted = basic("user:SE@CRET" if "user" in mirror else "SECRET:")
    assert address.authorization(release.runc.url) == wanted
    assert address.authorization("http://creds.example/other") == ""
    assert address.authorization("http://creds.example/xy") == ""
    assert address.authorization("https://creds.example/x/y") == ""
    own = environment(Path("/nowhere"), release.containerd.url)
    assert own["GIT_CONFIG_VALUE_0"] == f"Authorization: {wanted}" and own["GIT_CONFIG_COUNT"] == "2"


@pytest.mark.parametrize(
    "mirror", ["ftp://user:SECRET@host/x", "http://user:SE/CRET@host/x", "http://u:SECRET@host/?q"]
)
def test_a_wrong_address_is_refused_without_its_password(mirror: str) -> None:
    with pytest.raises(Refused) as caught:
        releases.base_url(mirror)
    assert "CRET" not in str(caught.value)


def test_an_address_in_any_message_is_shown_without_its_password() -> None:
    shown = printable("fatal: 'https://user:SE@CRET@host/x.git' and http://TOKEN@host, ssh://root@host, ssh://a:b@host")
    assert shown == "fatal: 'https://***@host/x.git' and http://***@host, ssh://root@host, ssh://***@host"
    assert "SECRET" not in str(Failed("a", "Location: http://u:SECRET@h/", "http://u:SECRET@h/"))


@pytest.mark.parametrize(
    "secret", ["it's SECRET", 'SEC"RET', "SE<CRET>", "SE/CRET", "SE#CRET", "SE?CRET", "SE@CRET", "SE\nCRET"]
)
def test_a_typed_word_is_shown_without_its_password_even_if_it_is_no_address(secret: str) -> None:
    word = f"--mirror=http://user:{secret}@mirror/d"
    assert masked_word(word) == "--mirror=http://***@mirror/d"
    assert "CRET" not in shown(word, 200)
    assert "CRET" not in retry("20260101-000000-000", ["deploy", word])


@pytest.mark.parametrize(
    "word",
    ["--size=10G", "web@rack", "http://mirror/d", "uname -r; id a@b", "curl http://m/a && systemctl start app@1"],
)
def test_a_typed_word_without_credentials_stays_as_it_is(word: str) -> None:
    assert masked_word(word) == word


@given(st.text(max_size=200) | st.text('htps:/@"a. ', max_size=100))
def test_masking_is_quick_and_leaves_text_without_addresses(text: str) -> None:
    assert "://" in text or "***" not in printable(text) or "***" in text


def test_masking_takes_no_longer_than_the_text() -> None:
    assert len(printable("a://" * 200_000)) == 800_000
    assert len(printable("http://" + "a" * 1_000_000)) == 1_000_007


def test_netrc_names_the_password_of_a_server(home: Path) -> None:
    (home / ".netrc").write_text("machine mirror.example login user password SECRET\ndefault login x password y\n")
    (home / ".netrc").chmod(0o600)
    assert address.authorization("http://mirror.example:8080/x") == basic("user:SECRET")
    assert address.authorization("http://other.example/x") == ""
    assert address.authorization("file:///x") == ""


def test_netrc_is_read_for_no_http_server_that_another_one_chose(home: Path) -> None:
    (home / ".netrc").write_text("machine mirror.example login user password SECRET\n")
    (home / ".netrc").chmod(0o600)
    assert address.authorization("http://mirror.example/x", redirected=True) == ""
    assert address.authorization("https://mirror.example/x", redirected=True) == basic("user:SECRET")


def test_a_netrc_that_others_read_or_that_is_broken_is_refused_without_its_password(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = home / "own netrc"
    monkeypatch.setenv("NETRC", str(file))
    file.write_text("machine mirror.example login user password SECRET\n")
    file.chmod(0o644)
    with pytest.raises(Refused, match="others may read") as caught:
        address.authorization("https://mirror.example/x")
    assert "SECRET" not in str(caught.value) and "chmod 600" in caught.value.hint
    file.write_text("SECRET mirror\n")
    with pytest.raises(Refused, match="line 1: cannot be read") as caught:
        address.authorization("https://mirror.example/x")
    assert "SECRET" not in str(caught.value)


@pytest.mark.parametrize(
    ("start", "to", "may"),
    [
        ("https://a/x", "https://b/x", True),
        ("http://a/x", "https://b/x", True),
        ("http://a/x", "http://b/x", True),
        ("https://a/x", "http://a/x", False),
        ("https://a/x", "ftp://a/x", False),
        ("http://a/x", "file:///etc/passwd", False),
        ("http://a/x", "data:,x", False),
        ("http://a/x", "HTTPS://b/x", True),
    ],
)
def test_an_address_leads_to_no_weaker_protocol(start: str, to: str, may: bool) -> None:
    assert address.may_lead(start, to) is may
