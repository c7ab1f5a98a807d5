"""Options of ssh: which say something here, and which are left."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fabfile.errors import Refused
from fabfile.exchange import ssh_options
from fabfile.exchange.ssh_options import Hop

ADMIN = Hop("gw.example", "admin", "2222")


@pytest.mark.parametrize(
    ("text", "hops", "left"),
    [
        ("", (), []),
        ("-J gw", (Hop("gw"),), []),
        ("-Jgw", (Hop("gw"),), []),
        ("-o ProxyJump=admin@gw.example:2222", (ADMIN,), []),
        ("-oproxyjump=admin@gw.example:2222", (ADMIN,), []),
        ("-o 'ProxyJump admin@gw.example:2222'", (ADMIN,), []),
        ("-o 'ProxyJump = a,b:7'", (Hop("a"), Hop("b", "", "7")), []),
        ("-J ssh://root@[2001:db8::1]:22", (Hop("2001:db8::1", "root", "22"),), []),
        ("-J root@[fe80::1%%eth0]:22", (Hop("fe80::1%eth0", "root", "22"),), []),
        ("-J [fe80::1%%%%a],[fe80::2%%b]", (Hop("fe80::1%a"), Hop("fe80::2%b")), []),
        ("-J [fe80::1%eth0]", (), ["-J"]),
        ("""-o ProxyCommand="ssh -W %h:%p -q admin@gw.example" """, (Hop("gw.example", "admin"),), []),
        ("""-o ProxyCommand='ssh -p 2222 -W %h:%p admin@gw.example'""", (ADMIN,), []),
        ("""-o ProxyCommand='ssh -W [%h]:%p -q -p 2222 admin@gw.example'""", (ADMIN,), []),
        ("""-o ProxyCommand='sshpass -p secret ssh -W %h:%p gw'""", (), ["-o ProxyCommand"]),
        ("""-o ProxyCommand='ssh -i key -W %h:%p gw'""", (), ["-o ProxyCommand"]),
        ("-o ProxyCommand='nc %h %p'", (), ["-o ProxyCommand"]),
        ("-J none", (), ["-J"]),
        ("-J " + ",".join(["gw"] * 1000), (), ["-J"]),
        ("-J %h.gw", (), ["-J"]),
        ("-C -o ControlMaster=auto -oControlPersist=60s", (), ["-C", "-o ControlMaster", "-o ControlPersist"]),
        ("-J a -o ProxyJump=b -o ProxyCommand='ssh -W %h:%p c'", (Hop("a"),), []),
        ("-o ProxyCommand='nc %h %p' -o ProxyJump=gw", (), ["-o ProxyCommand"]),
        ("-o ProxyJump=none -o ProxyJump=gw", (), ["-o ProxyJump"]),
        ("-vvC", (), ["-v", "-v", "-C"]),
        ("-o StrictHostKeyChecking=no", (), ["-o StrictHostKeyChecking"]),
        ("-o UserKnownHostsFile=/dev/null", (), ["-o UserKnownHostsFile"]),
        ("-p 22 x", (), ["-p", "a word that is no option"]),
        ("-o", (), ["-o "]),
    ],
)  # fmt: skip
def test_options(text: str, hops: tuple[Hop, ...], left: list[str]) -> None:
    found = ssh_options.read(text)
    assert (found.hops, found.left) == (hops, left)


@pytest.mark.parametrize(("first", "file"), [("/k", "/k"), ("/dev/null", ""), ("/%h", "")])
def test_the_first_file_of_known_hosts_counts(first: str, file: str) -> None:
    assert ssh_options.read(f"-o UserKnownHostsFile={first} -oUserKnownHostsFile=/other").known_hosts == file


@pytest.mark.parametrize(
    ("value", "file"),
    [
        ("~/k", "~/k"), ('"/a b"', "/a b"), ("/a /b", ""), ("/a%%b", "/a%b"), ("/%h", ""), ("/${x}", ""),
        ("/a$b", "/a$b"), ("none", ""),
    ],
)  # fmt: skip
def test_a_file_of_known_hosts(value: str, file: str) -> None:
    assert ssh_options.read(f"-o 'UserKnownHostsFile={value}'").known_hosts == file


@pytest.mark.parametrize("path", ['/a"b', "/a\\b", "/${x}", "/a\nb"])
def test_a_path_that_ssh_would_take_for_another_is_refused(path: str) -> None:
    with pytest.raises(Refused, match="cannot be exported"):
        ssh_options.path(path, "identity_file")


@given(st.from_regex(r"[^\x00-\x1f\"\\\x7f${}]{1,30}", fullmatch=True))
def test_a_path_that_is_written_is_read_again(path: str) -> None:
    if path not in ("none", "/dev/null"):
        assert ssh_options.read(ssh_options.write((), path)).known_hosts == path
