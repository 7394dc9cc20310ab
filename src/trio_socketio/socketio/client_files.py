"""The browser's client, out of an installed npm package."""

import logging
from pathlib import Path
from typing import TYPE_CHECKING, Final

from trio_socketio.errors import ConfigurationError
from trio_socketio.http.files import StaticFiles

if TYPE_CHECKING:
    from trio_socketio.http.cors import Cors
    from trio_socketio.http.files import FileWorkers
    from trio_socketio.http.options import ClientFilesOptions
    from trio_socketio.http.routes import RequestHandler
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
_NOT_INSTALLED: Final = b"the browser's client is not installed on this server"


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


def client_routes(
    options: "ClientFilesOptions",
    path: str,
    cors: "Cors",
    workers: "FileWorkers",
    poller: "Poller",
) -> "dict[str, RequestHandler]":
    """What answers each URL path of the client's files; nothing if they are not served.

    Args:
        options: see ClientFilesOptions.
        path: of Socket.IO: the files are below it.
        cors: rules for pages of other origins.
        workers: read files.
        poller: goes on with the answers.
    Raises:
        ConfigurationError: there is no client in the folder that the options name.
    """
    if not options.serve:
        return {}
    folder = find_client(options.folder)
    base = path.rstrip("/") + "/"
    files = {base + name: None if folder is None else folder / name for name in FILES}
    static = StaticFiles(files, _NOT_INSTALLED, cors, workers, poller)
    return dict.fromkeys(files, static.receive_request)
