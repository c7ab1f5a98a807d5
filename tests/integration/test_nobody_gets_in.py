"""An unprivileged local user gains nothing from what root does on the host. The tests build on each other."""

from __future__ import annotations

import shlex
import uuid

import pytest
from fabric import Config
from paramiko import SSHConfig

from fabfile import inventory
from fabfile.errors import Failed
from fabfile.remote import execution
from fabfile.ssh.connections import Connections
from tests.integration import owned
from tests.integration.machine import Machine, until

MALLORY = "useradd --create-home --shell /bin/sh mallory"
SYSCTLS = ("protected_symlinks", "protected_hardlinks", "protected_fifos", "protected_regular")

TRAPS = r"""
set -eu
echo precious >/root/precious; chmod 600 /root/precious
cat >/home/mallory/attack <<'ATTACK'
# Whatever root makes in a directory that others may write to: go in, take it away, put something else there.
n=0
while [ -e /home/mallory/go ]; do
  for d in /tmp /var/tmp /run /dev/shm; do
    for made in "$d"/*containerd-devmapper* "$d"/smoke-* "$d"/.containerd-devmapper*; do
      if [ ! -e "$made" ] || [ -O "$made" ]; then continue; fi
      mv "$made" "$made.mine" 2>/dev/null && { mkfifo "$made" 2>/dev/null; echo "took $made" >>/home/mallory/won; }
      true 2>/dev/null >"$made/file" && echo "wrote $made/file" >>/home/mallory/won
      cat "$made/file" >/dev/null 2>&1 && echo "read $made/file" >>/home/mallory/won
    done
  done
  cat /proc/[0-9]*/cmdline 2>/dev/null | tr '\0' ' ' | grep -a -q -f /home/mallory/secret &&
    echo "saw the secret" >>/home/mallory/won
  n=$((n + 1)); echo $n >/home/mallory/rounds
done
ATTACK
for name in runc containerd go protoc smoke-devmapper smoke-overlayfs; do
  su mallory -c "mkdir -p /var/tmp/.containerd-devmapper-$name /var/tmp/containerd-devmapper.$name
    ln -sfn /root/precious /tmp/$name-1.err; ln -sfn /root/precious /var/tmp/containerd-devmapper.$name/file
    mkfifo /tmp/$name.fifo"
done
"""


@pytest.fixture(scope="module")
def attacked(deployed: Machine) -> Machine:
    """A host with a local user who tries to get at root's files."""
    deployed.ssh(MALLORY)
    deployed.ssh(TRAPS)
    return deployed


def attack(machine: Machine, secret: str, command: list[str], code: int = 0) -> str:
    """Run a task while mallory tries every attack; none may succeed."""
    machine.ssh(
        f"cd /home/mallory; rm -f won rounds; printf %s {secret} >secret; touch go\n"
        "setsid su mallory -c 'sh /home/mallory/attack' >/dev/null 2>&1 </dev/null &"
    )
    until(lambda: machine.ssh("cat /home/mallory/rounds", code=None).strip().isdigit(), "did not begin", 30)
    said = machine.fab(*command, code=code)
    machine.ssh("rm /home/mallory/go; sleep 0.5")
    assert int(machine.ssh("cat /home/mallory/rounds")) > 0, "she did try"
    assert machine.ssh("cat /home/mallory/won 2>/dev/null", code=None) == ""
    assert machine.ssh("cat /root/precious; stat -c %a /root/precious") == "precious\n600\n"
    return said


@pytest.mark.parametrize("protected", ["as Debian has it", "0"])
def test_an_upload_belongs_to_root_from_its_first_byte_to_its_use(attacked: Machine, protected: str) -> None:
    if protected == "0":
        attacked.ssh("; ".join(f"sysctl -q -w fs.{name}=0" for name in SYSCTLS))
    good = attacked.ssh("sha256sum /opt/runc/current/bin/runc").split()[0]
    attacked.ssh("rm -rf /opt/runc")
    assert "changed 1" in attack(attacked, uuid.uuid4().hex, ["runc.install"])
    assert attacked.ssh("sha256sum /usr/local/sbin/runc").split()[0] == good
    assert attacked.ssh("find /var/tmp -user root -name 'containerd-devmapper*'") == ""


def test_the_smoke_test_writes_nothing_where_others_can(attacked: Machine) -> None:
    before = attacked.ssh("find /tmp /var/tmp /dev/shm -user root ! -path '*systemd-private*' | sort")
    assert attack(attacked, uuid.uuid4().hex, ["smoke"]).count("Hello from containerd!") == 2
    assert attacked.ssh("find /tmp /var/tmp /dev/shm -user root ! -path '*systemd-private*' | sort") == before


def test_a_configuration_with_a_secret_keeps_it(attacked: Machine) -> None:
    secret = uuid.uuid4().hex
    auth = f'[plugins."io.containerd.grpc.v1.cri".registry.configs."r.example".auth]\npassword = "{secret}"\n'
    conf = "/etc/containerd/config.toml"
    attacked.ssh(f"printf %s {shlex.quote(auth)} >>{conf}; chmod 600 {conf}; sed -i s/discard_blocks.*// {conf}")
    assert "changed 1" in attack(attacked, secret, ["containerd.configure"])
    assert attacked.ssh(f"stat -c '%a %U' {conf} {conf}.bak; grep -c {secret} {conf}") == "600 root\n600 root\n1\n"


def test_a_host_gets_neither_the_agent_nor_more_than_its_limits(deployed: Machine) -> None:
    """Over SSH, from a configuration that would forward the agent."""
    known = inventory.load(deployed.vm.directory.parent / "hosts.toml")
    config = Config(ssh_config=SSHConfig.from_text("Host *\n ForwardAgent yes\n"))
    hangs = "sleep 1234567"
    with Connections(known, config) as ways, ways.to(known.hosts[deployed.vm.name]) as host:
        assert execution.script(host, 'echo "${SSH_AUTH_SOCK-none}"').stdout == "none\n"
        with pytest.raises(Failed, match="printed more than 1 MiB"):
            execution.script(host, "yes", most=1 << 20)
        with pytest.raises(Failed, match="took longer than 1 s"):
            execution.script(host, f"{hangs} & {hangs}", limit=1)
    until(lambda: not deployed.ssh(f"pgrep -x yes; pgrep -fx '{hangs}'", code=None), "still runs", 10)


LOCKS = ("/run/containerd-devmapper.lock", "/run/devmapper-pool/containerd-pool.lock")


def test_nobody_else_can_hold_a_lock(attacked: Machine) -> None:
    change = "sed -i s/discard_blocks.*// /etc/containerd/config.toml"
    # As an earlier version made them, or a lost file would be made.
    attacked.ssh(f"{change}; chmod 644 {LOCKS[0]}; rm {LOCKS[1]}")
    assert "changed 1" in attacked.fab("containerd.configure")
    attacked.ssh("/usr/local/libexec/devmapper-pool settle containerd-pool")
    for lock in LOCKS:
        assert attacked.ssh(f"stat -c '%a %U' {lock}") == "600 root\n"
        assert "Permission denied" in attacked.ssh(f"su mallory -c 'flock -n -s {lock} true' 2>&1", code=None)


def test_one_who_holds_it_since_an_earlier_version_is_named(attacked: Machine) -> None:
    hold = f"flock --no-fork -s {LOCKS[0]} sleep 600"
    attacked.ssh(
        f"sed -i s/discard_blocks.*// /etc/containerd/config.toml; chmod 644 {LOCKS[0]}\n"
        f"setsid su mallory -c '{hold}' >/dev/null 2>&1 </dev/null & until pgrep -fx 'sleep 600'; do sleep 0.1; done"
    )
    said = attacked.fab("containerd.configure", code=1)
    pid = attacked.ssh("pgrep -u mallory -fx 'sleep 600'").strip()
    assert "another process holds the lock of the host" in said
    assert f"held by sleep (pid {pid}) of mallory, not a task of this tool" in said
    assert "kill PID on the host" in said
    attacked.ssh(f"kill {pid}")
    assert "changed 1" in attacked.fab("containerd.configure")


DIRECT = ("--variant", "direct", "--device", "/dev/disk/by-id/virtio-lab-disk")
ON_VOLUME = ("--volume", "containerd-two/files", "--volume-size", "3G")
CHANGED = "sed -i s/discard_blocks.*// /etc/containerd/config.toml"
STOCK = "echo 'disabled_plugins = [\"cri\"]' >/etc/containerd/config.toml"
WARNED = """systemctl stop devmapper-pool-monitor@containerd-pool.timer
cd /var/lib/containerd/devmapper; mv meta away
systemctl start devmapper-pool-monitor@containerd-pool.service; mv away meta"""
ROUNDS: tuple[tuple[str, tuple[tuple[str, ...], ...]], ...] = (
    (
        "000",
        (
            ("deploy",),
            ("toolchain.protoc",),
            ("pool.backup",),
            ("pool.restore", "--yes"),
            ("sh", CHANGED),
            ("containerd.configure",),
            ("sh", STOCK),
            ("containerd.configure",),
            ("sh", WARNED),
        ),
    ),
    ("077", (("deploy", "--instance", "two", *DIRECT), ("toolchain.go",))),
    (
        "002",
        (
            ("pool.loop", "--instance", "three", "--size", "2G", *ON_VOLUME),
            ("deploy", "--instance", "three", "--size", "2G"),
        ),
    ),
)
"""The umask of root's login, and what is done with it: a pool on files, one on a disk, and one on files on a volume in
that one's group, each with its containerd, and what else writes a file."""


def test_every_file_that_root_writes_is_in_the_table(attacked: Machine) -> None:
    rows, met, wrong = owned.table(), set[owned.Row](), list[str]()
    attacked.fab("pool.reset", "--all", "--yes")
    attacked.ssh("rm -r /etc/containerd")  # what another test has added to config.toml stays
    for umask, tasks in ROUNDS:
        attacked.ssh(f"rm -rf /opt/runc; {owned.MARK.format(umask=umask)}")
        for task in tasks:
            if task[0] == "sh":
                attacked.ssh(task[1])
            else:
                attacked.fab(*task)
        for file in owned.new(attacked.ssh(owned.NEW)):
            row = next((row for row in rows if row.matches(file.path)), None)
            if row is None or not row.allows(file):
                wrong.append(f"umask {umask}: {file.path} {file.mode} {file.owner}:{file.group}")
            if row:
                met.add(row)
    assert not wrong, "not as docs/files.md says:\n" + "\n".join(wrong)
    assert [row.path for row in rows if row not in met] == [], "in docs/files.md, and not there"
