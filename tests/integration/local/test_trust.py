"""ssh.trust with real servers: what it shows, asks and records; ssh-keygen and ssh are the judges."""

from __future__ import annotations

import os
import pty
import re
import stat
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from fabfile.paths import REPOSITORY
from tests.integration.local import sshd
from tests.integration.machine import run_fab
from tests.unit.ssh.test_known_hosts import hashed

KINDS = ("ecdsa", "rsa")


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[sshd.Server]:
    """Two hosts with host keys of three kinds, which know nobody's name yet."""
    directory = tmp_path_factory.mktemp("sshd")
    for kind in KINDS:
        subprocess.run(["ssh-keygen", "-q", "-t", kind, "-N", "", "-f", directory / f"host-{kind}"], check=True)
    options = [f"HostKey={directory / f'host-{kind}'}" for kind in KINDS]
    with sshd.server(directory, hosts=2, options=[*options, "LogLevel=DEBUG1"]) as up:
        yield up


@pytest.fixture
def known(server: sshd.Server, tmp_path: Path) -> Path:
    """The file of known host keys of each test, not there yet; an inventory that names it."""
    file = tmp_path / "new" / "known_hosts"
    inventory = server.inventory()
    text = inventory.read_text().replace(str(server.directory / "known"), str(file))
    inventory.write_text(text + "gateway = 'h0'\n")
    return file


def trust(server: sshd.Server, *words: str, code: int = 0, answers: str | None = None, dry: bool = False) -> str:
    """Run inv as a user would, and return all that it printed.

    Args:
        server: the hosts.
        words: behind ssh.trust.
        code: the exit code that it must have.
        answers: what is typed; None: there is no terminal.
        dry: whether to run it with --dry.
    """
    environment = {**os.environ, "HOSTS_FILE": str(server.directory / "hosts.toml")}
    command = [str(Path(sys.executable).with_name("inv")), *(["--dry"] if dry else []), "ssh.trust", *words]
    ours, theirs = pty.openpty()
    os.write(ours, (answers or "").encode())
    done = subprocess.run(
        command, cwd=REPOSITORY, env=environment, capture_output=True, text=True, check=False, timeout=60,
        stdin=subprocess.DEVNULL if answers is None else theirs,
    )  # fmt: skip
    os.close(theirs)
    os.close(ours)
    assert done.returncode == code, done.stdout + done.stderr
    return done.stdout + done.stderr


def fingerprint(server: sshd.Server, name: str = "host") -> str:
    """What ssh-keygen says of a host key of the server."""
    return subprocess.check_output(["ssh-keygen", "-lf", server.directory / f"{name}.pub"], text=True).split()[1]


def found(file: Path, server: sshd.Server, at: int = 0) -> list[str]:
    """The keys that ssh-keygen finds in a file for one of the ports, by kind."""
    name = f"[127.0.0.1]:{server.ports[at]}"
    done = subprocess.run(["ssh-keygen", "-F", name, "-f", file], capture_output=True, text=True, check=False)
    return [" ".join(line.split()[1:3]) for line in done.stdout.splitlines() if not line.startswith("#")]


def public(server: sshd.Server, name: str = "host") -> str:
    """A host key of the server, as a line of known_hosts has it."""
    return " ".join((server.directory / f"{name}.pub").read_text().split()[:2])


def test_without_a_terminal_keys_are_shown_and_nothing_is_recorded(server: sshd.Server, known: Path) -> None:
    said = trust(server, "h0", code=2)
    for name in ("host", "host-ecdsa", "host-rsa"):
        kind = public(server, name).split()[0]
        where = re.escape(f"[127.0.0.1]:{server.ports[0]}")
        assert re.search(rf"^h0  {where}  {kind} +{re.escape(fingerprint(server, name))}  new$", said, re.MULTILINE)
    assert "error: nobody has confirmed these host keys" in said
    assert "hint: inv ssh.trust h0 --fingerprint SHA256:" in said
    assert not known.exists()


def test_the_hint_to_confirm_names_the_file_that_was_given(server: sshd.Server, known: Path, tmp_path: Path) -> None:
    said = trust(server, "h0", "--known-hosts", str(tmp_path / "a b"), code=2)
    assert f"hint: inv ssh.trust h0 --known-hosts '{tmp_path}/a b' --fingerprint SHA256:" in said


def test_a_fingerprint_that_is_given_is_recorded_once(server: sshd.Server, known: Path) -> None:
    said = trust(server, "h0", "--fingerprint", fingerprint(server, "host-ecdsa"))
    assert f"h0: recorded: [127.0.0.1]:{server.ports[0]} in {known}" in said
    assert found(known, server) == [public(server, "host-ecdsa")]
    assert stat.S_IMODE(known.stat().st_mode) == 0o600
    before = known.read_bytes()
    assert "h0: known" in trust(server, "h0", "--fingerprint", fingerprint(server, "host-ecdsa"))
    assert "h0: known" in trust(server, "h0")
    assert known.read_bytes() == before
    inventory = server.directory / "hosts.toml"
    assert "h0: ok" in run_fab("-H", "h0", "run", "echo ok", inventory=inventory)


def test_a_known_host_is_compared_by_any_of_its_keys(server: sshd.Server, known: Path) -> None:
    trust(server, "h0", "--fingerprint", fingerprint(server))
    before = known.read_bytes()
    assert "h0: known" in trust(server, "h0", "--fingerprint", fingerprint(server, "host-rsa"))
    trust(server, "h0", "--fingerprint", "SHA256:" + "a" * 43, code=2)
    assert known.read_bytes() == before


def test_another_file_of_known_hosts(server: sshd.Server, known: Path, tmp_path: Path) -> None:
    trust(server, "h0", "--yes", "--known-hosts", str(tmp_path / "other"))
    assert len(found(tmp_path / "other", server)) == 3
    assert not known.exists()


def test_another_fingerprint_is_refused(server: sshd.Server, known: Path) -> None:
    said = trust(server, "h0", "--fingerprint", "SHA256:" + "a" * 43, code=2)
    assert "h0: none of its keys has that fingerprint" in said and fingerprint(server) in said
    assert not known.exists()
    assert "is not a fingerprint" in trust(server, "h0", "--fingerprint", "MD5:aa", code=2)


def test_every_kind_of_key_is_recorded_and_ssh_connects_by_each(server: sshd.Server, known: Path) -> None:
    trust(server, "h0", "--yes")
    assert set(found(known, server)) == {public(server, name) for name in ("host", "host-ecdsa", "host-rsa")}
    for kind in ("ssh-ed25519", "ecdsa-sha2-nistp256", "rsa-sha2-512"):
        options = [f"UserKnownHostsFile={known}", "StrictHostKeyChecking=yes", f"HostKeyAlgorithms={kind}"]
        words = [word for option in options for word in ("-o", option)]
        key = ["-i", str(server.directory / "id"), "-p", str(server.ports[0])]
        subprocess.run(["ssh", "-F", "none", *words, *key, "root@127.0.0.1", "true"], check=True)


def test_it_ends_before_any_login(server: sshd.Server, known: Path) -> None:
    begin = len(server.log)
    text = (server.directory / "hosts.toml").read_text()
    (server.directory / "hosts.toml").write_text(re.sub("identity_file = .*", "identity_file = '/nowhere'", text))
    trust(server, "h0", "--yes")
    seen = server.log[begin:]
    assert seen.count("kex: host key algorithm") == 3
    assert "userauth-request" not in seen and "Accepted" not in seen
    (server.directory / "hosts.toml").write_text(text)
    run_fab("-H", "h0", "run", "true", inventory=server.directory / "hosts.toml")
    assert "userauth-request" in server.log[begin:], "what a login leaves in the log"


@pytest.mark.parametrize(("answers", "code"), [("what\nYES\n", 0), ("no\n", 2), ("\x04", 2)], ids=["yes", "no", "end"])
def test_a_person_is_asked(server: sshd.Server, known: Path, answers: str, code: int) -> None:
    said = trust(server, "h0", code=code, answers=answers)
    assert said.count("Record 3 keys in ") == (2 if answers.startswith("what") else 1)
    assert fingerprint(server) in said
    assert len(found(known, server)) == (0 if code else 3)


def test_with_dry_nothing_is_recorded(server: sshd.Server, known: Path) -> None:
    said = trust(server, "h0", "--yes", code=3, dry=True)
    assert fingerprint(server) in said and f"h0: pending: [127.0.0.1]:{server.ports[0]}" in said
    assert not known.exists()


def test_a_changed_key_is_refused_and_never_replaced(server: sshd.Server, known: Path) -> None:
    known.parent.mkdir()
    line = f"[127.0.0.1]:{server.ports[0]} {public(server).split()[0]}"
    other = subprocess.check_output(["ssh-keygen", "-yf", server.directory / "id"], text=True).split()[1]
    known.write_text(f"# a comment\n\n{line} {other}\n")
    before = known.read_bytes()
    for options in ((), ("--yes",), ("--fingerprint", fingerprint(server))):
        said = trust(server, "h0", *options, code=2)
        assert "the host key has changed" in said
        assert f"expected the ssh-ed25519 key {fingerprint(server, 'id')} of {known}, line 3\n" in said
        assert f"the host has the ssh-ed25519 key {fingerprint(server)}\n" in said
    assert known.read_bytes() == before
    hint = re.search(r"ssh-keygen -f \S+ -R '\S+'", said)
    assert hint
    subprocess.run(["sh", "-c", hint[0]], check=True, capture_output=True)
    trust(server, "h0", "--yes")
    assert public(server) in found(known, server)


def test_names_are_hashed_where_those_of_the_file_are(server: sshd.Server, known: Path) -> None:
    known.parent.mkdir()
    known.write_text(f"other {public(server)}")  # without an end of the line
    subprocess.run(["ssh-keygen", "-q", "-H", "-f", known], check=True, capture_output=True)
    known.write_text(known.read_text().rstrip("\n"))
    trust(server, "h0", "--yes")
    lines = known.read_text().splitlines()
    assert len(lines) == 4 and all(line.startswith("|1|") for line in lines)
    assert len(found(known, server)) == 3


@pytest.mark.parametrize("others", [0, 2000])
@pytest.mark.parametrize("kind", ["host", "host-ecdsa", "host-rsa"])
def test_a_host_is_asked_for_the_kind_of_key_that_a_hashed_line_has(
    server: sshd.Server, known: Path, kind: str, others: int
) -> None:
    more = "".join(f"{hashed(str(number))} {public(server, 'id')}\n" for number in range(others))
    known.parent.mkdir()
    known.write_text("".join(f"[127.0.0.1]:{port} {public(server, kind)}\n" for port in server.ports))
    subprocess.run(["ssh-keygen", "-q", "-H", "-f", known], check=True, capture_output=True)
    ours, other = known.read_text().splitlines()
    known.write_text(f"{ours}\n{other}\n{more}")
    run_fab("-H", "h1", "run", "true", inventory=server.directory / "hosts.toml")  # through h0
    known.write_text(f"{ours}\n{other.rsplit(None, 1)[0]} {public(server, 'id').split()[-1]}\n{more}")
    said = run_fab("-H", "h1", "run", "true", inventory=server.directory / "hosts.toml", code=4)
    assert re.search("error: h1 .*: the host key has changed", said), said
    assert f"{known}, line 2" in said


def test_behind_a_gateway_that_is_to_be_trusted_first(server: sshd.Server, known: Path) -> None:
    said = trust(server, "h1", "--yes", code=4)
    assert re.search(r"error: h0 .*: the host key is unknown", said) and "inv ssh.trust h0" in said
    assert not known.exists()
    said = trust(server, "h1,h0", "--yes")
    assert said.index("h0: recorded") < said.index("h1: recorded")
    assert len(found(known, server)) == len(found(known, server, 1)) == 3
    run_fab("-H", "h1", "run", "true", inventory=server.directory / "hosts.toml")


def test_behind_a_jump_host_of_ssh_config(
    server: sshd.Server, known: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / ".ssh").mkdir()
    rules = f"Host inner\n HostName 127.0.0.1\n ProxyJump root@127.0.0.1:{server.ports[0]}\n"
    (tmp_path / ".ssh/config").write_text(f"{rules}Host *\n IdentityFile {server.directory / 'id'}\n Port 1\n")
    monkeypatch.setenv("HOME", str(tmp_path))
    inventory = server.directory / "hosts.toml"
    lines = ["[hosts.inner]", f"port = {server.ports[1]}", f"known_hosts = '{known}'"]
    inventory.write_text("\n".join(lines))
    said = trust(server, "inner", "--yes", code=4)
    hint = re.search(
        rf"inv ssh.trust (root@127.0.0.1:{server.ports[0]} --known-hosts {re.escape(str(known))})$", said, re.M
    )
    assert hint, said
    trust(server, *hint[1].split(), "--yes")
    trust(server, "inner", "--yes")
    assert len(found(known, server)) == len(found(known, server, 1)) == 3
    run_fab("-H", "inner", "run", "true", inventory=inventory)


def test_one_that_is_down_does_not_stop_the_others(server: sshd.Server, known: Path) -> None:
    inventory = server.directory / "hosts.toml"
    inventory.write_text(inventory.read_text() + "[hosts.down]\naddress = '127.0.0.1'\nport = 1\n")
    said = trust(server, "down,h0", "--yes", code=4)
    assert "1 of 2 hosts are not trusted" in said and "Connection refused" in said
    assert len(found(known, server)) == 3


def test_the_hint_of_an_unknown_host_is_a_command_that_works(server: sshd.Server, known: Path) -> None:
    inventory = server.directory / "hosts.toml"
    typed = f"root@127.0.0.1:{server.ports[0]}"
    said = run_fab("-H", typed, "run", "true", code=4, inventory=inventory)
    hint = re.search(r"inv ssh.trust (\S+)$", said, re.MULTILINE)
    assert hint and hint[1] == typed
    trust(server, hint[1], "--yes")
    run_fab("-H", typed, "run", "true", inventory=inventory)


@pytest.mark.parametrize("name", ["host", "host-ecdsa", "host-rsa"])
@pytest.mark.parametrize("consent", ["--yes", "--fingerprint"])
def test_a_host_with_a_revoked_key_is_not_trusted(server: sshd.Server, known: Path, name: str, consent: str) -> None:
    """Whichever of its keys it is: none of them is recorded."""
    known.parent.mkdir()
    known.write_text(f"@revoked * {public(server, name)}\n")
    before = known.read_text()
    words = ["--yes"] if consent == "--yes" else ["--fingerprint", fingerprint(server, name)]
    said = trust(server, "h0", *words, code=2)
    assert "revoked" in said
    assert known.read_text() == before
