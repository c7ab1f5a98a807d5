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
from fabfile.lab import process
from fabfile.lab.vm import free_ports

IMAGES = {
    "library/hello-world": ("hello", ["/hello"], ()),
    "library/busybox": ("bin/busybox", ["/bin/sh"], ("sh", "cat", "dd", "fsync", "sha256sum", "sleep", "sync", "rm")),
}
"""Image → its one static program, the command, and the names that lead to the program."""

TAG = "latest"
PORT = 15000
"""The registry's port, unless another lab has it."""

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
    directory = lab / ".registry"
    if process.read(directory / "process.json") is None:
        directory.mkdir(exist_ok=True)
        port = _port()
        (directory / "port").write_text(str(port))
        settings = {
            "version": 0.1,
            "log": {"level": "warn"},
            "storage": {"filesystem": {"rootdirectory": str(directory / "storage")}},
            "http": {"addr": f"127.0.0.1:{port}"},
        }
        file = directory / "config.yml"
        file.write_text(json.dumps(settings))  # YAML is a superset of JSON
        process.spawn(directory / "process.json", [mirror / "docker-registry", "serve", file], directory / "log")
        base = f"http://127.0.0.1:{port}"
        _wait(base, directory / "log")
        for image, (program, command, links) in IMAGES.items():
            push(lab, image, [layer(mirror, program, links)], command)
    return f"http://{CONTROLLER}:{(directory / 'port').read_text()}"


def _port() -> int:
    """PORT, so that a machine's disk that is used again finds the registry at its address; else any that is free."""
    with contextlib.suppress(OSError), socket.create_server(("127.0.0.1", PORT)):
        return PORT
    return free_ports(1)[0]


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
    base = f"http://127.0.0.1:{(lab / '.registry' / 'port').read_text()}"
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
    process.end(lab / ".registry" / "process.json", signal.SIGTERM, limit=10)


def _digest(data: bytes) -> str:
    return f"sha256:{hashlib.sha256(data).hexdigest()}"


def _blob(base: str, image: str, data: bytes) -> dict[str, Any]:
    """Upload a blob and return what a manifest says of it."""
    digest = _digest(data)
    place = str(_request("POST", f"{base}/v2/{image}/blobs/uploads/", b"").headers["Location"])
    _request("PUT", f"{place}{'&' if '?' in place else '?'}digest={digest}", data)
    return {"size": len(data), "digest": digest}


def _request(method: str, url: str, data: bytes, type: str = "application/octet-stream") -> Any:
    from urllib.error import URLError
    from urllib.request import ProxyHandler, Request, build_opener

    request = Request(url, data=data if method != "GET" else None, method=method, headers={"Content-Type": type})
    try:
        return build_opener(ProxyHandler({})).open(request, timeout=30)  # it is on loopback: never through a proxy
    except URLError as error:
        raise Failed(f"the lab's registry did not take {method} {url}", str(error)) from error


def _wait(base: str, log: Path) -> None:
    begin = monotonic()
    while True:
        try:
            _request("GET", f"{base}/v2/", b"")
            return
        except Failed as error:
            if monotonic() - begin > 20:
                raise Failed("the lab's registry did not start", log.read_text()[-2000:]) from error
            sleep(0.1)
