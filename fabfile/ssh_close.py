"""ssh.close: end the connections that OpenSSH keeps between runs."""

from __future__ import annotations

from typing import Literal

import msgspec

from fabfile import paths
from fabfile.console import plural, say
from fabfile.errors import Failed, Pending
from fabfile.output.outcome import Outcome, note, result
from fabfile.remote.context import Context
from fabfile.remote.target import is_dry


class Closed(msgspec.Struct, frozen=True):
    """What ssh.close has ended, or would end with --dry."""

    connections: int
    """Number of the connections."""


def close_connections(c: Context) -> None:
    """End all connections that are kept.

    Args:
        c: the controller; with --dry nothing is ended.

    Raises:
        Pending: with --dry, there are connections.
        Failed: others can use the directory of the sockets, or a process of ssh does not answer.
    """
    from fabfile.ssh import master  # slow to import, which `inv --list` should not wait for
    from fabfile.ssh.multiplex import Unusable

    try:
        count = master.end_all(dry=is_dry(c)) if paths.sockets().is_dir() else 0
    except (Unusable, OSError) as error:
        hint = "see which processes of ssh there are: ps -C ssh -o pid,args"
        raise Failed("the connections are not all ended", str(error), hint=hint) from error
    result(Closed(count))
    text = plural(count, "connection")
    if not count:
        _tell("ok", "none is kept")
    elif is_dry(c):
        _tell("pending", f"end {text}")
        raise Pending
    else:
        _tell("changed", f"ended {text}")


def _tell(status: Literal["ok", "changed", "pending"], reason: str) -> None:
    note(Outcome("ssh.close", status, reason, 0))
    say(f"{status}: {reason}")
