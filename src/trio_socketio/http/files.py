"""Static files, which are read and compressed when they are first asked for, and kept."""

import hashlib
import logging
from collections.abc import Callable, Coroutine, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, NamedTuple, Protocol

import trio

from trio_socketio.http.content_coding import CODINGS, choose_coding, encode_content

if TYPE_CHECKING:
    from trio_socketio.http.cors import Cors
    from trio_socketio.http.request import Request
    from trio_socketio.runtime.poller import Poller

log = logging.getLogger(__name__)

MAX_FILE_BYTES: Final = 4 << 20
_LEVEL: Final = 9
_PLAIN: Final = (b"Content-Type", b"text/plain; charset=utf-8")
_KINDS: Final = {
    ".css": "text/css; charset=utf-8",
    ".html": "text/html; charset=utf-8",
    ".js": "application/javascript; charset=utf-8",
    ".map": "application/json; charset=utf-8",
    ".png": "image/png",
    ".svg": "image/svg+xml",
}
"""The content types of files, by the ends of their names."""


class FileWorkers(Protocol):
    """Runs jobs that take long."""

    def submit(self, job: "_Load", /) -> None:
        """Have a job run in the next scheduler pass."""

    async def call_async(
        self, function: Callable[..., Coroutine[Any, Any, Any]], /, *arguments: Any
    ) -> Any:
        """Call an async function from a job."""


class Bundle(NamedTuple):
    """A file in the forms in which it is sent.

    Args:
        headers: the headers of each answer with the file.
        etag: the entity tag of its content.
        bodies: its encoded contents by content coding; None stands for no coding.
    """

    headers: list[tuple[bytes, bytes]]
    etag: str
    bodies: dict[str | None, bytes]


class StaticFiles:
    """Serves files to GET and HEAD, with an ETag, in every content coding (SIO5-70).

    Args:
        files: the files by URL path; with None, the answer is that the file is missing.
        missing: the body of that answer, for a person.
        cors: the rules for pages of other origins.
        workers: read the files.
        poller: calls back in a turn when a file was read.
    """

    def __init__(
        self,
        files: Mapping[str, Path | None],
        missing: bytes,
        cors: "Cors",
        workers: FileWorkers,
        poller: "Poller",
    ) -> None:
        self._files = files
        self._missing = missing
        self._cors = cors
        self._workers = workers
        self._poller = poller
        self._loaded: dict[Path, Bundle] = {}
        self._missed: set[Path] = set()  # those that could not be read
        self._waiting: dict[Path, list[Request]] = {}

    def receive_request(self, request: "Request") -> None:
        """Take a request for the path of one of the files."""
        file = self._files[request.path]
        if request.method not in ("GET", "HEAD"):
            allow = (b"Allow", b"GET, HEAD")
            headers = [_PLAIN, allow, *self._cors.headers(request)]
            request.respond(405, headers, b"only GET and HEAD")
        elif file is None:  # SIO5-72
            self._answer_missing(request)
        elif file in self._loaded:
            self._answer(request, self._loaded[file])
        elif file in self._waiting:
            self._waiting[file].append(request)
        else:
            self._waiting[file] = [request]
            self._workers.submit(_Load(self, file))

    def loaded(self, file: Path, bundle: Bundle | None) -> None:
        """Answer the requests that have waited for a file; None if it could not be read."""
        if bundle is not None:
            self._loaded[file] = bundle
        for request in self._waiting.pop(file):
            if bundle is not None:
                self._poller.defer(partial(self._answer, request, bundle))
            else:
                self._poller.defer(partial(self._answer_missing, request))

    def complain(self, file: Path, error: Exception) -> None:
        """Log that a file cannot be served: once, however often it is asked for."""
        if file not in self._missed:
            self._missed.add(file)
            log.warning("a file cannot be served: %s", error)

    def _answer_missing(self, request: "Request") -> None:
        request.respond(404, [_PLAIN, *self._cors.headers(request)], self._missing)

    def _answer(self, request: "Request", bundle: Bundle) -> None:
        answer_with(request, bundle, self._cors.headers(request))


def answer_with(request: "Request", bundle: Bundle, further: Sequence[tuple[bytes, bytes]]) -> None:
    """Answer a GET or HEAD with a file, in a content coding that the client reads.

    Args:
        request: the request.
        bundle: the file.
        further: headers besides those of the file.
    """
    headers = [*bundle.headers, *further]
    if _is_known(request.headers.get("if-none-match", ""), bundle.etag):
        request.respond(304, headers)  # SIO5-71
        return
    coding = choose_coding(request.headers.get("accept-encoding", ""))
    if coding is not None:
        headers.append((b"Content-Encoding", coding.encode()))
    request.respond(200, headers, bundle.bodies[coding])


def _is_known(if_none_match: str, etag: str) -> bool:
    """Whether the client has this content; compares weakly. Spec: RFC 9110, section 13.1.2."""
    known = [tag.strip().removeprefix("W/") for tag in if_none_match.split(",")]
    return known == ["*"] or etag.removeprefix("W/") in known


def load_bundle(file: Path) -> Bundle:
    """Read and compress a file. This takes long, and is called in a thread.

    Raises:
        OSError: the file cannot be read, or is larger than MAX_FILE_BYTES.
    """
    with file.open("rb") as opened:
        content = opened.read(MAX_FILE_BYTES + 1)
    if len(content) > MAX_FILE_BYTES:
        raise OSError(f"{file} is too large to be served")
    kind = _KINDS.get(file.suffix, "application/octet-stream")
    # A weak tag, because it is the same for each coding.
    etag = f'W/"{hashlib.blake2b(content, digest_size=12).hexdigest()}"'
    headers = [
        (b"Content-Type", kind.encode()),
        (b"Cache-Control", b"public, max-age=0"),
        (b"ETag", etag.encode()),
        (b"Vary", b"Accept-Encoding"),
    ]
    bodies: dict[str | None, bytes] = {None: content}
    bodies.update((coding, encode_content(coding, content, _LEVEL)) for coding in CODINGS)
    return Bundle(headers, etag, bodies)


class _Load:
    """A job that has a file read in a thread."""

    __slots__ = ("_file", "_files")

    def __init__(self, files: StaticFiles, file: Path) -> None:
        self._files = files
        self._file = file

    async def run(self, workers: FileWorkers) -> bool:
        """Have the file read, and its requests answered. Returns False: the clock was not read."""
        try:
            loaded = await workers.call_async(trio.to_thread.run_sync, load_bundle, self._file)
        except Exception as error:  # not OSError alone: whoever waits for the file is answered
            self._files.complain(self._file, error)
            loaded = None
        self._files.loaded(self._file, loaded)
        return False
