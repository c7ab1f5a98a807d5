"""The main job on a real kernel, in the order in which a user meets it. The tests build on each other."""

from __future__ import annotations

import json
import re
import shlex
import subprocess
import tomllib
from pathlib import Path

import pytest

from tests.integration.golden import Golden
from tests.integration.machine import EARLIER, Machine, run_fab, until

CTR = "ctr -n default"


def test_dry_run_shows_the_plan_and_touches_nothing(golden: Golden) -> None:
    assert "sparse data file of 100G" in golden.seen.dry
    assert "OVERCOMMITTED" in golden.seen.dry
    assert "metadata file of 75M" in golden.seen.dry
    (host,) = json.loads(golden.seen.dry_json.splitlines()[0])["hosts"].values()
    steps = host["tasks"][0]["steps"]
    assert [step["step"] for step in steps if step["status"] == "pending"][-1] == "smoke"
    assert len(golden.seen.dry.splitlines()) < 40, "reasons only"
    assert "containerd None" not in golden.seen.dry_json
    assert re.search(r"pending +smoke +planned again after containerd.install", golden.seen.dry)
    assert golden.seen.after_dry == golden.seen.fresh


REFUSED = {
    "pool.loop --size 100": "is not a size",
    "pool.loop --size 100X": "is not a size",
    "pool.loop --size=-1G": "is not a size",
    "pool.loop --size 0": "is not a size",
    "pool.loop --size 1K": "too small",
    "pool.loop --size 2E": "too large",
    "pool.loop --name a/b": "is not a pool name",
    "pool.loop --name=-x": "is not a pool name",
    "pool.loop --dir pool": "is not an absolute directory",
    "pool.loop --instance other --dir /dev/shm/pool": "tmpfs, which cannot carry a pool",
    "pool.loop --instance other --dir /srv/nowhere": "no directory /srv/nowhere",
    "pool.loop --instance other --dir /srv/other": "/srv/other/data exists and was not made by this tool",
    "pool.loop --name other": "is configured for another pool",
    "pool.loop --size 50G": "size: it has 100G, requested: 50G",
    "pool.loop --instance other --dir /srv/new --volume none/lv --volume-size 1G": "no volume group",
    "deploy --release 9.9": "no release",
    "deploy --mirror /nowhere": "no directory",
    "deploy --until nothing": "a deploy has no step 'nothing'",
    "deploy --until runc.install --size 50G": "--size: for the pool, whose step comes after runc.install",
    "smoke --registry ftp://x": "is not an address",
    "smoke --image 'a b'": "is not an image",
}
"""Command line → the text of the refusal."""


def test_bad_input_is_refused_before_anything_is_touched(deployed: Machine) -> None:
    deployed.ssh("mkdir -p /srv/other; echo precious >/srv/other/data")
    before = deployed.state()
    for line, what in REFUSED.items():
        output = deployed.fab(*shlex.split(line), code=2)
        assert what in output, f"{line}\n{output}"
        assert output.count("error:") == 1, f"{line}\n{output}"
    assert deployed.state() == before
    assert deployed.ssh("cat /srv/other/data; ls /srv/other") == "precious\ndata\n"


FAILS = {
    "deploy --release lab --mirror http://127.0.0.1:9": "cannot download http://127.0.0.1:9/releases.toml",
    "containerd.install --release 2.3 --mirror http://127.0.0.1:9": "cannot fetch containerd 2.3.4 from http://127.0.0.1:9",
    "toolchain.go --release 2.3 --mirror http://127.0.0.1:9": "cannot download http://127.0.0.1:9/go1.26.5",
}
"""Command line → the error about a mirror that is down."""

MISTAKES = {
    "[hosts.a\n": "is not TOML",
    "[hosts.a]\nadress = '192.0.2.1'\n": "hosts.a: Object contains unknown field `adress`",
    "[hosts.a]\nport = 'ssh'\n": "hosts.a.port: Expected `int`, got `str`",
    "[hosts.a]\naddress = '192.0.2.1'\n[hosts.b]\naddress = '192.0.2.1'\n": "hosts.b and hosts.a have the same address",
}
"""Contents of hosts.toml → the error about them."""


def test_a_mirror_that_is_down_fails_before_anything_is_touched(
    deployed: Machine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))  # the user's may have what is not to be had
    before = deployed.state()
    for line, what in FAILS.items():
        output = deployed.fab(*shlex.split(line), code=1)
        assert what in output and "hint: check the address, or name a mirror that has it" in output, output
    assert deployed.state() == before


def test_a_mistake_in_the_inventory_is_named_with_its_key(tmp_path: Path, lab: Path) -> None:
    file = tmp_path / "hosts.toml"
    for text, what in MISTAKES.items():
        file.write_text(text)
        output = run_fab("-H", "a", "status", code=2, inventory=file)
        assert str(file) in output and what in output, output
        assert output.count("error:") == 1 and "Traceback" not in output, output


def test_a_pool_on_a_volume_that_it_makes_itself(deployed: Machine) -> None:
    place = ["--instance", "on-lv", "--dir", "/srv/on-lv"]
    pool = ["pool.loop", *place, "--size", "1G", "--volume", "datavg/lvdevm", "--volume-size", "2G"]
    assert "no volume group 'datavg'" in deployed.fab(*pool, code=2)
    deployed.ssh(f"vgcreate -q datavg {deployed.disk(1)}")
    assert "changed 1" in deployed.fab(*pool)
    assert deployed.ssh("findmnt -n -o SOURCE,FSTYPE /srv/on-lv").split() == ["/dev/mapper/datavg-lvdevm", "ext4"]
    assert re.search(r"^UUID=\S+ /srv/on-lv ext4 nofail,", deployed.ssh("cat /etc/fstab"), re.MULTILINE)
    assert "ok 1  changed 0" in deployed.fab(*pool)
    assert "on-lv-pool: rw" in deployed.fab("pool.status", "--instance", "on-lv")


def test_a_user_who_cannot_become_root_is_refused(deployed: Machine, tmp_path: Path) -> None:
    deployed.ssh("useradd --create-home nobody-special; cp -r /root/.ssh ~nobody-special/")
    deployed.ssh("chown -R nobody-special: ~nobody-special/.ssh")
    inventory = tmp_path / "hosts.toml"
    text = (deployed.vm.directory.parent / "hosts.toml").read_text()
    inventory.write_text(text.replace('user = "root"', 'user = "nobody-special"'))
    assert "this needs root" in deployed.fab("status", code=1, inventory=inventory)
    deployed.ssh("echo 'nobody-special ALL=(ALL) NOPASSWD: ALL' >/etc/sudoers.d/nobody-special")
    assert "ok 1  changed 0" in deployed.fab("deploy", inventory=inventory)
    deployed.ssh("userdel --remove nobody-special; rm /etc/sudoers.d/nobody-special")


def test_with_json_each_task_answers_in_one_document(deployed: Machine) -> None:
    assert [step["step"] for step in deployed.fab_json("deploy")["steps"]][-1] == "smoke"
    assert {step["status"] for step in deployed.fab_json("--dry", "deploy")["steps"]} == {"ok"}
    pending = deployed.fab_json("--dry", "smoke", code=3)
    assert [step["status"] for step in pending["steps"]] == ["pending"]
    assert deployed.fab_json("status")["result"]["system"]["distribution"] == "debian"
    checks = {check["what"]: check["result"] for check in deployed.fab_json("doctor")["result"]}
    assert {what for what, result in checks.items() if result != "ok"} == {"room under the pool"}  # it is overcommitted
    assert deployed.fab_json("pool.status")["result"]["status"]["mode"] == "rw"
    assert deployed.fab_json("pool.check")["result"]["sound"]
    assert deployed.fab_json("run", "echo hi; exit 3", code=1)["result"] == {
        "exit_code": 3, "stdout": "hi\n", "stderr": "",
    }  # fmt: skip
    refused = deployed.fab_json("pool.reset", "--force", code=2)
    assert refused["error"]["hint"].endswith("pool.reset --name containerd-pool --force --yes")


def test_a_host_that_is_not_in_the_inventory_is_refused(deployed: Machine) -> None:
    assert "no host or group 'lab-9'" in run_fab("-H", "lab-9", "status", code=2)


def test_a_hop_of_ssh_config_is_as_strict_as_the_host(
    deployed: Machine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The host is the machine itself, on its own port 22, reached through its port here as through a bastion."""
    own = tomllib.loads((deployed.vm.directory.parent / "hosts.toml").read_text())
    known, inventory, home = tmp_path / "known_hosts", tmp_path / "hosts.toml", tmp_path / "home"
    key = own["defaults"]["identity_file"]
    (home / ".ssh").mkdir(parents=True)
    (home / ".ssh/config").write_text(
        f"Host inner.example\n  ProxyJump hop\n  HostName localhost\n"
        f"Host hop\n  HostName 127.0.0.1\n  Port {deployed.vm.port}\n  User root\n  IdentityFile {key}\n"
    )
    inventory.write_text(
        f'[hosts.inner]\naddress = "inner.example"\nidentity_file = "{key}"\nknown_hosts = "{known}"\n'
    )
    monkeypatch.setenv("HOME", str(home))
    hop, host_key = f"[127.0.0.1]:{deployed.vm.port}", deployed.vm.host_key
    ask = ("-H", "inner", "run", "--command", "hostname")
    known.write_text(f"localhost {host_key}")
    known.chmod(0o600)
    said = run_fab(*ask, code=4, inventory=inventory)
    assert f"hop (root@{hop.replace('[', '').replace(']', '')}), on the way to inner: the host key is unknown" in said
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", tmp_path / "other"], check=True)
    known.write_text(f"localhost {host_key}{hop} {(tmp_path / 'other.pub').read_text()}")
    assert "on the way to inner: the host key has changed" in run_fab(*ask, code=4, inventory=inventory)
    known.write_text(f"{hop} {host_key}")
    assert "error: inner (root@localhost:22): the host key is unknown" in run_fab(*ask, code=4, inventory=inventory)
    known.write_text(f"localhost {host_key}{hop} {host_key}")
    assert deployed.vm.name in run_fab(*ask, inventory=inventory)
    known.write_text(f"localhost {host_key}{hop} {host_key}@revoked * {host_key}")
    assert "the host key is revoked" in run_fab(*ask, code=4, inventory=inventory)


def test_an_unknown_and_a_changed_host_key_are_refused(deployed: Machine, tmp_path: Path) -> None:
    known = (tmp_path / "known_hosts").resolve()
    text = (deployed.vm.directory.parent / "hosts.toml").read_text()
    inventory = tmp_path / "hosts.toml"
    inventory.write_text(re.sub(r"known_hosts = .*", f'known_hosts = "{known}"', text))
    assert "the host key is unknown" in deployed.fab("status", code=4, inventory=inventory)
    other = deployed.ssh(
        "rm -f /tmp/k; ssh-keygen -q -t ed25519 -N '' -f /tmp/k; cut -d' ' -f1,2 /tmp/k.pub; rm /tmp/k*"
    )
    known.write_text(f"[127.0.0.1]:{deployed.vm.port} {other}")
    assert "the host key has changed" in deployed.fab("status", code=4, inventory=inventory)


def test_deploy_ends_with_containers_on_both_snapshotters(golden: Golden, deployed: Machine) -> None:
    assert "changed 1" in golden.seen.deploy
    assert golden.seen.after_deploy != golden.seen.fresh
    rows = deployed.ssh("ctr plugins ls")
    assert re.search(r"snapshotter\.v1\s+devmapper\s+\S+\s+ok", rows)
    assert "btrfs" not in rows
    said = deployed.fab("smoke")
    assert said.count("Hello from containerd!") == 2
    assert "ext4 on /dev/mapper/containerd-pool-snap-" in said
    assert "overlay on overlay" in said


def test_file_systems_stop_at_errors_and_no_zeros_are_written(deployed: Machine) -> None:
    image = deployed.ssh("ctr images ls -q").split()[0]
    deployed.ssh(f"ctr containers create --snapshotter devmapper {image} formatted")
    device = deployed.ssh("ctr snapshots --snapshotter devmapper mounts /mnt formatted").split()[3]
    assert re.search(r"Errors behavior: +Remount read-only", deployed.ssh(f"dumpe2fs -h {device}"))
    deployed.ssh(f"e2fsck -fn {device}; ctr containers rm formatted; sync")
    used = deployed.ssh("dmsetup status containerd-pool").split()[5].partition("/")[0]
    assert int(used) * 64 < 32 * 1024, "KiB; inode tables and a journal would be 230 MiB"
    assert set(deployed.ssh("losetup -n -O DIO").split()) == {"1"}


def test_a_second_deploy_changes_nothing_in_one_connection_and_one_command(deployed: Machine) -> None:
    # containerd takes away what a container leaves a little later.
    until(lambda: deployed.state() == deployed.state(), "does not come to rest", 60)
    before = deployed.state()
    since = deployed.ssh("sleep 1.1; date +%s").strip()  # later than this connection
    output = deployed.fab("deploy")
    assert "ok 1  changed 0" in output
    assert set(deployed.state().splitlines()) ^ set(before.splitlines()) == set()
    sessions = deployed.ssh(f"journalctl -q -o cat -t sshd --since @{since} | grep -c 'Accepted publickey'")
    # The connection of this test's own commands is older.
    assert int(sessions) == 1
    files = deployed.ssh("losetup -n -O BACK-FILE").split()
    assert len(files) == len(set(files)) == 4  # with those of the pool on a volume


def test_what_an_earlier_version_wrote_is_replaced_in_one_deploy(deployed: Machine) -> None:
    deployed.write_as_earlier("containerd-pool")
    said = deployed.fab("deploy")
    assert "reload systemd's units" in said and "containerd's unit" in said
    assert deployed.ssh(f"grep -rl '{EARLIER}' /etc /usr/local/libexec", code=1) == ""
    assert "ok 1  changed 0" in deployed.fab("deploy")


@pytest.mark.parametrize("how", ["reboot", "power_cut"])
def test_the_pool_and_a_container_survive(deployed: Machine, how: str) -> None:
    image = deployed.ssh("ctr images ls -q").split()[0]
    deployed.ssh(f"{CTR} containers create --snapshotter devmapper {image} kept-{how}")
    deployed.in_snapshot(f"kept-{how}", "echo still here >file")
    getattr(deployed, how)()
    assert "ok 1  changed 0" in deployed.fab("deploy")
    assert "on-lv-pool: rw" in deployed.fab("pool.status", "--instance", "on-lv")
    assert deployed.in_snapshot(f"kept-{how}", "cat file") == "still here\n"
    assert "Hello" in deployed.said_by(f"kept-{how}")
    deployed.ssh(f"ctr containers rm kept-{how}")


def test_trim_offline_discards_what_removed_containers_left(deployed: Machine) -> None:
    allocated = "sync; stat -c %b /var/lib/containerd/devmapper/data"
    before = int(deployed.ssh(allocated))
    deployed.trims_offline("containerd-pool")
    # Two files of 24 MiB were written, and one of them is still there.
    assert int(deployed.ssh(allocated)) - before < 40 << 11


def test_status_and_doctor_tell_the_truth(deployed: Machine) -> None:
    assert "rw" in deployed.fab("pool.status")
    assert ": fail" not in deployed.fab("doctor")
    deployed.ssh("systemctl stop containerd")
    assert re.search(r"fail\s+containerd\s+does not run", deployed.fab("doctor", code=1))
    assert "start containerd: it does not run" in deployed.fab("containerd.configure")


def test_reset_needs_yes_and_leaves_nothing_of_the_pool(deployed: Machine) -> None:
    assert "if that is what you want" in deployed.fab("pool.reset", code=2)
    deployed.fab("pool.reset", "--yes")
    assert "/var/lib/containerd" not in deployed.ssh("losetup -n -O BACK-FILE")
    deployed.fab("pool.reset", "--instance", "on-lv", "--yes")
    assert deployed.ssh("losetup -n -l") == ""
    assert "containerd-pool" not in deployed.ssh("dmsetup ls")
    assert deployed.ssh("find /etc/devmapper-pool /var/lib/containerd/devmapper -type f 2>/dev/null", code=None) == ""
    assert "changed 1" in deployed.fab("deploy")
