"""New lines of a known_hosts file: whole or not at all, once, and in nobody's place."""

from __future__ import annotations

import base64
import fcntl
import resource
import threading
from pathlib import Path

import pytest

from fabfile.errors import Failed, Refused
from fabfile.ssh import known_hosts, recording
from fabfile.ssh.hostkeys import Keys
from fabfile.ssh.known_lines import KnownKey
from fabfile.ssh.recording import record


def entry(content: bytes, kind: str = "ssh-ed25519") -> KnownKey:
    return KnownKey(kind, len(kind).to_bytes(4) + kind.encode() + content)


def host(name: str = "h", *keys: bytes, port: int = 22) -> Keys:
    return Keys(name, port, False, tuple(map(entry, keys or (b"key",))))


def text(key: bytes = b"key") -> str:
    return f"ssh-ed25519 {base64.b64encode(entry(key).key).decode()}"


def test_a_new_file_is_for_its_owner_alone(tmp_path: Path) -> None:
    file = tmp_path / "a" / "known"
    record(file, [host(), host("G", port=2222)])
    assert file.read_text() == f"h {text()}\n[g]:2222 {text()}\n"
    assert (file.stat().st_mode & 0o777, file.parent.stat().st_mode & 0o777) == (0o600, 0o700)


def test_the_mode_of_a_file_that_is_there_stays(tmp_path: Path) -> None:
    file = tmp_path / "known"
    file.write_text("")
    file.chmod(0o644)
    record(file, [host()])
    assert file.stat().st_mode & 0o777 == 0o644


def test_nothing_is_recorded_twice(tmp_path: Path) -> None:
    file = tmp_path / "known"
    file.write_text(f"h {text(b'one')}")
    record(file, [host("h", b"one", b"two"), host("h", b"two")])
    assert file.read_text() == f"h {text(b'one')}\nh {text(b'two')}\n"


def test_a_link_stays_a_link(tmp_path: Path) -> None:
    file = tmp_path / "known"
    file.symlink_to("elsewhere")
    record(file, [host()])
    assert file.is_symlink() and (tmp_path / "elsewhere").read_text() == f"h {text()}\n"


@pytest.mark.parametrize("before", ["", f"h {text(b'old')}\n"], ids=["in the list", "in the file"])
def test_another_key_of_the_same_name_is_refused(tmp_path: Path, before: str) -> None:
    file = tmp_path / "known"
    file.write_text(before)
    with pytest.raises(Refused, match="another key of h is recorded") as refused:
        record(file, [host("g"), host("h", b"one"), host("h", b"two")])
    assert entry(b"one").fingerprint in refused.value.details
    assert file.read_text() == before


def test_a_key_of_the_default_port_is_not_another_one(tmp_path: Path) -> None:
    file = tmp_path / "known"
    file.write_text(f"h {text(b'old')}\n")
    record(file, [host("h", b"new", port=2222)])
    assert file.read_text() == f"h {text(b'old')}\n[h]:2222 {text(b'new')}\n"


def test_a_disk_that_is_full_leaves_the_file_as_it_was(tmp_path: Path) -> None:
    file = tmp_path / "known"
    file.write_text(f"g {text()}\n")
    before, limits = file.read_bytes(), resource.getrlimit(resource.RLIMIT_FSIZE)
    for room in (0, 10):
        resource.setrlimit(resource.RLIMIT_FSIZE, (len(before) + room, limits[1]))
        try:
            with pytest.raises(Failed, match="is not written"):
                record(file, [host()])
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, limits)
        assert file.read_bytes() == before


@pytest.mark.parametrize("what", ["directory", "device", "below a file"])
def test_what_is_no_file_is_refused(tmp_path: Path, what: str) -> None:
    (tmp_path / "file").write_text("")
    where = {"directory": tmp_path, "device": Path("/dev/null"), "below a file": tmp_path / "file" / "known"}[what]
    with pytest.raises(Refused, match="cannot write the host keys"):
        record(where, [host()])


def test_many_at_once_write_whole_lines(tmp_path: Path) -> None:
    file = tmp_path / "known"
    names = [f"h{number}" for number in range(40)]
    threads = [threading.Thread(target=record, args=(file, [host(name), host("shared")])) for name in names]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(file.read_text().splitlines()) == sorted(f"{name} {text()}" for name in [*names, "shared"])


def test_a_lock_that_is_held_is_not_waited_for_without_end(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "known_hosts"
    file.touch()
    monkeypatch.setattr(recording, "WAIT", 0.1)
    with file.open() as held:
        fcntl.flock(held, fcntl.LOCK_SH)
        with pytest.raises(Refused) as refused:
            record(file, [])
    assert "another process has locked it" in refused.value.details
    assert refused.value.hint.endswith(f"fuser -v {file}")


def test_where_a_line_is(tmp_path: Path) -> None:
    file = tmp_path / "known"
    file.write_text(f"# comment\nh {text(b'one')}\n@revoked h {text(b'two')}\n[h]:2222,g {text(b'two')}\n")
    assert known_hosts.place([tmp_path / "none", file], "H", 22, entry(b"one")) == f"{file}, line 2"
    assert known_hosts.place([file], "h", 2222, entry(b"two")) == f"{file}, line 4"
    assert known_hosts.place([file], "h", 22, entry(b"three")) == ""
