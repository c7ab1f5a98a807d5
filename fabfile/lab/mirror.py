"""The lab's mirror: what a deploy downloads, made from Debian packages, under the names that it expects."""

from __future__ import annotations

import hashlib
import shutil
import zipfile
from collections.abc import Sequence
from pathlib import Path

from fabfile import paths
from fabfile.artefacts.cache_files import sha256
from fabfile.console import say
from fabfile.lab import files, store, suites, tools
from fabfile.paths import REPOSITORY
from fabfile.render import render

SUITE = "bookworm"
"""The usual one, so that every controller gets the same content."""

MODES = {"bookworm": "gopath"}
"""Suite → how its containerd is built; those not listed: as a module."""

TABLE = "digest and size of each file"
"""What its releases.toml contains."""

PROGRAMS = ("releases.toml", "docker-registry", "hello", "busybox")
"""Files whose content is verified at each use; releases.toml has digests of the others, and git has its own."""

OPTIONS = (
    "--variant=custom",
    "--skip=cleanup",
    '--aptopt=Acquire::Languages "none"',
    """--setup-hook=sed 's/^deb /deb-src /' "$1/etc/apt/sources.list" >"$1/etc/apt/sources.list.d/source.list\"""",
)


def build(suite: str = SUITE) -> Path:
    """Find the mirror in the cache, or build it.

    Args:
        suite: name of the Debian generation whose packages it is made from.

    Returns:
        Its directory.

    Raises:
        Failed: a package could not be downloaded, or the mirror could not be made.
    """
    hello = REPOSITORY / "templates" / "lab" / "hello.go"
    mode = MODES.get(suite, "module")
    script = render(f"lab/mirror/{mode}.sh.j2")
    options = (*OPTIONS, *suites.SUITES[suite])
    parts = [suite, *options, script, hello.read_text(), TABLE, store.FORMAT]
    digest = hashlib.sha256("\0".join(parts).encode()).hexdigest()[:16]
    wanted = paths.cache() / "mirrors" / digest

    def make(part: Path, log: Path) -> None:
        _make(part, log, suite, options, script, hello)
        _arrange(part / "tree" / "out", part, mode)
        for done in ("hook", "tree"):
            files.remove(part / done)

    took = store.find(wanted, make, "mirror: building from Debian packages, about half a minute", PROGRAMS)
    say("mirror: cached" if took is None else f"mirror: built  {took:.1f} s")
    return wanted


def _make(part: Path, log: Path, suite: str, options: Sequence[str], script: str, hello: Path) -> None:
    (hook := part / "hook").mkdir()
    make = hook / "mirror.sh"
    make.write_text(script)
    make.chmod(0o755)
    shutil.copyfile(hello, hook / hello.name)
    options = (*options, f"--customize-hook={tools.ASIDE / hook.name / make.name}")
    suites.make(part, "mmdebstrap", *options, suite, tree=part / "tree", log=log)


def _arrange(out: Path, mirror: Path, mode: str) -> None:
    """Rename what was built as in releases.toml, and write versions and digests."""
    import toml

    versions = dict(line.split() for line in (out / "versions").read_text().splitlines())
    files = toml.loads((REPOSITORY / "releases.toml").read_text())["file"]
    names = {
        part: files[part].format(version=versions[part], arch="amd64", machine="x86_64")
        for part in ("go", "protoc", "runc")
    }
    (out / "go.tar.gz").rename(mirror / names["go"])
    (out / "runc").rename(mirror / names["runc"])
    _zip(out / "protoc", mirror / names["protoc"])
    for name in ("containerd.git", "docker-registry", "hello", "busybox"):
        (out / name).rename(mirror / name)
    table = {part: {versions[part]: {"amd64": _described(mirror / names[part])}} for part in names}
    ref = f"refs/tags/v{versions['containerd']}"
    source = {"ref": ref, "commit": (out / "commit").read_text().strip(), "mode": mode}
    document = {**table, "containerd": {versions["containerd"]: source}, "set": {"lab": versions}}
    (mirror / "releases.toml").write_text(toml.dumps(document))


def _described(file: Path) -> dict[str, str | int]:
    return {"sha256": sha256(file), "size": file.stat().st_size}


def _zip(tree: Path, archive: Path) -> None:
    with zipfile.ZipFile(archive, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as out:
        for path in sorted(tree.rglob("*")):
            info = zipfile.ZipInfo.from_file(path, str(path.relative_to(tree)))
            info.date_time = (1980, 1, 1, 0, 0, 0)  # so that the same packages always give the same digest
            if path.is_file():
                out.writestr(info, path.read_bytes(), zipfile.ZIP_DEFLATED, 1)
