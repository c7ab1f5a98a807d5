"""A registry beside the machines, with the images hello-world and busybox: Debian's docker-registry on 127.0.0.1."""

from __future__ import annotations

import gzip
import hashlib
import io
import json
import signal
import socket
import tarfile
import uuid
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
"""Image → its static program, its command, and the names of links to the program."""

TAG = "latest"
PORT = 15000
"""The registry's port, unless another lab uses it."""

ATTEMPTS = 3
"""Number of ports to try, as another lab may take a port right after it was found to be free."""

PORT_FILE, NAME_FILE, READY = "port", "name", "ready"
"""Names of files in its directory: its port, its name, and one that exists once its images are complete."""

NAME_HEADER = "Containerd-Devmapper-Registry"
"""Header of its responses with its random name: another lab's registry may respond at its port."""

CONTROLLER = "10.0.2.2"
"""This machine's address in qemu's user network."""

MANIFEST = "application/vnd.docker.distribution.manifest.v2+json"
CONFIG = "application/vnd.docker.container.image.v1+json"
LAYER = "application/vnd.docker.image.rootfs.diff.tar.gzip"


def start(lab: Path, mirror: Path) -> str:
    """Run the lab's registry, unless it runs already.

    Args:
        lab: the lab's directory.
        mirror: directory of the mirror, which has the programs.

    Returns:
        Its address, as seen from the machines.

    Raises:
        Failed: it did not start, or did not accept an image.
    """
    place = lab / REGISTRY
    if not _runs(place):
        stop(lab)  # it may hang, or be left by a lab.up that was killed before it pushed the images
        (place / READY).unlink(missing_ok=True)
        try:
            _begin(lab, mirror)
        except BaseException:
            stop(lab)
            raise
        files.write(place / READY, "")
    return f"http://{CONTROLLER}:{(place / PORT_FILE).read_text()}"


def _runs(place: Path) -> bool:
    """Whether the registry runs, has its images, and responds."""
    if process.read(place / vm.PROCESS) is None or not (place / READY).exists():
        return False
    try:
        return _responds(place)
    except Failed:
        return False


def _responds(place: Path) -> bool:
    """Whether the registry that responds at the port is this one.

    Raises:
        Failed: none responds.
    """
    response = _request("GET", f"http://127.0.0.1:{(place / PORT_FILE).read_text()}/v2/", b"", limit=10)
    name = place / NAME_FILE
    return name.exists() and response.headers[NAME_HEADER] == name.read_text()


def _begin(lab: Path, mirror: Path) -> None:
    place = lab / REGISTRY
    place.mkdir(exist_ok=True)
    for left in reversed(range(ATTEMPTS)):
        port = _port(place)
        try:
            _serve(place, mirror, port)
            break
        except Failed:
            stop(lab)
            if not left or _is_free(port):  # then the port is not the reason
                raise
    for image, (program, command, links) in IMAGES.items():
        push(lab, image, [layer(mirror, program, links)], command)


def _serve(place: Path, mirror: Path, port: int) -> None:
    """Start it at a port, under a new name, and wait for it."""
    name = uuid.uuid4().hex
    files.write(place / PORT_FILE, str(port))
    files.write(place / NAME_FILE, name)
    settings = {
        "version": 0.1,
        "log": {"level": "warn"},
        "storage": {"filesystem": {"rootdirectory": str(place / "storage")}},
        "http": {"addr": f"127.0.0.1:{port}", "headers": {NAME_HEADER: [name]}},
    }
    file = place / "config.yml"
    # YAML is a superset of JSON, except for surrogates, and for DEL, which must be escaped.
    files.write(file, json.dumps(settings, ensure_ascii=False).replace("\x7f", "\\u007f"))
    process.spawn(place / vm.PROCESS, [mirror / "docker-registry", "serve", file], place / "log")
    _wait(place)


def _port(place: Path) -> int:
    """The port that this registry had before, or PORT, so that its address stays the same; or else any free one."""
    earlier = place / PORT_FILE
    for port in (*([int(earlier.read_text())] if earlier.exists() else []), PORT):
        if _is_free(port):
            return port
    return vm.free_ports(1)[0]


def _is_free(port: int) -> bool:
    try:
        socket.create_server(("127.0.0.1", port)).close()
    except OSError:
        return False
    return True


def push(lab: Path, image: str, layers: Sequence[bytes], command: Sequence[str]) -> None:
    """Push an image to the lab's registry.

    Args:
        lab: the lab's directory.
        image: name of the image; its tag is `TAG`.
        layers: tar archives, the lowest layer first.
        command: what a container of it runs.

    Raises:
        Failed: the registry did not accept it.
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
    """Return a tar archive with a program of the mirror, and links to it in the same directory."""
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
    """Stop the lab's registry."""
    process.end(lab / REGISTRY / vm.PROCESS, signal.SIGTERM, limit=6)


def _digest(data: bytes) -> str:
    return f"sha256:{hashlib.sha256(data).hexdigest()}"


def _blob(base: str, image: str, data: bytes) -> dict[str, Any]:
    """Upload a blob, and return its entry for a manifest."""
    digest = _digest(data)
    place = str(_request("POST", f"{base}/v2/{image}/blobs/uploads/", b"").headers["Location"])
    _request("PUT", f"{place}{'&' if '?' in place else '?'}digest={digest}", data)
    return {"size": len(data), "digest": digest}


def _request(method: str, url: str, data: bytes, type: str = "application/octet-stream", limit: float = 30) -> Any:
    from http.client import HTTPException
    from urllib.request import ProxyHandler, Request, build_opener

    request = Request(url, data=data if method != "GET" else None, method=method, headers={"Content-Type": type})
    try:
        return build_opener(ProxyHandler({})).open(request, timeout=limit)  # it is on loopback
    except (OSError, HTTPException) as error:  # URLError is an OSError; a request that hangs raises TimeoutError
        raise Failed(f"the lab's registry did not take {method} {url}", str(error)) from error


def _wait(place: Path) -> None:
    begin = monotonic()
    while True:
        try:
            if _responds(place):
                return
            why = "another registry responds at its port"
        except Failed as error:
            why = error.details
        if process.read(place / vm.PROCESS) is None or monotonic() - begin > 20:
            raise Failed("the lab's registry did not start", f"{why}\n{(place / 'log').read_text()[-2000:]}")
        sleep(0.1)
