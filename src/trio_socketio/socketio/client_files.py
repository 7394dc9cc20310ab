"""The browser's client, served from an npm package that is installed."""

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
_IN_PACKAGE: Final = ("dist", "client-dist")
"""Where the npm packages socket.io-client and socket.io have the files."""
_NOT_INSTALLED: Final = b"the browser's client is not installed on this server"


def find_client(given: Path | None) -> Path | None:
    """Return the folder with the client's files, or None if there is none.

    Args:
        given: the folder that the options name, or that of a package that contains it; None looks
            below the working directory.
    Raises:
        ConfigurationError: neither the given folder nor one of its own holds a client.
    """
    named = () if given is None else (given, *(given / name for name in _IN_PACKAGE))
    for folder in named or FOLDERS:
        if any((folder / name).is_file() for name in FILES):
            return folder.resolve()
    if given is not None:
        raise ConfigurationError(
            f"{given} holds no {FILES[0]}, so it is not a folder of the browser's client: name that"
            " of the npm package, such as node_modules/socket.io-client"
        )
    log.info(
        "pages of your own cannot load socket.io.js from this server, because the browser's client"
        " is not installed: npm install socket.io-client, name its folder (--serve-client,"
        " [client_files] folder, client_dist), or switch it off (--no-serve-client, [client_files]"
        " serve, serve_client)"
    )
    return None


def client_routes(
    options: "ClientFilesOptions",
    path: str,
    cors: "Cors",
    workers: "FileWorkers",
    poller: "Poller",
) -> "dict[str, RequestHandler]":
    """Return the handler of each URL path of the client's files; none if they are not served.

    Args:
        options: whether they are served, and from which folder.
        path: of Socket.IO: the files are below it.
        cors: the rules for pages of other origins.
        workers: read files.
        poller: calls back when a file was read.
    Raises:
        ConfigurationError: the folder that the options name holds no client.
    """
    if not options.serve:
        return {}
    folder = find_client(options.folder)
    base = path.rstrip("/") + "/"
    files = {base + name: None if folder is None else folder / name for name in FILES}
    static = StaticFiles(files, _NOT_INSTALLED, cors, workers, poller)
    return dict.fromkeys(files, static.receive_request)
