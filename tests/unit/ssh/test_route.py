"""The name and configuration of a connection that OpenSSH keeps."""

from __future__ import annotations

import base64
import shlex

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fabfile.errors import Refused
from fabfile.ssh.known_lines import AUTHORITY, REVOKED, KnownKey
from fabfile.ssh.route import CONFIG, KNOWN, Hop, Route

KEY = KnownKey("ssh-ed25519", b"key")
HOP = Hop("192.0.2.1", 2222, "admin", 20, ("/home/a b/id",), True, (KEY,))
ROUTE = Route((HOP,), 600)

OTHERS = {
    "host": "192.0.2.2",
    "port": 22,
    "user": "root",
    "timeout": 5,
    "keys": (),
    "alone": False,
    "known": (KEY, msgspec.structs.replace(KEY, marker=REVOKED)),
}


@pytest.mark.parametrize(("key", "value"), OTHERS.items())
def test_whatever_is_different_has_another_name(key: str, value: object) -> None:
    other = msgspec.structs.replace(HOP, **{key: value})
    names = {ROUTE.name, Route((other,), 600).name, Route((HOP, HOP), 600).name, Route((HOP, other), 600).name}
    assert len(names) == 4 and all(len(name) == 24 and name.isalnum() for name in names)


def test_known_keys_are_those_that_we_would_accept() -> None:
    entries = (KEY, msgspec.structs.replace(KEY, marker=REVOKED), msgspec.structs.replace(KEY, marker=AUTHORITY))
    text = Route((msgspec.structs.replace(HOP, known=entries),), 1).files("d")[KNOWN]
    line = f"host0 ssh-ed25519 {base64.b64encode(b'key').decode()}\n"
    assert text == f"{line}{REVOKED} {line}"


TEXTS = st.text(st.characters(blacklist_categories=["Cs"], blacklist_characters="\0"), min_size=1, max_size=20)


@given(TEXTS, TEXTS, TEXTS)
def test_no_value_is_taken_for_an_option_or_a_command(host: str, user: str, key: str) -> None:
    odd = msgspec.structs.replace(HOP, host=host, user=user, keys=(key,))
    try:
        text = Route((odd, odd), 1).files("d")[CONFIG]
    except Refused:
        return
    names = [line.split()[0] for line in text.split("\n") if line.strip()]
    assert names.count("ProxyCommand") == 1 and names.count("Host") == 3
    command = next(line for line in text.split("\n") if line.lstrip().startswith("ProxyCommand"))
    assert shlex.split(command)[1:4] == ["ssh", "-F", f"d/{CONFIG}"] and len(shlex.split(command)) == 7
