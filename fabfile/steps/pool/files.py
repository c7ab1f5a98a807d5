"""The files that keep a loop pool alive across reboots: settings, script, unit, modules."""

from __future__ import annotations

from fabfile import plain
from fabfile.daemon import Daemon
from fabfile.facts import Facts
from fabfile.plan import Change, file
from fabfile.render import render
from fabfile.steps.pool.thin import Pool

CONF_DIR = "/etc/devmapper-pool"
SCRIPT = "/usr/local/libexec/devmapper-pool"
MODULES = "/etc/modules-load.d/devmapper-pool.conf"


def conf(name: str) -> str:
    """Path of a pool's settings. Where it exists, the pool is ours."""
    return f"{CONF_DIR}/{name}.conf"


def unit(name: str) -> str:
    """Name of a pool's unit."""
    return f"devmapper-pool@{name}.service"


def unit_path(name: str) -> str:
    """Path of a pool's unit."""
    return f"/etc/systemd/system/{unit(name)}"


def paths(name: str) -> tuple[str, ...]:
    """All of them."""
    return conf(name), SCRIPT, MODULES, unit_path(name)


def settings(want: Pool) -> dict[str, str]:
    """What the settings file says, key → value."""
    return parse(_conf(want))


def parse(text: str) -> dict[str, str]:
    """Key → value of a settings file."""
    return plain.settings(text)


def changes(have: Facts, want: Pool) -> list[Change]:
    """The files that differ. The settings come first: from then on the data and metadata files are known as ours."""
    script = render("pool/devmapper-pool.sh.j2", conf_dir=CONF_DIR)
    before = Daemon(want.instance).unit
    service = render("pool/devmapper-pool.service.j2", name=want.name, dir=want.dir, script=SCRIPT, before=before)
    return [
        *file(have, f"settings of the pool {want.name}", conf(want.name), _conf(want)),
        *file(have, "the script that activates pools", SCRIPT, script, mode=0o755),
        *file(have, "kernel modules at boot", MODULES, "loop\ndm_thin_pool\n"),
        *file(have, "the pool's unit, before containerd at every boot", unit_path(want.name), service),
    ]


def _conf(want: Pool) -> str:
    return render(
        "pool/pool.conf.j2",
        name=want.name,
        instance=want.instance,
        data=want.data_file,
        meta=want.meta_file,
        data_sectors=want.sectors,
        meta_bytes=want.meta,
        block_sectors=want.block // 512,
        low_water_blocks=want.low_water_blocks,
    )
