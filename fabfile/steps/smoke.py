"""The smoke test: pull an image and run it, with devmapper on the pool and with overlayfs."""

from __future__ import annotations

import re
from typing import Any

import msgspec

from fabfile import hints, inventory
from fabfile.apply import hinted
from fabfile.converge import preview
from fabfile.errors import Failed, Pending, Refused
from fabfile.facts import Facts
from fabfile.facts import smoke as facts
from fabfile.facts.containerd import SETTINGS
from fabfile.facts.proof import ELSEWHERE, UNMOUNTED
from fabfile.facts.query import about
from fabfile.host import Host
from fabfile.output.answer import show
from fabfile.output.outcome import result
from fabfile.plan import Change, Command, Step
from fabfile.pool.lookup import find_pool
from fabfile.remote import target
from fabfile.remote.context import Context
from fabfile.render import render

SNAPSHOTTERS = ("devmapper", "overlayfs")

FACTS = ("versions", "containerd", "config", "smoke", "proof")
"""Facts that the step needs. As it is the last step of a deploy, only these are gathered after it, which is fast."""

DIRECTORY = "containerd-devmapper-smoke"
"""Prefix of a temporary directory in /run that a smoke test writes to."""


def script(host: Host) -> str:
    """Return the script that pulls and runs the host's image with each snapshotter.

    Raises:
        Refused: the registry or the image is not valid.
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
    """Return the name of the host's image in containerd, which has no scheme."""
    return f"{host.registry.partition('://')[2].rstrip('/')}/{host.image}"


SETUP = "containerd {} runc {} kernel {} settings {} files {} pool {} image {}"
"""Format of the first line of a record: what a passed smoke test depends on."""


def setup(have: Facts, host: Host) -> str:
    """Return what a smoke test that passes now depends on: versions, kernel, settings, pool and image."""
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
    """The shell function `record`, which records what a smoke test that has just passed depends on."""
    daemon = host.daemon
    return render(
        "containerd/record.sh.j2",
        functions=facts.functions(about(host, image=reference(host))),
        daemon=daemon,
        variable=SETTINGS,
        directory=daemon.smoke_record_path.rpartition("/")[0],
        format=SETUP.replace("{}", "%s"),
        pool=host.pool.dm_name,
        image=f"{host.registry}/{host.image}",
    )


def step(host: Host) -> Step:
    """The step that runs the smoke test once, and again after anything that it depends on has changed."""

    def plan(have: Facts) -> list[Change]:
        run = script(host)
        if have.smoke and have.smoke.holds and have.smoke.setup == setup(have, host):
            refuse_unproved(have, host)
            return []
        return [Command("a container on devmapper and one on overlayfs", f"{run}record", recording(host))]

    return Step("smoke", plan, about(host, image=reference(host), only=FACTS))


def refuse_unproved(have: Facts, host: Host) -> None:
    """Refuse to call a host converged if containerd could not make a snapshot just now.

    Raises:
        Refused: with containerd's error, and the fix.
    """
    # A daemon with outdated files proves nothing: it is restarted with the current ones first.
    if have.proof and have.containerd.loaded == have.config.digest:
        raise Refused(
            f"no container can start on the pool {host.pool.dm_name}",
            f"containerd, asked for a snapshot of an image: {have.proof}",
            hint=unproved(have.proof, host),
        )


def unproved(said: str, host: Host) -> str:
    """Return the fix for a snapshot that could not be made."""
    if UNMOUNTED in said:
        remove = f"{host.daemon.ctr} images rm --sync IMAGE"
        return f"{hints.command('smoke', host.daemon)}, and for another image than its own: {remove}"
    if "maximum number of semaphores" in said:  # left by others, and each command of device mapper needs one
        return "dmsetup -y udevcomplete_all 10; where that is not enough: more of them in /proc/sys/kernel/sem"
    if ELSEWHERE in said:
        return hints.command("deploy", host.daemon)
    return hints.command("pool.fsck", host.daemon, host.pool.dm_name)


class Proof(msgspec.Struct, frozen=True):
    """The outcome of a smoke test."""

    image: str
    output: str
    """Output of the containers, one per snapshotter."""


def prove_containers(c: Context, instance: str, **given: Any) -> None:
    """Pull an image, run it with each snapshotter, and print the output.

    Args:
        c: the machine.
        instance: the containerd instance; see `inventory.of`.
        given: settings of the host that were typed: image and registry.

    Raises:
        Pending: with --dry.
        Failed: a container did not run.
    """
    host = inventory.of(c, instance, **given)
    script(host)  # values that are not valid are refused before anything else
    pool = find_pool(c, "", instance)[0].pool
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
