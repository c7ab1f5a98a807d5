"""Each release set: deployed, converged, healthy after a reboot, and removed. Go and sources come from the internet.

Those of the set `lab` come from the lab's mirror. Unless told otherwise, all other tests deploy bookworm's containerd,
1.6; newer ones have other formats and print other things.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.integration import writer
from tests.integration.conftest import started
from tests.integration.machine import Machine, run_fab


@pytest.fixture(scope="module")
def machine(
    request: pytest.FixtureRequest, suite: str, lab: Path, release: str, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[Machine, Path]]:
    """A machine on which nothing was done, and an inventory with the release."""
    import toml

    with started(request, suite) as machine:
        known = toml.loads((lab / "hosts.toml").read_text())
        if release != known["defaults"]["release"]:
            known["defaults"] |= {"release": release, "mirror": request.config.getoption("--mirror")}
        inventory = tmp_path_factory.mktemp("releases") / "hosts.toml"
        inventory.write_text(toml.dumps(known))
        yield machine, inventory


def test_it_is_deployed_and_converged(machine: tuple[Machine, Path]) -> None:
    new, inventory = machine
    assert new.fab("deploy", inventory=inventory).count("Hello from containerd!") == 0
    assert "ok 1  changed 0" in new.fab("deploy", inventory=inventory)
    assert new.fab("smoke", inventory=inventory).count("Hello from containerd!") == 2


def test_a_snapshot_is_proved_and_nothing_is_wrong(machine: tuple[Machine, Path]) -> None:
    new, inventory = machine
    said = new.fab("doctor", inventory=inventory)
    assert "ok    a snapshot             made and removed again" in said
    assert " fail " not in said


def test_a_container_runs_on_after_containerd_has_restarted(machine: tuple[Machine, Path]) -> None:
    new, inventory = machine
    image = f"{writer.registry(new)}/library/busybox:latest"
    new.ssh(f"ctr images pull --plain-http --snapshotter devmapper {image}")
    new.ssh(f"ctr run -d --snapshotter devmapper {image} stays sleep infinity")
    new.ssh("echo '# edited' >>/etc/containerd/config.toml")
    assert "start containerd: its settings changed" in new.fab("deploy", inventory=inventory)
    assert "RUNNING" in new.ssh("ctr tasks ls")
    assert "ok 1  changed 0" in new.fab("deploy", inventory=inventory)
    new.ssh("ctr tasks rm -f stays; ctr tasks start -d stays && ctr tasks ls | grep RUNNING; ctr tasks rm -f stays")


def test_it_is_healthy_after_a_reboot_and_can_be_removed(machine: tuple[Machine, Path]) -> None:
    new, inventory = machine
    new.reboot()
    assert "ok 1  changed 0" in new.fab("deploy", inventory=inventory)
    new.fab("pool.reset", "--all", "--yes", inventory=inventory)
    new.ssh("! command -v containerd && ! dmsetup ls | grep pool && ! ls /var/lib/containerd")
    assert "changed 1" in run_fab("-H", new.vm.name, "deploy", inventory=inventory)
