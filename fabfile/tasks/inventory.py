"""Show the settings of hosts, and convert the inventory from and to other tools."""

from __future__ import annotations

from typing import Annotated, Literal

from invoke import Context

from fabfile.cli.task import task
from fabfile.option import about


@task(answers="fabfile.steps.origin:Setting[]", read_only=True, record=False)
def show(c: Context) -> None:
    """Show the settings of a host, and where each value comes from; no connection is made."""
    from fabfile.steps.origin import show_settings

    show_settings(c)


@task(name="import", positional=["file"], here=True, answers="fabfile.exchange.importing:Imported", record=False)
def import_(
    c: Context,
    file: Annotated[str, about("Ansible inventory to read, in INI notation or YAML")],
    output: Annotated[str, about("file to write; by default standard output")] = "",
    yes: Annotated[bool, about("consent to replace the file to write, if it exists")] = False,
) -> None:
    """Print an Ansible inventory as a hosts.toml; what it cannot represent is listed on standard error."""
    from fabfile.exchange.importing import import_inventory

    import_inventory(c, file, output, yes=yes)


@task(here=True, answers="fabfile.exchange.exporting:Exported", read_only=True)
def export(
    c: Context,
    format: Annotated[
        Literal["ansible", "ssh-config"], about("an Ansible inventory in YAML, or ssh_config(5)")
    ] = "ansible",
) -> None:
    """Print hosts.toml for another tool: its hosts, groups and connection settings."""
    from fabfile.exchange.exporting import export_inventory

    export_inventory(format)
