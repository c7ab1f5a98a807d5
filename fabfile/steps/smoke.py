"""The proof: pull an image and run it, with devmapper and with overlayfs."""

from __future__ import annotations

import re

from invoke import Context, task

from fabfile import inventory, target
from fabfile.console import say
from fabfile.daemon import INSTANCE
from fabfile.errors import Refused
from fabfile.facts import Facts
from fabfile.inventory import Host
from fabfile.plan import Change, Command, Step, words
from fabfile.render import render

SNAPSHOTTERS = ("devmapper", "overlayfs")


def script(host: Host) -> str:
    """The script that pulls and runs the image of `host` with each snapshotter.

    Raises:
        Refused: a registry or image that is not one.
    """
    registry = re.fullmatch(r"(https?)://([A-Za-z0-9.:-]+)/?", host.registry)
    if not registry:
        raise Refused(f"registry: {host.registry!r} is not an address", hint="for example --registry https://docker.io")
    if not re.fullmatch(r"[a-z0-9][a-z0-9._/-]*(:[A-Za-z0-9._-]+)?(@sha256:[0-9a-f]{64})?", host.image):
        raise Refused(f"image: {host.image!r} is not an image", hint="for example --image library/hello-world:latest")
    return render(
        "containerd/smoke.sh.j2",
        ctr=host.daemon.ctr,
        image=f"{registry[2]}/{host.image}",
        plain=registry[1] == "http",
        snapshotters=SNAPSHOTTERS,
    )


def key(have: Facts, host: Host) -> str:
    """What a passed proof holds for: these versions, this pool, this image."""
    containerd, runc = have.versions["containerd"].current, have.versions["runc"].current
    return f"containerd {containerd} runc {runc} pool {host.pool.dm_name} image {host.registry}/{host.image}"


def step(host: Host) -> Step:
    """The step that runs the proof once for a setup, and again when anything of it changed."""

    def plan(have: Facts) -> list[Change]:
        run = script(host)
        if have.smoke == key(have, host):
            return []
        path = words(host.daemon.record)
        record = f"mkdir -p \"$(dirname {path})\"; printf '%s\\n' {words(key(have, host))} >{path}"
        return [Command("a container on devmapper and one on overlayfs", f"{run}\n{record}")]

    return Step("smoke", plan)


@task(
    help={
        "image": "repository:tag in the registry",
        "registry": "address; http:// for one without TLS",
        "instance": INSTANCE,
    }
)
def smoke(c: Context, image: str = "", registry: str = "", instance: str = "") -> None:
    """Pull hello-world and run it with devmapper, then with overlayfs, and show what it says."""
    import msgspec

    host = inventory.of(c, instance)
    host = msgspec.structs.replace(host, image=image or host.image, registry=registry or host.registry)
    text = script(host)
    if target.is_dry(c):
        say(text)
        return
    say(target.sh(c, text, "the smoke test"))
