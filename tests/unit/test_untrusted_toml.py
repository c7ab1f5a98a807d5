"""containerd's config.toml and netrc as anybody may have written them: a value, or one clear error."""

from __future__ import annotations

import tomllib
from pathlib import Path
from time import monotonic
from typing import Any

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from fabfile import untrusted_toml
from fabfile.artefacts import address
from fabfile.errors import Refused
from fabfile.facts.config import DEVMAPPER
from fabfile.steps import settings as config
from tests.unit.damage import damaged

WANTS = [
    config.ContainerdSettings(format, "p", "/d", "10GB", "/b", "amd64", instance)
    for format in (1, 2, 3)
    for instance in ("", "two")
]
WRITTEN = [config.edited(None, want) for want in WANTS] + [
    "",
    'version = 2\n[plugins."io.containerd.grpc.v1.cri".containerd]\nsnapshotter = "overlayfs"\n',
    'version = 2\nplugins.cri.containerd.snapshotter = "devmapper"\n',
    "version = 2\nplugins = {a = {b = 1}}\n",
    'imports = ["/etc/containerd/conf.d/*.toml"]\ndisabled_plugins = ["cri"]\n',
    "version = 3\n[plugins.'io.containerd.transfer.v1.local']\nunpack_config = []\n[grpc]\naddress = '/x'\n",
]


def edited(text: str, want: config.ContainerdSettings) -> str | None:
    """What becomes of a configuration, or None where it was refused."""
    try:
        return config.edited(text, want)
    except Refused as refused:
        assert want.daemon.config_path in str(refused) and len(str(refused)) < 2000
        return None


def cleared(text: str) -> str | None:
    try:
        return config.cleared(text)
    except Refused as refused:
        assert len(str(refused)) < 2000
        return None


@settings(max_examples=300)
@example('version = 2\n\nsnapshotter = "overlayfs"\n', WANTS[0])
@given(damaged(WRITTEN) | st.text(max_size=60), st.sampled_from(WANTS))
def test_any_configuration_is_edited_once_or_refused(text: str, want: config.ContainerdSettings) -> None:
    result = edited(text, want)
    if result is not None:
        devmapper = tomllib.loads(result)["plugins"][DEVMAPPER if want.format > 1 else "devmapper"]
        assert devmapper["pool_name"] == "p"
        assert edited(result, want) == result, "nothing is left to do"
    left = cleared(text)
    if left is not None and left != text:
        assert "p" not in str(tomllib.loads(left).get("plugins", {}).get(DEVMAPPER, {}).get("pool_name", ""))


NOT_TABLES: dict[str, Any] = {
    "plugins is a number": "version = 2\nplugins = 3\n",
    "plugins is a list of tables": "version = 2\n[[plugins]]\na = 1\n",
    "plugins stands in a line": "version = 2\nplugins = {}\n",
    "devmapper is text": 'version = 2\nplugins."io.containerd.snapshotter.v1.devmapper" = "x"\n',
    "version is text": 'version = "x"\n',
    "version is a table": "version = {}\n",
    "version is infinite": "version = inf\n",
    "version is none that there is": "version = 1.5\n",
    "a line without a mistake in a grammar of its own": "version = 2\nplugins = {a = {\rb = 1}}\n",
}


@pytest.mark.parametrize("name", NOT_TABLES)
def test_what_is_no_table_where_one_belongs_is_refused(name: str) -> None:
    assert edited(NOT_TABLES[name], WANTS[2]) is None
    cleared(NOT_TABLES[name])


def test_a_key_that_would_end_up_in_another_table_is_not_written() -> None:
    text = 'version = 2\nplugins.cri.containerd.snapshotter = "devmapper"\n'
    with pytest.raises(Refused, match="keys cannot be set safely"):
        config.edited(text, WANTS[3])


HOSTILE = {
    "dotted keys": ".".join("a" * 60_000) + " = 1",
    "many dotted keys": "\n".join(f"{'.'.join('a' * 900)}.b{number} = 1" for number in range(70)),
    "tables": "".join(f"[a.b.c.d.t{number}]\n" for number in range(5_000)),
    "arrays": "a = " + "[" * 120_000,
    "too much": "# comment\n" * 100_000,
    "digits": "a = " + "9" * 120_000,
}


@pytest.mark.parametrize("name", HOSTILE)
def test_a_hostile_configuration_costs_seconds(name: str) -> None:
    start = monotonic()
    edited(HOSTILE[name], WANTS[2])
    cleared(HOSTILE[name])
    try:
        untrusted_toml.loads(HOSTILE[name])
    except ValueError as error:
        assert str(error)
    assert monotonic() - start < 20


ENTRIES = ["machine h login u password p\n", "default login a password b\n", "macdef init\nx\n\n", "machine h\n"]


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(text=damaged(ENTRIES) | st.text(max_size=40))
def test_any_netrc_is_a_password_none_or_refused(home: Path, text: str) -> None:
    file = home / ".netrc"
    file.write_bytes(text.encode(errors="surrogatepass"))
    file.chmod(0o600)
    try:
        header = address.authorization("http://h/x")
    except Refused as refused:
        assert str(file) in str(refused) and len(str(refused)) < 500
    else:
        assert not header or header.startswith("Basic ")
