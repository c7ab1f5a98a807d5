"""The proof that was recorded: what ran a container on both snapshotters, and whether that is what there is now."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

if TYPE_CHECKING:
    from fabfile.facts import Query


class Smoke(msgspec.Struct, frozen=True):
    """The record of the last smoke test that passed."""

    setup: str
    """Versions, settings, pool and image that it was made with."""
    state: str
    """What containerd kept then, and on which pool."""
    now: str = ""
    """What it keeps now; empty where containerd does not answer, or was not asked."""

    @property
    def holds(self) -> bool:
        """Whether containerd still keeps what it ran a container from."""
        return self.state == self.now != ""


def functions(query: Query) -> str:
    """The shell function `kept`, one line: what a container runs from, besides programs and settings.

    Files are named by inode and time of birth: databases that were wiped, metadata that was repaired or restored, and a
    pool made anew, are other files. Of a direct pool it is LVM's UUID that changes. The image is named by its digest,
    and is not there once it was removed.
    """
    from fabfile.target import quote

    daemon, dir, pool = query.daemon, query.dir, quote(query.pool)
    files = [f"{dir}/meta", f"{dir}/{query.pool}.db", f"{dir}/metadata.db", daemon.mke2fs]
    files += [f"{daemon.root}/io.containerd.{plugin}" for plugin in DATABASES]
    return rf"""
kept() {{
  # shellcheck disable=SC2046 # its words; what is missing is left out
  set -- $(stat -c '%i,%W' {" ".join(map(quote, files))} 2>/dev/null)
  image=$(timeout 20 {daemon.ctr} images ls {quote(f"name=={query.image}")} </dev/null | awk 'NR > 1 {{ print $3 }}')
  [ -z "$image" ] || echo "$* $(dmsetup info -c --noheadings -o uuid {pool} 2>/dev/null) $image"
}}
"""


DATABASES = ("metadata.v1.bolt/meta.db", "snapshotter.v1.overlayfs/metadata.db")
"""Where containerd keeps images and containers, and its other snapshotter what it has, behind `io.containerd.`."""


def fragment(query: Query) -> str:
    """Print the record and, if the query names the image of the proof, what is kept now."""
    from fabfile.target import quote

    record = quote(query.daemon.record)
    now = f"""{functions(query)}
unit 1 ActiveState; [ "$value" != active ] || echo "now $(kept)"
"""
    return rf"""
[ -r {record} ] || exit 0
while IFS= read -r line; do echo "record $line"; done <{record}
{now if query.image else ""}"""


def parse(text: str) -> Smoke | None:
    """The fact in the fragment's output; None where nothing was proved yet."""
    record = [line.partition(" ")[2] for line in text.splitlines() if line.startswith("record ")]
    now = [line.removeprefix("now ") for line in text.splitlines() if line.startswith("now ")]
    # Version 0.1 recorded the setup alone.
    return Smoke(record[0], " ".join(record[1:]), " ".join(now)) if record else None
