"""~/.ssh/config: checked before Fabric reads it, so that an error names the file; and what it sets for a host."""

from __future__ import annotations

from collections.abc import Container
from pathlib import Path
from typing import Any

import msgspec
from paramiko.config import SSHConfig
from paramiko.ssh_exception import CouldNotCanonicalize, SSHException

from fabfile.console import shown
from fabfile.errors import Refused
from fabfile.host import Host

FILES = ("~/.ssh/config", "/etc/ssh/ssh_config")


def check(named: str | None) -> None:
    """Check that the configuration of ssh can be read.

    Args:
        named: the file given with --ssh-config; None: check those in `FILES`.

    Raises:
        Refused: a file cannot be read or parsed.
    """
    for name in (named,) if named else FILES:
        file = Path(name)
        try:
            file = file.expanduser()
            if not file.exists() and not named:
                continue
            SSHConfig.from_text(file.read_text())
        except (OSError, UnicodeDecodeError, RuntimeError) as error:  # RuntimeError: the home of an unknown user
            raise Refused(f"cannot read {file}", str(error), hint="--ssh-config names another one") from error
        except (SSHException, ValueError, LookupError) as error:
            hint = f"see what ssh says of it: ssh -G -F {file} localhost"
            raise Refused(f"{file} cannot be read", str(error), hint=hint) from error


def applied(host: Host, said: Container[str], config: Any) -> Host:
    """Return the host with the port and user from ~/.ssh/config, unless the inventory sets them.

    Args:
        host: a host of the inventory.
        said: the keys that the inventory sets for the host.
        config: Fabric's configuration, which has read the file.

    Raises:
        Refused: the file has an invalid port, or cannot be evaluated for this host.
    """
    try:
        found = config.base_ssh_config.lookup(host.address)
    except (SSHException, CouldNotCanonicalize, ValueError) as error:
        raise Refused(f"~/.ssh/config: {host.address} cannot be looked up", str(error)) from error
    port, user = found.get("port", ""), found.get("user", "")
    changes: dict[str, Any] = {}
    if port and "port" not in said:
        if not port.isdecimal() or not 0 < int(port) < 65536:
            raise Refused(f"~/.ssh/config: Port {shown(port)} of {host.address} is not a port", "1 to 65535")
        changes["port"] = int(port)
    if user and "user" not in said:
        changes["user"] = user
    return msgspec.structs.replace(host, **changes)
