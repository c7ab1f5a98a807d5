"""What the inventory should say about a pool that a task has made, changed or adopted."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from fabfile import inventory
from fabfile.console import say
from fabfile.host import Pool


def advise(inventory_says: Pool, made: Pool, keys: Sequence[str], why: str = "other tasks use what is there") -> None:
    """Print the settings of a pool that the inventory should have, if they differ.

    Args:
        inventory_says: the pool as the inventory describes it.
        made: the pool as it is now.
        keys: the settings to compare.
        why: why the inventory should have them.
    """
    now, then = (msgspec.structs.asdict(settings) for settings in (inventory_says, made))
    differ = [f"{key} = {_toml(then[key])}" for key in keys if now[key] != then[key]]
    if differ:
        say(f"set {', '.join(differ)} in its pool in {inventory.load().file}: {why}")


def _toml(value: object) -> str:
    text = msgspec.json.encode(value).decode()  # JSON of strings, numbers and arrays of these is valid TOML
    return text.replace('","', '", "')
