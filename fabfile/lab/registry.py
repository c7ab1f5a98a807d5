"""A real registry beside the machines, with hello-world and busybox in it: Debian's docker-registry on 127.0.0.1."""

from __future__ import annotations

import contextlib
import gzip
import hashlib
import io
import json
import signal
import socket
import tarfile
from collections.abc import Sequence
from pathlib import Path
from time import monotonic, sleep
from typing import Any

from fabfile.errors import Failed
from fabfile.lab import files, process, vm
from fabfile.lab.directory import REGISTRY

IMAGES = {
    "library/hello-world": ("hello", ["/hello"], ()),
    "library/busybox": ("bin/busybox", ["/bin/sh"], ("sh", "cat", "dd", "fsync", "sha256sum", "sleep", "sync", "rm")),
}
"""Image → its one static program, the command, and the names that lead to the program."""

TAG = "latest"
PORT = 15000
"""The registry's port, unless another lab has it."""

PORT_FILE, READY = "port", "ready"
"""Names in its directory: of its port, and of the file that says that its images are in it."""

CONTROLLER = "10.0.2.2"
"""This machine, as qemu's user network shows it to the lab's machines."""

MANIFEST = "application/vnd.docker.distribution.manifest.v2+json"
CONFIG = "application/vnd.docker.container.image.v1+json"
LAYER = "application/vnd.docker.image.rootfs.diff.tar.gzip"


def start(lab: Path, mirror: Path) -> str:
    """Run the lab's registry, unless it runs, and return the address that the machines know it by.

    Raises:
        Failed: it did not start, or did not take the image.
    """
    place = lab / REGISTRY
    if not _runs(place):
        stop(lab)  # it may hang, or have been started by a lab.up that was killed before it pushed the images
        (place / READY).unlink(missing_ok=True)
        try:
            _begin(lab, mirror)
        except BaseException:
            stop(lab)
            raise
        files.write(place / READY, "")
    return f"http://{CONTROLLER}:{(place / PORT_FILE).read_text()}"


def _runs(place: Path) -> bool:
    """Whether the registry runs, has its images and answers."""
    if process.read(place / vm.PROCESS) is None or not (place / READY).exists():
        return False
    try:
        _request("GET", f"http://127.0.0.1:{(place / PORT_FILE).read_text()}/v2/", b"", limit=10)
    except Failed:
        return False
    return True


def _begin(lab: Path, mirror: Path) -> None:
    place = lab / REGISTRY
    port = _port(place)
    place.mkdir(exist_ok=True)
    files.write(place / PORT_FILE, str(port))
    settings = {
        "version": 0.1,
        "log": {"level": "warn"},
        "storage": {"filesystem": {"rootdirectory": str(place / "storage")}},
        "http": {"addr": f"127.0.0.1:{port}"},
    }
    file = place / "config.yml"
    # YAML is a superset of JSON, except that it has no surrogates, and takes DEL only when it is escaped.
    files.write(file, json.dumps(settings, ensure_ascii=False).replace("\x7f", "\\u007f"))
    process.spawn(place / vm.PROCESS, [mirror / "docker-registry", "serve", file], place / "log")
    _wait(place, f"http://127.0.0.1:{port}")
    for image, (program, command, links) in IMAGES.items():
        push(lab, image, [layer(mirror, program, links)], command)


def _port(place: Path) -> int:
    """The port that this registry had, or PORT: whoever knows its address finds it again; else any that is free."""
    earlier = place / PORT_FILE
    for port in (*([int(earlier.read_text())] if earlier.exists() else []), PORT):
        with contextlib.suppress(OSError), socket.create_server(("127.0.0.1", port)):
            return port
    return vm.free_ports(1)[0]


def push(lab: Path, image: str, layers: Sequence[bytes], command: Sequence[str]) -> None:
    """Push an image to the lab's registry, through its own API.

    Args:
        lab: whose registry runs.
        image: its name; the tag is TAG.
        layers: tar archives, the lowest first.
        command: what a container of it runs.

    Raises:
        Failed: the registry did not take it.
    """
    base = f"http://127.0.0.1:{(lab / REGISTRY / PORT_FILE).read_text()}"
    config = json.dumps(
        {
            "architecture": "amd64",
            "os": "linux",
            "config": {"Cmd": list(command), "Env": ["PATH=/bin:/"]},
            "rootfs": {"type": "layers", "diff_ids": [_digest(raw) for raw in layers]},
        }
    ).encode()
    manifest = {
        "schemaVersion": 2,
        "mediaType": MANIFEST,
        "config": {"mediaType": CONFIG, **_blob(base, image, config)},
        "layers": [{"mediaType": LAYER, **_blob(base, image, gzip.compress(raw, 1, mtime=0))} for raw in layers],
    }
    _request("PUT", f"{base}/v2/{image}/manifests/{TAG}", json.dumps(manifest).encode(), MANIFEST)


def layer(mirror: Path, program: str, links: Sequence[str]) -> bytes:
    """A tar archive of the mirror's `program`, and links to it beside it."""
    file, raw = mirror / Path(program).name, io.BytesIO()
    with tarfile.open(fileobj=raw, mode="w") as out:
        info = tarfile.TarInfo(program)
        info.size, info.mode = file.stat().st_size, 0o755
        with file.open("rb") as stream:
            out.addfile(info, stream)
        for name in links:
            link = tarfile.TarInfo(str(Path(program).with_name(name)))
            link.type, link.linkname = tarfile.SYMTYPE, file.name
            out.addfile(link)
    return raw.getvalue()


def stop(lab: Path) -> None:
    """End the lab's registry, and only it."""
    process.end(lab / REGISTRY / vm.PROCESS, signal.SIGTERM, limit=6)


def _digest(data: bytes) -> str:
    return f"sha256:{hashlib.sha256(data).hexdigest()}"


def _blob(base: str, image: str, data: bytes) -> dict[str, Any]:
    """Upload a blob and return what a manifest says of it."""
    digest = _digest(data)
    place = str(_request("POST", f"{base}/v2/{image}/blobs/uploads/", b"").headers["Location"])
    _request("PUT", f"{place}{'&' if '?' in place else '?'}digest={digest}", data)
    return {"size": len(data), "digest": digest}


def _request(method: str, url: str, data: bytes, type: str = "application/octet-stream", limit: float = 30) -> Any:
    from http.client import HTTPException
    from urllib.request import ProxyHandler, Request, build_opener

    request = Request(url, data=data if method != "GET" else None, method=method, headers={"Content-Type": type})
    try:
        return build_opener(ProxyHandler({})).open(request, timeout=limit)  # it is on loopback: never through a proxy
    except (OSError, HTTPException) as error:  # URLError is an OSError; one that hangs is a TimeoutError
        raise Failed(f"the lab's registry did not take {method} {url}", str(error)) from error


def _wait(place: Path, base: str) -> None:
    begin = monotonic()
    while True:
        try:
            _request("GET", f"{base}/v2/", b"", limit=10)
            return
        except Failed as error:
            if process.read(place / vm.PROCESS) is None or monotonic() - begin > 20:
                raise Failed("the lab's registry did not start", (place / "log").read_text()[-2000:]) from error
            sleep(0.1)
