"""Known host keys: names, ports, patterns, hashes, markers; what is no line is passed over."""

from __future__ import annotations

import base64
import hashlib
import hmac
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fabfile.errors import Refused
from fabfile.ssh import known_hosts
from fabfile.ssh.known_hosts import Changed, HostEntries, OtherKind, Revoked, Unknown
from tests.unit import cost

KEY, OTHER = (base64.b64encode(key).decode() for key in (b"the key", b"another key"))


def hashed(name: str, salt: bytes = b"12345678901234567890") -> str:
    digest = hmac.digest(salt, name.encode(), hashlib.sha1)
    return "|".join(["|1", *(base64.b64encode(part).decode() for part in (salt, digest))])


@pytest.fixture(autouse=True)
def few(monkeypatch: pytest.MonkeyPatch) -> None:
    """Even a single hashed name is looked up by the key."""
    monkeypatch.setattr(known_hosts, "MANY", 1)


def verdict(tmp_path: Path, text: str, host: str, port: int = 22) -> str:
    file = tmp_path / "known"
    file.write_bytes(text.encode("latin-1"))
    files = [tmp_path / "none", file]
    whole, short = (verified(find(files, host, port)) for find in (known_hosts.find, known_hosts.to_verify))
    assert whole == short
    return whole


def verified(known: HostEntries) -> str:
    try:
        known.verify(b"the key")
    except OtherKind as other:
        return verified(other.known)
    except (Unknown, Changed, Revoked) as error:
        return type(error).__name__
    return "ok"


@pytest.mark.parametrize(
    ("lines", "host", "port", "expected"),
    [
        (f"h ssh-ed25519 {KEY}", "h", 22, "ok"),
        (f"h ssh-ed25519 {KEY} a comment", "H", 22, "ok"),
        (f"a,h,192.0.2.1 ssh-ed25519 {KEY}", "192.0.2.1", 22, "ok"),
        (f"h ssh-ed25519 {KEY}", "g", 22, "Unknown"),
        (f"h ssh-ed25519 {OTHER}", "h", 22, "Changed"),
        (f"h ssh-rsa {OTHER}\nh ssh-ed25519 {KEY}", "h", 22, "ok"),
        (f"h ssh-rsa {OTHER}", "h", 22, "Changed"),
        (f"[h]:2222 ssh-ed25519 {KEY}", "h", 2222, "ok"),
        (f"[h]:2222 ssh-ed25519 {KEY}", "h", 22, "Unknown"),
        (f"h ssh-ed25519 {KEY}", "h", 2222, "ok"),
        (f"h ssh-ed25519 {OTHER}", "h", 2222, "Unknown"),
        (f"[h]:2222 ssh-ed25519 {OTHER}\nh ssh-ed25519 {KEY}", "h", 2222, "Changed"),
        (f"*.example ssh-ed25519 {KEY}", "a.example", 22, "ok"),
        (f"*.example,!a.example ssh-ed25519 {KEY}", "a.example", 22, "Unknown"),
        (f"!a.example ssh-ed25519 {KEY}", "b.example", 22, "Unknown"),
        (f"192.0.2.? ssh-ed25519 {KEY}", "192.0.2.7", 22, "ok"),
        (f"[*]:2222 ssh-ed25519 {KEY}", "h", 2222, "ok"),
        (f"[ab]* ssh-ed25519 {KEY}", "a", 22, "Unknown"),
        (f"{hashed('h')} ssh-ed25519 {KEY}", "h", 22, "ok"),
        (f"{hashed('[h]:2222')} ssh-ed25519 {KEY}", "h", 2222, "ok"),
        (f"{hashed('h')} ssh-ed25519 {KEY}", "g", 22, "Unknown"),
        (f"{hashed('h')} ssh-ed25519 {OTHER}", "h", 22, "Changed"),
        (f"{hashed('g')} ssh-ed25519 {KEY}\n{hashed('h')} ssh-ed25519 {KEY}", "h", 22, "ok"),
        (f"{hashed('h')} ssh-ed25519 {KEY}", "h", 2222, "ok"),
        (f"{hashed('[h]:2222')} ssh-ed25519 {OTHER}\n{hashed('h')} ssh-ed25519 {KEY}", "h", 2222, "Changed"),
        (f"{hashed('h')} ssh-ed25519 {KEY}\n@revoked * ssh-ed25519 {KEY}", "h", 22, "Revoked"),
        (f"h ssh-ed25519 {KEY}\n@revoked {hashed('h')} ssh-ed25519 {KEY}", "h", 22, "Revoked"),
        (f"h ssh-ed25519 {KEY}\n@revoked {hashed('g')} ssh-ed25519 {KEY}", "h", 22, "ok"),
        (f"@cert-authority {hashed('h')} ssh-ed25519 {KEY}", "h", 22, "Unknown"),
        (f"|1|nothing ssh-ed25519 {KEY}", "h", 22, "Unknown"),
        (f"h ssh-ed25519 {KEY}\n@revoked * ssh-ed25519 {KEY}", "h", 22, "Revoked"),
        (f"h ssh-ed25519 {KEY}\n@revoked * ssh-ed25519 {OTHER}", "h", 22, "ok"),
        (f"@cert-authority * ssh-ed25519 {KEY}", "h", 22, "Unknown"),
        (f"@cert-authority * ssh-ed25519 {OTHER}\nh ssh-ed25519 {KEY}", "h", 22, "ok"),
        (f"@strange h ssh-ed25519 {KEY}", "h", 22, "Unknown"),
        (f"# h ssh-ed25519 {KEY}\n\n   \nh\nh ssh-ed25519\nh ssh-ed25519 %%%\n  h  ssh-ed25519\t{KEY}", "h", 22, "ok"),
        (f"h\tssh-ed25519\t{KEY}", "h", 22, "ok"),
        (f"\xff\xfe ssh-ed25519 {OTHER}\nh ssh-ed25519 {KEY}", "h", 22, "ok"),
    ],
)
def test_what_a_file_says_of_a_host(tmp_path: Path, lines: str, host: str, port: int, expected: str) -> None:
    assert verdict(tmp_path, lines, host, port) == expected


def test_an_authority_alone_is_told(tmp_path: Path) -> None:
    (tmp_path / "known").write_text(f"@cert-authority * ssh-ed25519 {KEY}\n")
    with pytest.raises(Unknown, match="host certificates are not supported"):
        known_hosts.find([tmp_path / "known"], "h", 22).verify(b"the key")


def test_the_kinds_of_known_keys_are_those_to_ask_for(tmp_path: Path) -> None:
    (tmp_path / "known").write_text(
        f"h ssh-rsa {OTHER}\nh ssh-ed25519 {KEY}\nh ssh-rsa {KEY}\n@revoked * ecdsa-sha2-nistp256 {KEY}\n"
    )
    assert known_hosts.find([tmp_path / "known"], "h", 22).kinds == ("ssh-rsa", "ssh-ed25519")


def test_a_host_is_asked_for_the_usual_kind_among_hashed_names(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "known"
    file.write_text(
        f"{hashed('h')} ssh-rsa {KEY}\n{hashed('g')} ssh-ed25519 {OTHER}\n{hashed('f')} ssh-ed25519 {OTHER}\n"
    )
    assert known_hosts.to_verify([tmp_path / "none", file], "h", 22).kinds == ("ssh-ed25519",)
    monkeypatch.setattr(known_hosts, "MANY", 4)
    assert known_hosts.to_verify([tmp_path / "none", file], "h", 22).kinds == ("ssh-rsa",)


def test_a_file_that_changed_is_read_again(tmp_path: Path) -> None:
    assert verdict(tmp_path, f"g ssh-ed25519 {KEY}", "h") == "Unknown"
    assert verdict(tmp_path, f"h ssh-ed25519 {KEY} more", "h") == "ok"


def test_a_file_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    with pytest.raises(Refused, match=f"cannot read the host keys in {tmp_path}"):
        known_hosts.find([tmp_path], "h", 22)


def test_a_hundred_thousand_lines_are_read_once(tmp_path: Path) -> None:
    file = tmp_path / "known"
    file.write_text("".join(f"h{number},192.0.2.{number} ssh-ed25519 {KEY}\n" for number in range(100_000)))
    with cost.at_most(5):  # it took minutes when each host read the file
        for number in range(0, 100_000, 100):
            known_hosts.find([file], f"h{number}", 22).verify(b"the key")


@given(st.text(st.characters(max_codepoint=255), max_size=300), st.text(max_size=20), st.integers(1, 65535))
def test_any_file_is_a_verdict(tmp_path_factory: pytest.TempPathFactory, text: str, host: str, port: int) -> None:
    assert verdict(tmp_path_factory.mktemp("known"), text, host, port) in ("ok", "Unknown", "Changed", "Revoked")
