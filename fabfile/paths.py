"""Where things are kept on the controller, outside the repository except for the lab's own state."""

from __future__ import annotations

import os
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parent.parent


def cache() -> Path:
    """Expensive things under a digest: artefacts, builds, lab images. Safe to delete at any time."""
    base = os.environ.get("XDG_CACHE_HOME") or str(Path.home() / ".cache")
    return Path(base) / "containerd-devmapper"


def lab() -> Path:
    """State of the running lab: inventory, keys, overlays, process ids. LAB_DIR names another place."""
    # Path.resolve() raises where links go round in circles.
    return Path(os.path.realpath(os.environ.get("LAB_DIR") or REPOSITORY / ".lab"))


def inventory() -> Path:
    """hosts.toml, or the file that HOSTS_FILE names."""
    return Path(os.environ.get("HOSTS_FILE") or REPOSITORY / "hosts.toml")
