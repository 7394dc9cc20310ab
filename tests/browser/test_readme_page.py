"""The page of the README, from an origin that the server was told of, and from another."""

import shutil
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, Final

from tests.browser.chromium import Chromium
from tests.browser.conftest import MODULES
from tests.interop.server_process import ServerProcess
from tests.test_readme import program

CLIENT: Final = "socket.io.esm.min.js"
LOBBY: Final = "trio_socketio.lobby:create"
SHOWN: Final = """new Promise((resolve, reject) => {
  const log = document.getElementById("log");
  const look = () => log.textContent.includes("\\n") && resolve(log.textContent);
  new MutationObserver(look).observe(log, {childList: true, characterData: true, subtree: true});
  setTimeout(() => reject(new Error("nothing was shown: " + log.textContent)), 8000);
  look();
})"""


class Quiet(SimpleHTTPRequestHandler):
    """Serves a folder, and writes no log."""

    def log_message(self, *arguments: Any) -> None:
        """Write nothing."""


@contextmanager
def web_server(folder: Path) -> Iterator[str]:
    """Serve a folder while the block runs; give its origin."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(Quiet, directory=str(folder)))
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def save_page(folder: Path, server: ServerProcess) -> None:
    """Save the page for a server of ours; the client comes from beside it, not from afar."""
    page = program("html", "<title>talk")
    address = f"https://cdn.socket.io/4.8.1/{CLIENT}"
    assert address in page
    page = page.replace(address, f"./{CLIENT}").replace("http://127.0.0.1:3000", server.url)
    (folder / "talk.html").write_text(page, encoding="utf-8")
    shutil.copy(MODULES / "socket.io-client" / "dist" / CLIENT, folder)


def test_the_page_talks_to_the_lobby(browser: Chromium, tmp_path: Path) -> None:
    with web_server(tmp_path) as origin:
        allowed = ServerProcess(LOBBY, arguments=["--cors-origin", origin])
        with allowed as server:
            save_page(tmp_path, server)
            with browser.open_page(f"{origin}/talk.html") as page:
                line = page.evaluate(SHOWN)
                assert line.startswith("connected as "), line
                assert line.endswith("; 1 in the room\n"), line


def test_the_page_says_why_it_cannot_connect(browser: Chromium, tmp_path: Path) -> None:
    with web_server(tmp_path) as origin, ServerProcess(LOBBY) as server:
        save_page(tmp_path, server)
        with browser.open_page(f"{origin}/talk.html") as page:
            assert page.evaluate(SHOWN).startswith("cannot connect: ")
