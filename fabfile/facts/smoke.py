"""The recorded result of the last smoke test that passed, and whether it still applies."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

if TYPE_CHECKING:
    from fabfile.facts.query import Query


class Smoke(msgspec.Struct, frozen=True):
    """The record of the last smoke test that passed."""

    setup: str
    """Versions, settings, pool and image of that test."""
    state: str
    """What containerd stored at that time, and on which pool."""
    now: str = ""
    """What it stores now; empty if containerd does not run, or was not asked."""

    @property
    def holds(self) -> bool:
        """Whether containerd still stores what the test ran a container from."""
        return self.state == self.now != ""


def functions(query: Query) -> str:
    """The shell function `stored`, which prints in one line what a container runs from besides programs and settings.

    Its argument is the UUID of the pool's device; LVM's changes if the pool is created again. Files are identified by
    inode and time of birth, which change if databases are wiped, metadata is repaired or restored, or a loop pool is
    created again. The image is identified by its digest, and is missing once it was removed.
    """
    from fabfile.shell import quote

    daemon, dir = query.daemon, query.dir
    files = [f"{dir}/meta", f"{dir}/{query.pool}.db", f"{dir}/metadata.db", daemon.mke2fs_path]
    files += [f"{daemon.root}/io.containerd.{plugin}" for plugin in DATABASES]
    return rf"""
stored() {{
  uuid=$1
  # shellcheck disable=SC2046 # one word per file; missing files are left out
  set -- $(stat -c '%i,%W' {" ".join(map(quote, files))} 2>/dev/null)
  image=$(timeout 20 {daemon.ctr} images ls {quote(f"name=={query.image}")} </dev/null | awk 'NR > 1 {{ print $3 }}')
  [ -z "$image" ] || echo "$* $uuid $image"
}}
"""


DATABASES = ("metadata.v1.bolt/meta.db", "snapshotter.v1.overlayfs/metadata.db")
"""Databases of images and containers, and of the other snapshotter, without their prefix `io.containerd.`."""


def fragment(query: Query) -> str:
    """Print the record and, if the query names the image of the proof, what is stored now."""
    from fabfile.shell import quote

    record = quote(query.daemon.smoke_record_path)
    now = f"""{functions(query)}
unit 1 ActiveState; [ "$value" != active ] || echo "now $(stored "${{held#*:*:*:}}")"
"""
    return rf"""
[ -r {record} ] || exit 0
while IFS= read -r part; do echo "record $part"; done <{record}
{now if query.image else ""}"""


def parse(text: str) -> Smoke | None:
    """Parse the fragment's output; None if no test has passed yet."""
    record = [line.partition(" ")[2] for line in text.splitlines() if line.startswith("record ")]
    now = [line.removeprefix("now ") for line in text.splitlines() if line.startswith("now ")]
    # Version 0.1 recorded only the setup.
    return Smoke(record[0], " ".join(record[1:]), " ".join(now)) if record else None
