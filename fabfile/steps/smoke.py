"""The proof: pull an image and run it, with devmapper on the pool and with overlayfs."""

from __future__ import annotations

import re
from typing import Any

import msgspec

from fabfile import hints, inventory, target
from fabfile.answer import show
from fabfile.apply import hinted
from fabfile.context import Context
from fabfile.converge import preview
from fabfile.errors import Failed, Pending, Refused
from fabfile.facts import Facts, about
from fabfile.facts import smoke as facts
from fabfile.facts.containerd import SETTINGS
from fabfile.facts.proof import ELSEWHERE, UNMOUNTED
from fabfile.host import Host
from fabfile.outcome import result
from fabfile.plan import Change, Command, Step
from fabfile.pool.lookup import look
from fabfile.render import render

SNAPSHOTTERS = ("devmapper", "overlayfs")

DIRECTORY = "containerd-devmapper-smoke"
"""How the name of a directory below /run begins that a proof writes to, and removes again."""


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
        directory=DIRECTORY,
        image=reference(host),
        plain=registry[1] == "http",
        snapshotters=SNAPSHOTTERS,
        pool=host.pool.dm_name,
        again=hints.command("smoke", host.daemon),
    )


def reference(host: Host) -> str:
    """The image of `host` as containerd knows it, without the registry's scheme."""
    return f"{host.registry.partition('://')[2].rstrip('/')}/{host.image}"


SETUP = "containerd {} runc {} kernel {} settings {} files {} pool {} image {}"
"""What a passed proof holds for, as it is recorded."""


def setup(have: Facts, host: Host) -> str:
    """What a proof that passes now holds for: these versions and settings, this pool, this image."""
    containerd, runc = have.versions["containerd"].current, have.versions["runc"].current
    return SETUP.format(
        containerd,
        runc,
        have.system.kernel,
        have.containerd.settings,
        have.containerd.loaded,
        host.pool.dm_name,
        f"{host.registry}/{host.image}",
    )


def recording(host: Host) -> str:
    """The shell function `record`, which writes down what a proof that has just passed holds for."""
    daemon = host.daemon
    return render(
        "containerd/record.sh.j2",
        kept=facts.functions(about(host, image=reference(host))),
        daemon=daemon,
        variable=SETTINGS,
        directory=daemon.record.rpartition("/")[0],
        format=SETUP.replace("{}", "%s"),
        pool=host.pool.dm_name,
        image=f"{host.registry}/{host.image}",
    )


def step(host: Host) -> Step:
    """The step that runs the proof once for a setup, and again when anything of it changed or was wiped."""

    def plan(have: Facts) -> list[Change]:
        run = script(host)
        if have.smoke and have.smoke.holds and have.smoke.setup == setup(have, host):
            refuse_unproved(have, host)
            return []
        return [Command("a container on devmapper and one on overlayfs", f"{run}record", recording(host))]

    return Step("smoke", plan, about(host, image=reference(host)))


def refuse_unproved(have: Facts, host: Host) -> None:
    """Refuse to call a host finished on which the snapshotter could not make a snapshot just now.

    Raises:
        Refused: with what it said, and what leads out of it.
    """
    # Nothing is proved by a daemon that was started with other files: it is started with these first.
    if have.proof and have.containerd.loaded == have.config.digest:
        raise Refused(
            f"no container can start on the pool {host.pool.dm_name}",
            f"containerd, asked for a snapshot of an image: {have.proof}",
            hint=unproved(have.proof, host),
        )


def unproved(said: str, host: Host) -> str:
    """What leads out of a proof that failed."""
    if UNMOUNTED in said:
        return f"{hints.command('smoke', host.daemon)}, and for another image than its own: ctr images rm --sync IMAGE"
    if ELSEWHERE in said:
        return hints.command("deploy", host.daemon)
    return hints.command("pool.fsck", host.daemon, host.pool.dm_name)


class Proof(msgspec.Struct, frozen=True):
    """That containers ran."""

    image: str
    output: str
    """What the containers printed, one for each snapshotter."""


def prove_containers(c: Context, instance: str, **given: Any) -> None:
    """Pull the image and run it with each snapshotter, and show what that prints.

    Args:
        c: the machine.
        instance: the containerd; see inventory.of.
        given: settings of the host: image and registry.

    Raises:
        Pending: with --dry.
        Failed: a container did not run.
    """
    host = inventory.of(c, instance, **given)
    script(host)  # values that are none are refused before anything else
    pool = look(c, "", instance)[0].pool
    text = script(msgspec.structs.replace(host, pool=pool))
    if target.is_dry(c):
        preview([("smoke", [Command(f"run {reference(host)} on {' and on '.join(SNAPSHOTTERS)}", text)])])
        raise Pending
    answer = target.run(c, text)
    if answer.exited:
        details, hint = hinted(answer.stdout + answer.stderr)
        raise Failed("the smoke test failed", f"exit code {answer.exited}\n{details}", hint=hint)
    result(Proof(reference(host), answer.stdout))
    show(answer.stdout)
