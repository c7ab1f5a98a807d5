"""Download over HTTP, or read from a file, within limits of size, speed and time."""

from __future__ import annotations

import os
import socket
import stat
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from http.client import HTTPConnection, HTTPException, HTTPResponse, HTTPSConnection
from time import monotonic
from typing import IO, Any, Protocol
from urllib import request
from urllib.error import HTTPError
from urllib.parse import urljoin

from fabfile import interruption
from fabfile.artefacts import address
from fabfile.errors import Failed
from fabfile.sizes import human

TIMEOUT = 30
"""Seconds without a byte after which a download is given up, and over which its speed is measured."""

SLOWEST = 8 << 10
"""Bytes per second below which a download is given up."""

WHOLE = 3600
"""Limit for a whole download in seconds."""

BLOCK = 1 << 20
"""Number of bytes read at once."""

HINT = "check the address, or name a mirror that has it: --mirror DIRECTORY or --mirror http://HOST/DIR"
LOGIN = "name user and password in ~/.netrc: machine HOST login USER password PASSWORD"


def blocks(url: str, most: int, begin: Callable[[int | None], None] = lambda length: None) -> Iterator[bytes]:
    """Yield the content at an address in pieces.

    Args:
        url: `http://`, `https://` or `file://`; the usual proxy variables are respected.
        most: limit for its size in bytes.
        begin: called before the first piece, with the announced length or None.

    Raises:
        Failed: it cannot be downloaded, is larger than `most`, is too slow or incomplete, or redirects to a weaker
            protocol.
    """
    with Watch() as watch, interruption.cut_by(partial(watch.end, "interrupted")):
        try:
            with _opened(url, watch) as (stream, length):
                if length is not None and length > most:
                    raise Failed(f"{url} is too large", f"{length} bytes, at most {most}", hint=HINT)
                begin(length)
                while length is None or watch.size < length:
                    block = stream.read1(BLOCK)
                    if not block:
                        break
                    watch.size += len(block)
                    if watch.size > most:
                        raise Failed(f"{url} is too large", f"more than {most} bytes came", hint=HINT)
                    yield block
                if length is not None and watch.size != length and not watch.reason:
                    raise Failed(f"{url} is incomplete", f"{watch.size} of {length} bytes arrived", hint="run it again")
        except HTTPError as error:
            error.close()
            hint = LOGIN if error.code in (401, 403) else HINT
            raise Failed(f"cannot download {url}", f"HTTP {error.code} {error.reason:.200}", hint=hint) from error
        except (HTTPException, OSError, ValueError) as error:  # URLError is an OSError
            why = watch.reason or f"{getattr(error, 'reason', error)!s:.500}" or type(error).__name__
            raise Failed(f"cannot download {url}", why, hint=HINT) from error
        if watch.reason:
            raise Failed(f"cannot download {url}", watch.reason, hint=HINT)


class Watch:
    """Watches one download from another thread, and ends its connections if it is too slow or takes too long.

    The socket's own timeout would start again with every byte.
    """

    def __init__(self) -> None:
        self.size = 0
        """Number of bytes received."""
        self.reason = ""
        """Why it was ended."""
        self._held: list[socket.socket] = []
        self._lock, self._over = threading.Lock(), threading.Event()
        self._thread = threading.Thread(target=self._look, daemon=True)

    def __enter__(self) -> Watch:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join()
        for held in self._held:
            held.close()

    def connect(self, *args: Any) -> socket.socket:
        """Like `socket.create_connection`, for a connection to be watched."""
        connection = socket.create_connection(*args)
        with self._lock:
            self._held.append(connection.dup())  # TLS takes the socket away from its first owner
            if self.reason:
                _end(connection)
        return connection

    def _look(self) -> None:
        start, before = monotonic(), 0
        while not self._over.wait(TIMEOUT):
            if monotonic() - start > WHOLE:
                why = f"it took longer than {WHOLE} s"
            elif self.size - before < TIMEOUT * SLOWEST:
                why = f"timed out: less than {human(SLOWEST)} a second came for {TIMEOUT} s"
            else:
                before = self.size
                continue
            return self.end(why)
        return None

    def end(self, why: str) -> None:
        """End its connections."""
        with self._lock:
            self.reason = why
            for held in self._held:
                _end(held)


def content_length(values: list[str]) -> int | None:
    """Return the length in the Content-Length headers of a response; None if there is none.

    Raises:
        ValueError: they are not numbers, or differ.
    """
    wanted = set(values)
    if not wanted:
        return None
    text = wanted.pop().strip(" \t")
    if wanted or not text.isascii() or not text.isdigit() or len(text) > 18:
        raise ValueError(f"the server announces a length that is no number: {', '.join(values)!r:.100}")
    return int(text)


class _Readable(Protocol):
    def read1(self, size: int, /) -> bytes: ...


@contextmanager
def _opened(url: str, watch: Watch) -> Iterator[tuple[_Readable, int | None]]:
    if url.startswith("file:"):
        # A FIFO without a writer must not block us.
        with os.fdopen(os.open(address.file_path(url), os.O_RDONLY | os.O_NONBLOCK), "rb") as file:
            status = os.fstat(file.fileno())
            if not stat.S_ISREG(status.st_mode):
                raise OSError(f"not a regular file: {address.file_path(url)}")
            yield file, None
        return
    opener = request.OpenerDirector()
    for handler in (
        request.ProxyHandler(), _Http(watch), _Https(watch), _Redirect(), request.HTTPDefaultErrorHandler(),
        request.HTTPErrorProcessor(), request.UnknownHandler(),
    ):  # fmt: skip
        opener.add_handler(handler)
    with opener.open(_authorized(request.Request(url), address.authorization(url)), timeout=TIMEOUT) as answer:
        length = None if answer.chunked else content_length(answer.headers.get_all("Content-Length") or [])
        yield answer, length


def _authorized(wanted: request.Request, value: str) -> request.Request:
    if value:
        wanted.add_unredirected_header("Authorization", value)  # it must not be sent to another server
    return wanted


class _Plain(HTTPConnection):
    def __init__(self, host: str, watch: Watch, **options: Any) -> None:
        super().__init__(host, **options)
        self._create_connection = watch.connect


class _Secure(HTTPSConnection):
    def __init__(self, host: str, watch: Watch, **options: Any) -> None:
        super().__init__(host, **options)
        self._create_connection = watch.connect


class _Http(request.HTTPHandler):
    def __init__(self, watch: Watch) -> None:
        super().__init__()
        self.watch = watch

    def http_open(self, req: request.Request) -> HTTPResponse:
        return self.do_open(partial(_Plain, watch=self.watch), req)


class _Https(request.HTTPSHandler):
    def __init__(self, watch: Watch) -> None:
        super().__init__()
        self.watch = watch

    def https_open(self, req: request.Request) -> HTTPResponse:
        return self.do_open(partial(_Secure, watch=self.watch), req)


class _Redirect(request.HTTPRedirectHandler):
    """Redirects only to the same or a stronger protocol, and sends a password only to its own server."""

    def redirect_request(
        self, req: request.Request, fp: IO[bytes], code: int, msg: str, headers: Any, newurl: str
    ) -> request.Request | None:
        fp.close()  # otherwise its whole body would be read
        to = urljoin(req.full_url, newurl)
        if not address.may_lead(req.full_url, to):
            raise ValueError(f"it leads to a weaker or another protocol: {to.partition('?')[0]!r:.200}")
        new = super().redirect_request(req, fp, code, msg, headers, newurl)
        if new is None:
            return None
        own = req.get_header("Authorization", "") if address.same_server(req.full_url, to) else ""
        return _authorized(new, own or address.authorization(new.full_url, redirected=True))


def _end(connection: socket.socket) -> None:
    try:
        connection.shutdown(socket.SHUT_RDWR)
    except OSError:
        return  # it has ended already
