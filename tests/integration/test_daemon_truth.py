"""Containerd itself is asked what it uses: no file, drop-in or option hides the real configuration.

The tests share one deployed machine. Each test leaves it deployed again, by the remedy that the message names.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator

import pytest

from fabfile.render import render
from tests.integration.conftest import started
from tests.integration.golden import Golden
from tests.integration.machine import Machine
from tests.unit import typed

CONFIG, UNIT = "/etc/containerd/config.toml", "/etc/systemd/system/containerd.service"
DROP_IN = "/etc/containerd/conf.d/x.toml"
TABLE = '[plugins."io.containerd.snapshotter.v1.devmapper"]'
KEYS = 'root_path = "/var/lib/containerd/devmapper"\nbase_image_size = "10GB"\n'


@pytest.fixture(scope="module")
def machine(request: pytest.FixtureRequest, suite: str, golden: Golden) -> Iterator[Machine]:
    """A machine whose containerd imports what is in a directory."""
    with started(request, suite, base=golden.disk) as machine:
        machine.ssh(f"mkdir -p /etc/containerd/conf.d; sed -i '2i imports = [\"conf.d/*.toml\"]' {CONFIG}; cd /")
        machine.ssh(f"sed -i 's,conf.d,/etc/containerd/conf.d,' {CONFIG}")
        assert "its settings changed" in machine.fab("deploy")
        yield machine


def write(machine: Machine, path: str, text: str) -> None:
    machine.ssh(f"mkdir -p {path.rpartition('/')[0]}; printf %s {shlex.quote(text)} >{path}")


ALL = {"deploy": 2, "--dry deploy": 2, "containerd.configure": 2, "doctor": 1}
"""Task → exit code when it refuses or fails."""


def refused(machine: Machine, says: list[str], *tasks: str) -> None:
    """These tasks, or ALL, refuse with these words, and nothing is touched."""
    before = machine.state()
    for task in tasks or ALL:
        said = machine.fab(*task.split(), code=ALL[task])
        assert all(what in said for what in says), f"{task}\n{said}"
        hint = re.findall(r"(?:hint:|would be refused.*\n.*→) (.*)", said)
        assert hint and typed.wrong(hint[0]) == [], said
    assert machine.state() == before


def well(machine: Machine) -> None:
    """deploy succeeds, and doctor finds nothing wrong."""
    assert re.search(r"ok +a snapshot +made and removed again", machine.fab("deploy", "doctor"))
    assert "proof" not in machine.ssh("ctr snapshots --snapshotter devmapper ls; ctr leases ls; ls /run")
    assert "snap" not in machine.ssh("dmsetup ls")


OVERRIDES = {
    "values": (
        f"""root = '/srv/x'
disabled_plugins = [
  'io.containerd.snapshotter.v1.devmapper',
]
version = 2
[grpc]
address = '/run/x'
[plugins.'io.containerd.grpc.v1.cri'.containerd]
snapshotter = 'overlayfs'
{TABLE}
  pool_name = 'other'
{KEYS}""",
        (
            ":1: root is /srv/x, it must be /var/lib/containerd",
            ":3: disabled_plugins has io.containerd.snapshotter.v1.devmapper",
            ":7: address is /run/x",
            ":9: snapshotter is overlayfs",
            ":11: pool_name is other, it must be containerd-pool",
        ),
    ),
    "table": (f"version = 2\n\n{TABLE}\nasync_remove = true\n", (":3: its table lacks pool_name",)),
    "broken": ("version = = 2\n", (": it is not TOML",)),
}
"""Contents of an imported file → the message about it."""


@pytest.mark.parametrize("how", OVERRIDES)
def test_f11_f12_a_file_that_overrides_ours_is_named_with_its_line(machine: Machine, how: str) -> None:
    text, says = OVERRIDES[how]
    write(machine, DROP_IN, text)
    refused(machine, [f"{DROP_IN}{what}" for what in says], *([] if how == "values" else ["deploy"]))
    machine.ssh(f"rm {DROP_IN}")


def test_f11_what_only_containerd_finds_wrong_is_told_in_its_words(machine: Machine) -> None:
    write(machine, DROP_IN, "version = 2\noom_score = 'high'\n")
    refused(machine, ["containerd does not load /etc/containerd/config.toml: ", "containerd: failed"], "deploy")
    machine.ssh(f"rm {DROP_IN}")


def test_f12_a_line_of_config_toml_that_disables_what_has_to_run(machine: Machine) -> None:
    machine.ssh(f"cp -p {CONFIG} /root/; sed -i '3i disabled_plugins = [\"io.containerd.grpc.v1.cri\"]' {CONFIG}")
    refused(machine, [f"{CONFIG}:3: disabled_plugins has io.containerd.grpc.v1.cri, which is required"], "deploy")
    machine.ssh(f"mv /root/config.toml {CONFIG}")
    write(machine, DROP_IN, "version = 2\ndisabled_plugins = ['io.containerd.snapshotter.v1.devmapper']\n")
    machine.ssh("systemctl restart containerd")
    said = machine.fab("doctor", code=1)
    assert f"fail  devmapper plugin       {DROP_IN}:2: disabled_plugins has" in said
    machine.ssh(f"rm {DROP_IN}")
    well(machine)


def test_f11_a_container_on_another_pool_proves_nothing(machine: Machine) -> None:
    """Once every check passed although the pool had no block in use."""
    machine.ssh("""cd /root; truncate -s 2G d; truncate -s 8M m
        dmsetup create other --table "0 4194304 thin-pool $(losetup -f --show m) $(losetup -f --show d) 128 0" """)
    keys = KEYS.replace("devmapper", "other").replace("10GB", "512MB")
    write(machine, DROP_IN, f"version = 2\n{TABLE}\npool_name = 'other'\n{keys}")
    machine.ssh("ctr images rm --sync $(ctr images ls -q); systemctl restart containerd")
    assert "is not on the pool containerd-pool, thin " in machine.fab("smoke", code=1)
    # Gone from the files, it is still what the daemon runs with.
    machine.ssh(f"rm {DROP_IN}")
    said = machine.fab("doctor", code=1)
    assert "runs, but with older versions of its files" in said
    assert re.search("fail +a snapshot +its device .* is not on the pool containerd-pool", said)
    # The image was unpacked there, and containerd takes it for unpacked.
    said = machine.fab("deploy", code=1)
    assert "it was started with other files than there are now" in said
    machine.ssh(re.findall(r"hint: (.*?); fab", said)[0])
    machine.ssh("dmsetup remove --retry other; losetup -D; rm -r /var/lib/containerd/other", code=None)
    well(machine)


def test_f11_another_command_line(machine: Machine) -> None:
    write(machine, "/srv/other.toml", "version = 2\n")
    command = "ExecStart=/usr/local/bin/containerd --config=/srv/other.toml"
    write(machine, f"{UNIT}.d/99.conf", f"[Service]\nExecStart=\n{command}\n")
    refused(machine, [f"{UNIT}.d/99.conf: ExecStart has --config /srv/other.toml"], "deploy")
    machine.ssh(f"rm {UNIT}.d/99.conf; sed -i 's,^ExecStart=/.*,{command},' {UNIT}")
    machine.ssh("systemctl daemon-reload; systemctl restart containerd")
    assert "it runs with --config /srv/other.toml" in machine.fab("deploy")
    well(machine)


def test_f36_a_proof_is_made_again_when_an_import_changed_or_the_image_is_gone(machine: Machine) -> None:
    write(machine, DROP_IN, f"version = 2\n{TABLE}\npool_name = 'containerd-pool'\n{KEYS}discard_blocks = true\n")
    said = machine.fab("deploy")
    assert "other files than there are now" in said and re.search(r"changed +smoke", said)
    machine.ssh("ctr images rm --sync $(ctr images ls -q)")
    assert re.search(r"ok +containerd.configure(.|\n)*changed +smoke", machine.fab("deploy"))
    machine.ssh(f"rm {DROP_IN}")


DOCKER = """#   Copyright 2018-2022 Docker Inc.

disabled_plugins = ["cri"]

#root = "/var/lib/containerd"
"""


def test_f23_a_file_without_settings_is_taken_over_and_another_moves_away(machine: Machine) -> None:
    write(machine, CONFIG, DOCKER)
    said = machine.fab("deploy")
    assert "devmapper in containerd's configuration" in said
    assert machine.ssh(f"cat {CONFIG}.orig") == DOCKER
    assert "disabled" not in machine.ssh(f"cat {CONFIG}")
    write(machine, CONFIG, "oom_score = -5\n[plugins.cri]\nsandbox_image = 'x'\n")
    said = machine.fab("deploy", code=2)
    assert "is in format 1, this containerd gets format 2" in said
    away = re.findall(r"hint: on the host: (mv [^;]*);", said)[0]
    machine.ssh(away)
    well(machine)


HURT = r"""set -e
for id in $(seq 0 99); do # the only one that there is
  if dmsetup create hurt --table "0 20971520 thin /dev/mapper/containerd-pool $id" 2>/dev/null; then break; fi
done
udevadm settle
dd if=/dev/urandom of=/dev/mapper/hurt bs=4k count=64 conv=fsync status=none
udevadm settle
dmsetup remove --retry hurt
"""
"""The first 256 KiB of an image's file system, which no device of containerd's shows."""


def test_g9_an_image_with_a_damaged_file_system_has_a_fix(machine: Machine) -> None:
    machine.ssh(HURT)
    assert "cannot be mounted" in machine.fab("doctor", code=1)
    assert "no container can start on the pool containerd-pool" in machine.fab("deploy", code=2)
    said = machine.fab("smoke", code=1)
    hint = re.findall(r"hint: (.*)", said)[0]
    assert typed.wrong(hint) == []
    machine.ssh(hint.partition(";")[0])
    machine.fab("smoke")
    well(machine)


HOLD = """import fcntl, time
file = open("/var/lib/apt/lists/lock", "w")
fcntl.lockf(file, fcntl.LOCK_EX)
time.sleep(4)
"""


def test_g11_the_lock_of_the_package_lists_is_waited_for(machine: Machine) -> None:
    """As when a cloud's machine boots for the first time. The lock and apt are real; its sources are on a network."""

    def update(wait: int) -> str:
        apt = render("packages/apt.sh.j2", wait=wait, note="note: ")
        machine.ssh(f"python3 -c {shlex.quote(HOLD)} >/dev/null 2>&1 & sleep 1")
        return f"{apt}\napt update -o Dir::Etc::SourceList=/dev/null -o Dir::Etc::SourceParts=/dev/null"

    said = machine.ssh(update(60))
    assert re.search(r"note: waited \d+ s for /var/lib/apt/lists/lock. It is held by process \d+ \(python3\)", said), (
        said
    )
    said = machine.ssh(update(1), code=1)
    assert "Could not get lock" in said and re.search(r"waited \d s for it", said)
