"""The lab's mirror: what the product downloads, made from Debian packages, under the names that it expects."""

from __future__ import annotations

import hashlib
import os
import shutil
import zipfile
from pathlib import Path
from time import monotonic

from fabfile import paths
from fabfile.apply import sha256
from fabfile.console import say
from fabfile.lab import suites, tools
from fabfile.lab.progress import progress
from fabfile.paths import REPOSITORY
from fabfile.releases import locked
from fabfile.render import render

SUITE = "bookworm"
"""Always this one, so that a controller of any generation gets the same."""

GO = "1.19"

OPTIONS = (
    "--variant=custom",
    "--skip=cleanup",
    '--aptopt=Acquire::Languages "none"',
    """--setup-hook=sed 's/^deb /deb-src /' "$1/etc/apt/sources.list" >"$1/etc/apt/sources.list.d/source.list\"""",
)


def build() -> Path:
    """Make the mirror, or find it in the cache; return its directory.

    Raises:
        Failed: a package could not be had, or the mirror could not be made of them.
    """
    hello = REPOSITORY / "templates" / "lab" / "hello.go"
    script = render("lab/mirror.sh.j2", go=GO)
    parts = [SUITE, *OPTIONS, script, hello.read_text()]
    digest = hashlib.sha256("\0".join(parts).encode()).hexdigest()[:16]
    wanted = paths.cache() / "mirrors" / digest
    with locked(wanted):
        if wanted.exists():
            say("mirror: cached")
        else:
            start = monotonic()
            with progress("mirror: building from Debian packages, about half a minute"):
                _build(wanted, script, hello)
            say(f"mirror: built  {monotonic() - start:.1f} s")
    return wanted


def _build(wanted: Path, script: str, hello: Path) -> None:
    for left in wanted.parent.glob(f".{wanted.name}.*.part"):
        shutil.rmtree(left, ignore_errors=True)
    # A name of its own: one who waited for a build that was killed begins while the last of its processes still ends.
    part = wanted.with_name(f".{wanted.name}.{os.getpid()}.part")
    part.mkdir()
    hook, tree, log = part / "hook", part / "tree", wanted.with_name(f".{wanted.name}.log")
    log.unlink(missing_ok=True)
    hook.mkdir()
    make = hook / "mirror.sh"
    make.write_text(script)
    make.chmod(0o755)
    shutil.copyfile(hello, hook / hello.name)
    options = (*OPTIONS, f"--customize-hook={make}")
    tools.run(*tools.PRIVATE_MOUNTS, "mmdebstrap", *options, SUITE, tree, suites.mirror(), log=log)
    _arrange(tree / "out", part)
    for done in (hook, tree):
        shutil.rmtree(done)
    part.rename(wanted)


def _arrange(out: Path, mirror: Path) -> None:
    """Give what was made the names of releases.toml, and write down versions and digests."""
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
    table = {part: {versions[part]: {"amd64": sha256(mirror / names[part])}} for part in names}
    ref = f"refs/tags/v{versions['containerd']}"
    source = {"ref": ref, "commit": (out / "commit").read_text().strip(), "mode": "gopath"}
    document = {**table, "containerd": {versions["containerd"]: source}, "set": {"lab": versions}}
    (mirror / "releases.toml").write_text(toml.dumps(document))


def _zip(tree: Path, archive: Path) -> None:
    with zipfile.ZipFile(archive, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as out:
        for path in sorted(tree.rglob("*")):
            info = zipfile.ZipInfo.from_file(path, str(path.relative_to(tree)))
            info.date_time = (1980, 1, 1, 0, 0, 0)  # so that the same packages give the same digest
            if path.is_file():
                out.writestr(info, path.read_bytes(), zipfile.ZIP_DEFLATED, 1)
