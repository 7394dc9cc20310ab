"""The browser's client, out of an installed npm package.

Files are read and compressed in a thread when they are first asked for, and kept.
"""

import hashlib
import logging
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Final, NamedTuple

import trio

from trio_socketio.errors import ConfigurationError
from trio_socketio.http.content_coding import CODINGS, choose_coding, encode_content

if TYPE_CHECKING:
    from trio_socketio.engine.hooks import HookWorkers
    from trio_socketio.http.cors import Cors
    from trio_socketio.http.request import Request
    from trio_socketio.runtime.poller import Poller

log = logging.getLogger(__name__)

FILES: Final = tuple(
    name + suffix
    for name in (
        "socket.io.js",
        "socket.io.min.js",
        "socket.io.esm.min.js",
        "socket.io.msgpack.min.js",
    )
    for suffix in ("", ".map")
)
FOLDERS: Final = (
    Path("node_modules/socket.io-client/dist"),
    Path("node_modules/socket.io/client-dist"),
)
MAX_FILE_BYTES: Final = 4 << 20
_LEVEL: Final = 9
_PLAIN: Final = (b"Content-Type", b"text/plain; charset=utf-8")
_NOT_INSTALLED: Final = b"the browser's client is not installed on this server"


class Bundle(NamedTuple):
    """A file as it is sent.

    Args:
        headers: of each answer with it.
        etag: names its content.
        bodies: by content coding; None is as it is.
    """

    headers: list[tuple[bytes, bytes]]
    etag: str
    bodies: dict[str | None, bytes]


def find_client(given: Path | None) -> Path | None:
    """The folder with the client's files.

    Args:
        given: by a person; None looks into the working directory.
    Raises:
        ConfigurationError: there is no client in the given folder.
    """
    for folder in FOLDERS if given is None else (given,):
        if any((folder / name).is_file() for name in FILES):
            return folder.resolve()
    if given is not None:
        raise ConfigurationError(f"there is no {FILES[0]} in {given}: it is no client to serve")
    log.info(
        "the browser's client is not served: npm install socket.io-client, or name its folder"
        " (client_dist), or leave it (serve_client)"
    )
    return None


class ClientBundle:
    """Serves the client's files.

    Args:
        folder: has them; None answers that there are none.
        cors: rules for pages of other origins.
        workers: read files.
        poller: goes on with the answers.
    """

    def __init__(
        self, folder: Path | None, cors: "Cors", workers: "HookWorkers", poller: "Poller"
    ) -> None:
        self._folder = folder
        self._cors = cors
        self._workers = workers
        self._poller = poller
        self._loaded: dict[str, Bundle] = {}
        self._waiting: dict[str, list[Request]] = {}

    def handlers(self, path: str) -> dict[str, Callable[["Request"], None]]:
        """What answers each URL path below the given one."""
        base = path.rstrip("/") + "/"
        return {base + name: partial(self._receive_request, name) for name in FILES}

    def _receive_request(self, name: str, request: "Request") -> None:
        if request.method not in ("GET", "HEAD"):
            allow = (b"Allow", b"GET, HEAD")
            headers = [_PLAIN, allow, *self._cors.headers(request)]
            request.respond(405, headers, b"only GET and HEAD")
        elif self._folder is None:
            self._answer_missing(request)
        elif name in self._loaded:
            self._answer(request, self._loaded[name])
        elif name in self._waiting:
            self._waiting[name].append(request)
        else:
            self._waiting[name] = [request]
            self._workers.submit(_Load(self, self._folder / name))

    def loaded(self, name: str, bundle: Bundle | None) -> None:
        """A file was read, or could not be."""
        if bundle is not None:
            self._loaded[name] = bundle
        for request in self._waiting.pop(name):
            if bundle is not None:
                self._poller.defer(partial(self._answer, request, bundle))
            else:
                self._poller.defer(partial(self._answer_missing, request))

    def _answer_missing(self, request: "Request") -> None:
        request.respond(404, [_PLAIN, *self._cors.headers(request)], _NOT_INSTALLED)

    def _answer(self, request: "Request", bundle: Bundle) -> None:
        headers = [*bundle.headers, *self._cors.headers(request)]
        if _is_known(request.headers.get("if-none-match", ""), bundle.etag):
            request.respond(304, headers)
            return
        coding = choose_coding(request.headers.get("accept-encoding", ""))
        if coding is not None:
            headers.append((b"Content-Encoding", coding.encode()))
        request.respond(200, headers, bundle.bodies[coding])


def _is_known(if_none_match: str, etag: str) -> bool:
    """Whether the client has that content. Spec: RFC 9110, section 13.1.2: a weak comparison."""
    known = [tag.strip().removeprefix("W/") for tag in if_none_match.split(",")]
    return known == ["*"] or etag.removeprefix("W/") in known


def load_bundle(file: Path) -> Bundle:
    """Read and compress a file; takes long.

    Raises:
        OSError: it cannot be read, or is too large to be a client.
    """
    with file.open("rb") as opened:
        content = opened.read(MAX_FILE_BYTES + 1)
    if len(content) > MAX_FILE_BYTES:
        raise OSError(f"{file} is too large to be served")
    kind = "json" if file.suffix == ".map" else "javascript"
    # Weak: the same for each coding.
    etag = f'W/"{hashlib.blake2b(content, digest_size=12).hexdigest()}"'
    headers = [
        (b"Content-Type", f"application/{kind}; charset=utf-8".encode()),
        (b"Cache-Control", b"public, max-age=0"),
        (b"ETag", etag.encode()),
        (b"Vary", b"Accept-Encoding"),
    ]
    bodies: dict[str | None, bytes] = {None: content}
    bodies.update((coding, encode_content(coding, content, _LEVEL)) for coding in CODINGS)
    return Bundle(headers, etag, bodies)


class _Load:
    """A file, to be read in a thread."""

    __slots__ = ("_bundle", "_file")

    def __init__(self, bundle: ClientBundle, file: Path) -> None:
        self._bundle = bundle
        self._file = file

    async def run(self, workers: "HookWorkers") -> bool:
        """See HookJob."""
        try:
            loaded = await workers.call_async(trio.to_thread.run_sync, load_bundle, self._file)
        except OSError as error:
            log.warning("a file of the browser's client cannot be served: %s", error)
            loaded = None
        self._bundle.loaded(self._file.name, loaded)
        return True
