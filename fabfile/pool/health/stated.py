"""The settings that the inventory must have for an existing pool, so that the next deploy requests this very pool."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import msgspec

from fabfile import hints, inventory, paths, sizes
from fabfile.console import say
from fabfile.errors import Refused
from fabfile.facts.record import LoopRecord, LvmRecord, Record
from fabfile.host import DEPLOY_OPTIONS, DIRECT_OPTIONS, LOOP_OPTIONS, Host, Pool
from fabfile.instance import DEFAULT, Daemon
from fabfile.option import options
from fabfile.output.outcome import Outcome
from fabfile.pool import limits

KEYS = {"loop": ("variant", *LOOP_OPTIONS), "direct": ("variant", *DIRECT_OPTIONS)}
"""Variant → the settings of a pool that its creation takes."""


def stock(instance: str) -> Pool:
    """Return the pool that the inventory describes for a containerd instance of this machine; empty: the default."""
    return inventory.on_instance(hints.invocation().host, instance or DEFAULT).pool


def state(instance: str, settings: Mapping[str, Any]) -> str:
    """Return how to have the deploys of a containerd take these settings of its pool, as an imperative.

    Args:
        instance: the containerd instance; empty: the default one. A pool in the inventory is that of one instance, and
            most of what is said there applies to all others as well, so those need another way.
        settings: key in hosts.toml → value.
    """
    file, own = paths.inventory(), inventory.on_instance(hints.invocation().host).instance
    said = ", ".join(f"{key} = {_toml(value)}" for key, value in settings.items())
    if instance == own:
        return f"set {said} in its pool in {file}"
    if settings.keys() <= {*DEPLOY_OPTIONS}:
        flags = [
            word
            for key, value in settings.items()
            for one in (value if isinstance(value, tuple) else [value])
            for word in (options(Pool)[key].flag, one)
        ]
        return f"deploy {Daemon(instance)} as {hints.command('deploy', instance, '', *flags)}"
    return (
        f"for {Daemon(instance)} alone, name a copy of {file} by HOSTS_FILE, and there set instance = "
        f'"{instance or DEFAULT}" for the host and {said} in its pool'
    )


def note(instance: str, settings: Mapping[str, Any], why: str) -> None:
    """Print how to state settings, and why: because of `why`, or as the inventory is about another instance."""
    own = inventory.on_instance(hints.invocation().host).instance
    way = state(instance, settings)
    say(f"{way}: {why}" if instance == own else f"{paths.inventory()} has the pool of {Daemon(own)}: {way}")


def advise(made: Host) -> None:
    """Print how to state the settings of a pool that was created or changed, as far as the inventory has others.

    Args:
        made: the machine, with the pool as created.
    """
    now, then = (msgspec.structs.asdict(settings) for settings in (stock(made.instance), made.pool))
    if differ := {key: then[key] for key in KEYS[made.pool.variant] if now[key] != then[key]}:
        note(made.instance, differ, "other tasks use what is there")


def advise_changed(made: Host, outcomes: Iterable[Outcome]) -> None:
    """Call `advise` if one of these steps created or changed the pool."""
    if any(one.status == "changed" for one in outcomes if one.step == f"pool.{made.pool.variant}"):
        advise(made)


def unlike_inventory(name: str, recorded: Record) -> dict[str, Any]:
    """Return the settings of an existing pool that the inventory must have, and lacks or has with other values.

    Args:
        name: the pool's name.
        recorded: its record.

    Returns:
        Key in hosts.toml → value.
    """
    said = stock(recorded.instance)
    made = _direct(recorded, said) if isinstance(recorded, LvmRecord) else _loop(name, recorded, said)
    return {key: value for key, value in made.items() if value != getattr(said, key)}


def _direct(recorded: LvmRecord, said: Pool) -> dict[str, Any]:
    made: dict[str, Any] = {
        "variant": "direct", "vg": recorded.vg, "lv": recorded.lv, "data_percent": recorded.data_percent,
        "meta_size": recorded.meta_size,
    }  # fmt: skip
    if _bytes(said.chunk_size) != recorded.chunk_bytes:
        made["chunk_size"] = sizes.show(recorded.chunk_bytes)
    return {key: value for key, value in made.items() if value is not None}  # an earlier version did not record all


def _loop(name: str, recorded: LoopRecord, said: Pool) -> dict[str, Any]:
    made = {"variant": "loop", "name": name, "dir": recorded.dir}
    if not _has_sizes(recorded, _bytes(said.size), said.meta_size):
        size, meta = recorded.asked_bytes[-1], recorded.asked_meta_bytes[-1]
        made["size"] = said.size if _bytes(said.size) == size else sizes.show(size)
        made["meta_size"] = "" if _has_sizes(recorded, size, "") else sizes.show(meta)
    if _bytes(said.block_size) != recorded.block:
        made["block_size"] = sizes.show(recorded.block)
    return made


def _has_sizes(recorded: LoopRecord, data: int, meta: str) -> bool:
    """Whether these sizes were requested; an empty `meta` is computed, by earlier versions in another way."""
    computed = {limits.metadata_size(data, recorded.block), limits.earlier_size(data, recorded.block)}
    wanted = {_bytes(meta)} if meta else computed
    return data in recorded.asked_bytes and not wanted.isdisjoint(recorded.asked_meta_bytes)


def _bytes(text: str) -> int:
    """The size in bytes; 0 if it is none, such as a percentage."""
    try:
        return sizes.parse(text)
    except Refused:
        return 0


def _toml(value: object) -> str:
    text = msgspec.json.encode(value).decode()  # JSON of strings, numbers and arrays of these is valid TOML
    return text.replace('","', '", "')
