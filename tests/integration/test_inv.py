"""./bootstrap inv on the machine that is to have the pool: no SSH, no second machine."""

from __future__ import annotations

import shlex
import subprocess
import sys
import tomllib
from collections.abc import Callable
from pathlib import Path

import pytest

from fabfile.lab import tools
from tests.integration import fresh
from tests.integration.machine import Machine

Inv = Callable[..., str]


@pytest.fixture(scope="module")
def inv(deployed: Machine, tmp_path_factory: pytest.TempPathFactory) -> Inv:
    """Runs ./bootstrap inv in a checkout on the machine; the exit code must be `code`.

    The packages of the lock file lie beside it: the machine has no way to this one's package index.
    """
    parcel = tmp_path_factory.mktemp("parcel")
    (parcel / "checkout").mkdir()
    fresh.copy_checkout(parcel / "checkout")
    # fab's hosts have no Python. The package lists came with the image.
    deployed.ssh("apt-get install -qq -y --no-install-recommends git python3 </dev/null")
    version = deployed.ssh("python3 -c 'import sys; print(*sys.version_info[:2], sep=chr(46))'").strip()
    wanted: list[str | Path] = ["--no-deps", "--require-hashes", "-r", parcel / "checkout/requirements.lock"]
    only = ["--only-binary", ":all:", "--python-version", version]
    tools.run(sys.executable, "-m", "pip", "download", "-qq", *wanted, *only, "--dest", parcel / "wheels")
    with subprocess.Popen(["tar", "-C", parcel, "-cf", "-", "checkout", "wheels"], stdout=subprocess.PIPE) as sent:
        subprocess.run(deployed.vm.ssh("tar -xf - --no-same-owner"), stdin=sent.stdout, check=True)
    assert sent.returncode == 0

    def run(*args: str, code: int = 0) -> str:
        return deployed.ssh(
            f"cd checkout && PIP_NO_INDEX=1 PIP_FIND_LINKS=/root/wheels ./bootstrap inv {shlex.join(args)}", code
        )

    return run


def test_a_pool_on_this_machine(deployed: Machine, inv: Inv) -> None:
    before = deployed.ssh("dmsetup table; losetup -n -O BACK-FILE")
    pool = ["pool.loop", "--instance", "own", "--size", "1G"]
    shown = inv("--dry", *pool, code=3)
    assert "bootstrap: making .venv from requirements.lock" in shown
    assert "sparse data file of 1G" in shown
    assert deployed.ssh("dmsetup table; losetup -n -O BACK-FILE") == before
    assert "changed  pool.loop" in inv(*pool)
    assert "ok       pool.loop" in inv(*pool)
    assert "own-pool: rw" in inv("pool.status", "--instance", "own")
    assert "is not a size" in inv("pool.loop", "--size", "1X", code=2)
    assert '"mode": "rw"' in inv("pool.status", "--instance", "own", "--json")


def test_a_deploy_on_this_machine_changes_nothing_where_fab_did_it(deployed: Machine, inv: Inv) -> None:
    lab = tomllib.loads((deployed.vm.directory.parent / "hosts.toml").read_text())["defaults"]
    deployed.ssh("mkdir -p mirror")
    sent = Path(lab["mirror"]) / "releases.toml"
    subprocess.run(deployed.vm.ssh("cat >mirror/releases.toml"), input=sent.read_bytes(), check=True)
    done = inv("deploy", "--release", "lab", "--mirror", "/root/mirror", "--registry", lab["registry"])
    assert done.count("ok       ") == len(done.splitlines()), done
    assert inv("--dry", "smoke", code=3).startswith("pending  smoke")
    assert inv("smoke", "--registry", lab["registry"]).count("Hello from containerd!") == 2
