"""The page of the first app, from an origin that the server was told of, and from another."""

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
from tests.guides.test_first_app import GUIDE, app
from tests.interop.server_process import ServerProcess

CLIENT: Final = "socket.io.esm.min.js"
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
    page = GUIDE.block("html")
    address = f"https://cdn.socket.io/4.8.1/{CLIENT}"
    assert address in page
    page = page.replace(address, f"./{CLIENT}").replace("http://127.0.0.1:3000", server.url)
    (folder / "tea.html").write_text(page, encoding="utf-8")
    shutil.copy(MODULES / "socket.io-client" / "dist" / CLIENT, folder)


def save_app(folder: Path) -> str:
    path = folder / "tea.py"
    path.write_text(app(), encoding="utf-8")
    return str(path)


def test_the_page_sits_down_and_orders(browser: Chromium, tmp_path: Path) -> None:
    with web_server(tmp_path) as origin:
        allowed = ServerProcess(save_app(tmp_path), arguments=["--cors-origin", origin])
        with allowed as server:
            save_page(tmp_path, server)
            with browser.open_page(f"{origin}/tea.html") as page:
                assert page.evaluate(SHOWN) == "welcome to table 4\n"
                page.evaluate("document.getElementById('order').click()")
                page.wait_for("document.getElementById('log').textContent.includes('is closed')")


def test_the_page_says_why_it_cannot_connect(browser: Chromium, tmp_path: Path) -> None:
    with web_server(tmp_path) as origin, ServerProcess(save_app(tmp_path)) as server:
        save_page(tmp_path, server)
        with browser.open_page(f"{origin}/tea.html") as page:
            assert page.evaluate(SHOWN).startswith("cannot connect: ")
