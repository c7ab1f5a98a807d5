"""Host keys, and connections that are kept between runs of fab; for inv only."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Any

from invoke import Context

from fabfile.cli.task import task
from fabfile.host import Host
from fabfile.option import about
from fabfile.trust import check_fingerprint


@task(positional=["hosts"], settings=[(Host, ("known_hosts",))], answers="fabfile.trust:Trusted[]")
def trust(
    c: Context,
    hosts: Annotated[str, about("hosts to trust, selected as with fab -H")],
    fingerprint: Annotated[
        Sequence[str], about("fingerprint of a key to record, without a question", check=check_fingerprint)
    ] = (),
    yes: Annotated[bool, about("consent to record every key that is shown, without a question")] = False,
    **given: Any,
) -> None:
    """Show the host keys of hosts that are not known yet, and record them once you have compared the fingerprints."""
    from fabfile.trust import trust_hosts

    trust_hosts(c, hosts, fingerprint, yes=yes, **given)


@task(answers="fabfile.ssh_close:Closed")
def close(c: Context) -> None:
    """End all connections that ssh keeps between runs (keep_connection in hosts.toml)."""
    from fabfile.ssh_close import close_connections

    close_connections(c)
