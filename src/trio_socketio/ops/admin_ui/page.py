"""The pages of the official Admin UI, out of an npm package that is installed."""

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Final

from trio_socketio.errors import ConfigurationError
from trio_socketio.http.files import Bundle, answer_with, load_bundle

if TYPE_CHECKING:
    from trio_socketio.http.request import Request
    from trio_socketio.http.routes import RequestHandler

PATH: Final = "/admin-ui/"
MAX_FILES: Final = 200

_INDEX: Final = "index.html"
_FOLDERS: Final = (".", "css", "img", "js", "fonts")
_PLAIN: Final = (b"Content-Type", b"text/plain; charset=utf-8")
_OUTSIDE: Final = (
    "https://fonts.googleapis.com",
    "https://fonts.gstatic.com",
    "https://cdn.jsdelivr.net",
)


def _policy(*, outside_fonts: bool) -> bytes:
    """Return the content security policy of the pages (AUI-26).

    The UI connects to whatever server its form names, and its library of widgets writes styles.
    """
    outside = f" {' '.join(_OUTSIDE)}" if outside_fonts else ""
    return (
        "default-src 'none'; script-src 'self'; img-src 'self' data:; connect-src http: https: ws: "
        f"wss:; style-src 'self' 'unsafe-inline'{outside}; font-src 'self'{outside}; "
        "base-uri 'none'; form-action 'self'; frame-ancestors 'none'"
    ).encode()


class Page:
    """Serves the files of one folder below PATH.

    Args:
        folder: ``ui/dist`` of the package.
        outside_fonts: whether the page may load fonts and icons from other hosts.
    """

    def __init__(self, folder: Path, *, outside_fonts: bool) -> None:
        self._folder = folder
        self._bundles: dict[str, Bundle] = {}
        self._headers = [
            (b"Content-Security-Policy", _policy(outside_fonts=outside_fonts)),
            (b"X-Content-Type-Options", b"nosniff"),
            (b"Referrer-Policy", b"no-referrer"),
        ]

    @property
    def routes(self) -> "dict[str, RequestHandler]":
        """The paths of the admin port at which the pages are."""
        return dict.fromkeys((PATH, PATH.rstrip("/")), self.receive_request)

    def load(self) -> None:
        """Read and compress all files. This takes long, and is called in a thread.

        Raises:
            ConfigurationError: the folder does not hold the UI.
        """
        try:
            bundles = {
                PATH + file.relative_to(self._folder).as_posix(): load_bundle(file)
                for file in self._find_files()
            }
        except OSError as error:
            raise ConfigurationError(f"[admin_ui] folder: {error}") from None
        if PATH + _INDEX not in bundles:
            raise ConfigurationError(
                f"[admin_ui] folder: {self._folder} holds no {_INDEX}: name the folder ui/dist of "
                "the npm package @socket.io/admin-ui"
            )
        bundles[PATH] = bundles[PATH + _INDEX]
        self._bundles = bundles

    def _find_files(self) -> Iterator[Path]:
        """Yield the files of the folder, without source maps, which only debuggers read."""
        count = 0
        for name in _FOLDERS:
            folder = self._folder / name
            for file in sorted(folder.iterdir()) if folder.is_dir() else ():
                if file.suffix == ".map" or file.name.startswith(".") or not file.is_file():
                    continue
                count += 1
                if count > MAX_FILES:
                    raise ConfigurationError(
                        f"[admin_ui] folder: {self._folder} has more than {MAX_FILES} files, so it "
                        "is not that of the UI"
                    )
                yield file

    def receive_request(self, request: "Request") -> None:
        """Answer a request for PATH or what is below it. Nothing here is secret."""
        if request.method not in ("GET", "HEAD"):
            request.respond(405, [_PLAIN, (b"Allow", b"GET, HEAD")], b"only GET and HEAD")
        elif request.path == PATH.rstrip("/"):  # the links of the page are relative (AUI-25)
            request.respond(308, [_PLAIN, (b"Location", PATH.encode())], b"see " + PATH.encode())
        elif request.path in self._bundles:
            answer_with(request, self._bundles[request.path], self._headers)
        else:
            request.respond(404, [_PLAIN], b"not found")
