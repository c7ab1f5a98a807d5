"""A machine with upstream's containerd and the pool of containerd's documentation becomes one of ours, with its data.

The tests build on each other, in the order in which a user meets the situations.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

import pytest

from tests.integration.case import Case
from tests.integration.conftest import started
from tests.integration.golden import Golden
from tests.integration.test_instance import registry
from tests.unit import typed

DIR = "/var/lib/containerd/devmapper"

KEEP = "mkdir /root/up; cp -L /opt/containerd/current/bin/* /root/up/; cp -L /opt/runc/current/bin/runc /root/"

# What the documentation's script does, line by line.
POOL = f"""set -e
mkdir -p {DIR}
touch {DIR}/data; truncate -s 100G {DIR}/data
touch {DIR}/meta; truncate -s 10G {DIR}/meta
data=$(losetup --find --show {DIR}/data)
meta=$(losetup --find --show {DIR}/meta)
dmsetup create devpool --table "0 $(($(blockdev --getsize64 -q $data) / 512)) thin-pool $meta $data 128 32768"
"""

UPSTREAM = f"""set -e
mv /root/up/* /usr/local/bin/
mv /root/runc /usr/local/sbin/
mkdir -p /etc/containerd
cat >/etc/containerd/config.toml <<'TOML'
version = 2
oom_score = -500
[plugins]
  [plugins."io.containerd.snapshotter.v1.devmapper"]
    pool_name = "devpool"
    root_path = "{DIR}"
    base_image_size = "10GB"
    discard_blocks = true
TOML
cat >/etc/systemd/system/containerd.service <<'UNIT'
[Unit]
Description=containerd container runtime
After=network.target local-fs.target
[Service]
ExecStartPre=-/sbin/modprobe overlay
ExecStart=/usr/local/bin/containerd
Type=notify
Delegate=yes
KillMode=process
Restart=always
RestartSec=5
[Install]
WantedBy=multi-user.target
UNIT
systemctl daemon-reload
systemctl enable -q --now containerd
"""
"""containerd with its unit and configuration, set up as its documentation says."""


@pytest.fixture(scope="module")
def case(
    request: pytest.FixtureRequest, suite: str, golden: Golden, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Case]:
    """A machine set up like this, with a running container."""
    with started(request, suite, base=golden.disk) as machine:
        machine.ssh(KEEP)
        machine.fab("pool.reset", "--all", "--yes")
        machine.ssh(f"cat >/root/make.sh <<'SH'\n{POOL}SH\nsh /root/make.sh")
        machine.ssh(UPSTREAM)
        busybox = f"{registry(machine)}/library/busybox:latest"
        machine.ssh(f"ctr images pull --plain-http --snapshotter devmapper {busybox}")
        write = "echo precious >/file; sync; exec sleep 100000"
        machine.ssh(f"ctr run -d --snapshotter devmapper {busybox} kept sh -c '{write}'")
        yield Case(machine, tmp_path_factory.mktemp("adopt") / "hosts.toml", "")


def kept(case: Case) -> str:
    """The container's data, read by a process in it."""
    return case.machine.ssh("ctr tasks exec --exec-id look kept cat /file")


def told(case: Case, *task: str, code: int) -> tuple[str, list[str]]:
    """The output, and the lines of its hint."""
    said = case.fab(*task, code=code)
    lines = re.sub(rf"^{case.machine.vm.name}: ", "", said, flags=re.MULTILINE).splitlines()
    (begin,) = (number for number, line in enumerate(lines) if line.startswith("hint: "))
    hint = [line for line in lines[begin + 1 :] if not line.startswith("ok ")]
    assert typed.wrong("\n".join(hint)) == []
    return said, hint


def test_f22_one_refusal_names_everything(case: Case) -> None:
    before = case.machine.state()
    said, _ = told(case, "deploy", code=2)
    for what in (
        "/usr/local/bin/containerd, /usr/local/bin/containerd-shim",
        "/usr/local/sbin/runc",
        "unit: /etc/systemd/system/containerd.service",
        f"names the pool devpool, which is up, on {DIR}/data; its databases are in {DIR}",
        "pool.adopt --name devpool",
    ):
        assert what in said
    assert "pool.reset" not in said
    doctor = case.fab("doctor", code=1)
    assert re.search("fail +other containerd +programs: .*devpool", doctor)
    assert doctor.count(" fail ") == 1
    assert case.machine.state() == before


def test_f22_what_cannot_be_proved_is_refused(case: Case) -> None:
    ssh = case.machine.ssh
    ssh(f"losetup -f {DIR}/meta")
    assert f"{DIR}/meta has 2 loop devices" in case.fab("pool.adopt", code=2)
    ssh(f"losetup -d $(losetup -n -O NAME -j {DIR}/meta | tail -n 1)")
    ssh("sed -i 's/devpool/another/' /etc/containerd/config.toml")
    assert "names the pool another: whose is it?" in case.fab("pool.adopt", "--name", "devpool", code=2)
    ssh("sed -i 's/another/devpool/' /etc/containerd/config.toml")
    unit = "[Service]\\nType=oneshot\\nExecStart=/bin/sh /root/make.sh\\n[Install]\\nWantedBy=multi-user.target\\n"
    ssh(f"printf '{unit}' >/etc/systemd/system/reload.service; systemctl enable -q reload")
    said = case.fab("pool.adopt", code=2)
    assert "reload.service brings it up at boot, by /root/make.sh: systemctl disable reload.service" in said
    ssh(f"systemctl disable -q reload.service; mv {DIR}/devpool.db /root/")
    assert "devpool.db knows none of them" in case.fab("pool.adopt", code=2)
    ssh(f"mv /root/devpool.db {DIR}/")
    assert ssh("find /etc/devmapper-pool /etc/systemd/system -name '*devpool*'", code=None).count("devpool") == 0


def test_f22_it_is_adopted_and_deployed_by_the_commands_of_the_refusal(case: Case) -> None:
    """The container keeps running all the time."""
    _, hint = told(case, "deploy", code=2)
    adopt, stop, aside, deploy = hint
    table = case.machine.ssh("dmsetup table devpool")
    (command,) = typed.commands(adopt)
    said = case.fab(*command.split()[3:])
    wanted = re.findall(r"set (.*) in its pool in ", said)[0]
    case.inventory.write_text(f"{case.inventory.read_text()}\n[defaults.pool]\n{wanted.replace(', ', chr(10))}\n")
    assert "ok 1  changed 0" in case.fab("pool.adopt")
    assert case.machine.ssh("dmsetup table devpool") == table
    marked = "on the host: "
    assert stop.startswith(marked) and aside.startswith(marked)
    case.machine.ssh(f"{stop.removeprefix(marked)} && {aside.removeprefix(marked)}")
    case.fab(*deploy.split()[3:])
    assert kept(case) == "precious\n"
    assert "ok 1  changed 0" in case.fab("deploy")
    assert "they agree" in case.fab("pool.fsck")
    case.fab("doctor")


def test_f22_it_survives_a_reboot(case: Case) -> None:
    case.machine.reboot()
    assert "ok 1  changed 0" in case.fab("deploy")
    assert case.machine.in_snapshot("kept", "cat file") == "precious\n"
    case.fab("doctor")
