"""A headless Chromium, driven by the DevTools protocol."""

import base64
import json
import os
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO, Any, Final

from websockets.exceptions import ConnectionClosed
from websockets.sync.client import ClientConnection, connect

NAMES: Final = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "chrome")
ARGUMENTS: Final = (
    "--headless",
    "--remote-debugging-port=0",
    "--disable-gpu",
    "--disable-dev-shm-usage",  # containers have little of it
    # Nothing but the servers of the tests is to be reached, or looked up.
    "--no-proxy-server",
    "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1, EXCLUDE localhost",
    "--no-first-run",
    "--no-default-browser-check",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-default-apps",
    "--disable-extensions",
    "--disable-quic",
    "--disable-sync",
)
START_S: Final = 60.0
STOP_S: Final = 10.0
REPLY_S: Final = 60.0  # longer than the functions of a page take
SHOWN_S: Final = 10.0
LOADED: Final = """new Promise((resolve) => {
  if (document.readyState === "complete") resolve();
  else addEventListener("load", () => resolve());
})"""
POLL_S: Final = 0.05
TAIL_BYTES: Final = 4_000


class BrowserFailed(Exception):
    """The browser is missing, does not start, does not answer, or refuses a command."""


class PageFailed(AssertionError):
    """A script threw; the message has its stack, and what the console showed."""


class Chromium:
    """A browser that runs; its pages share nothing with each other.

    Args:
        connection: to its DevTools endpoint.
    """

    def __init__(self, connection: ClientConnection) -> None:
        self._connection = connection
        self._commands = 0
        self._pages: dict[str, Page] = {}

    @contextmanager
    def open_page(self, url: str) -> Iterator["Page"]:
        """A page with cookies of its own, at a URL."""
        context = self.command("Target.createBrowserContext")
        target = self.command("Target.createTarget", url="about:blank", **context)
        session = self.command("Target.attachToTarget", **target, flatten=True)["sessionId"]
        page = self._pages[session] = Page(self, session)
        try:
            page.open(url)
            yield page
        finally:
            self.command("Target.disposeBrowserContext", **context)
            del self._pages[session]

    def command(self, method: str, session: str | None = None, /, **parameters: Any) -> Any:
        """Give a command to the browser, or to the page of a session, and wait for the result."""
        self._commands += 1
        number = self._commands
        command = {"id": number, "method": method, "params": parameters}
        if session is not None:
            command["sessionId"] = session
        until = time.monotonic() + REPLY_S
        try:
            self._connection.send(json.dumps(command))
            while (message := self.receive(until)).get("id") != number:
                pass
        except ConnectionClosed:
            raise BrowserFailed(f"the browser ended before it replied to {method}") from None
        except TimeoutError:
            raise BrowserFailed(f"no reply to {method} within {REPLY_S:g} s") from None
        if "error" in message:
            raise BrowserFailed(f"{method}: {message['error']['message']}")
        return message["result"]

    def receive(self, until: float) -> dict[str, Any]:
        """Receive one message; events of pages are handed to them.

        Raises:
            TimeoutError: there was none.
        """
        text = self._connection.recv(timeout=max(until - time.monotonic(), 0))
        message: dict[str, Any] = json.loads(text)
        page = self._pages.get(message.get("sessionId", ""))
        if page is not None and "method" in message:
            page.receive_event(message["method"], message["params"])
        return message


class Page:
    """A page.

    Args:
        browser: has it.
        session: names it there.
    """

    def __init__(self, browser: Chromium, session: str) -> None:
        self._browser = browser
        self._session = session
        self._statuses: set[int] = set()
        self.console: list[str] = []
        self.requested: list[str] = []  # the URLs, those of WebSockets included

    def open(self, url: str) -> None:
        """Go to a URL; whatever is there is the document."""
        for domain in ("Runtime", "Log", "Network"):
            self._command(f"{domain}.enable")
        failure = self._command("Page.navigate", url=url).get("errorText")
        if failure:
            raise BrowserFailed(f"{url}: {failure}")
        self.evaluate(LOADED)
        self._statuses.clear()
        self.console.clear()

    def evaluate(self, expression: str) -> Any:
        """Evaluate an expression, wait if it is a promise, and give the value as JSON.

        Raises:
            PageFailed: it threw, or was rejected.
        """
        reply = self._command(
            "Runtime.evaluate", expression=expression, awaitPromise=True, returnByValue=True
        )
        if "exceptionDetails" in reply:
            raise PageFailed("\n".join([describe(reply["exceptionDetails"]), *self.console]))
        return reply["result"].get("value")

    def screenshot(self) -> bytes:
        """A picture of what is seen, as PNG."""
        return base64.b64decode(self._command("Page.captureScreenshot")["data"])

    def call(self, function: str, *arguments: Any) -> Any:
        """Call a function of the page; see evaluate."""
        return self.evaluate(f"{function}({', '.join(map(json.dumps, arguments))})")

    def wait_for(self, expression: str) -> Any:
        """Wait until an expression is true; give its value."""
        return self.evaluate(f"""new Promise((resolve, reject) => {{
          const until = Date.now() + {SHOWN_S * 1000:.0f};
          const look = () => {{
            const value = ({expression});
            if (value) resolve(value);
            else if (Date.now() > until) reject(new Error("not within {SHOWN_S:g} s: " + {
            json.dumps(expression)
        }));
            else setTimeout(look, 20);
          }};
          look();
        }})""")

    def resize(self, width: int, height: int, *, mobile: bool = False) -> None:
        """Give the page another size, in pixels."""
        size = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": mobile}
        self._command("Emulation.setDeviceMetricsOverride", **size)

    def prefer(self, scheme: str) -> None:
        """Have the user prefer "light" or "dark" colours."""
        features = [{"name": "prefers-color-scheme", "value": scheme}]
        self._command("Emulation.setEmulatedMedia", features=features)

    def press(self, key: str, code: int = 0, text: str = "") -> None:
        """Press a key of the keyboard."""
        given = {"key": key, "windowsVirtualKeyCode": code}
        down = {"text": text} if text else {}
        self._command("Input.dispatchKeyEvent", type="keyDown", **given, **down)
        self._command("Input.dispatchKeyEvent", type="keyUp", **given)

    def inject(self, source: str) -> None:
        """Run a script in spite of the policy of the page, as a tool of a developer does."""
        self.evaluate(source + "\n;0")

    def save_screenshot(self, path: Path) -> None:
        """Write what is seen to a PNG."""
        reply = self._command("Page.captureScreenshot", format="png")
        path.write_bytes(base64.b64decode(reply["data"]))

    def wait_console(self, part: str) -> None:
        """Wait until the console shows a line with that part."""
        self._wait(lambda: any(part in line for line in self.console), f"{part!r} in the console")

    def wait_status(self, status: int) -> None:
        """Wait until a request of the page was answered with that status."""
        self._wait(lambda: status in self._statuses, f"answer {status}")

    def receive_event(self, method: str, event: dict[str, Any]) -> None:
        """What the browser tells of the page."""
        match method:
            case "Runtime.consoleAPICalled":
                told = [str(item.get("value", item.get("description"))) for item in event["args"]]
                self.console.append(f"console.{event['type']}: {' '.join(told)}")
            case "Runtime.exceptionThrown":
                self.console.append(f"uncaught: {describe(event['exceptionDetails'])}")
            case "Network.requestWillBeSent":
                self.requested.append(event["request"]["url"])
            case "Network.webSocketCreated":
                self.requested.append(event["url"])
            case "Network.responseReceivedExtraInfo":
                self._statuses.add(event["statusCode"])
            case "Log.entryAdded":
                entry = event["entry"]
                url = entry.get("url", "")
                if not url.endswith("/favicon.ico"):  # which nobody asked for
                    self.console.append(f"{entry['level']}: {entry['text']} ({url})")

    def _command(self, method: str, **parameters: Any) -> Any:
        return self._browser.command(method, self._session, **parameters)

    def _wait(self, is_met: Callable[[], bool], what: str) -> None:
        until = time.monotonic() + SHOWN_S
        while not is_met():
            try:
                self._browser.receive(until)
            except TimeoutError:
                raise PageFailed("\n".join([f"there is no {what}", *self.console])) from None


def describe(details: dict[str, Any]) -> str:
    """What was thrown, with the stack if it has one."""
    thrown = details.get("exception", {})
    return str(thrown.get("description") or thrown.get("value") or details["text"])


@contextmanager
def open_chromium() -> Iterator[Chromium]:
    """Start a browser with an empty profile; it is gone when the block ends.

    Raises:
        BrowserFailed: there is none on PATH, or it does not start.
    """
    command = [find_chromium(), *ARGUMENTS]
    if os.geteuid() == 0:
        command.append("--no-sandbox")  # there is none for root
    with (
        tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as profile,
        tempfile.TemporaryFile() as output,
    ):
        process = subprocess.Popen(
            [*command, f"--user-data-dir={profile}"],
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            start_new_session=True,
        )
        try:
            port, path = wait_endpoint(Path(profile), process, output)
            url = f"ws://127.0.0.1:{port}{path}"
            sock = socket.create_connection(("127.0.0.1", port), timeout=START_S)
            with connect(url, sock=sock, max_size=None, compression=None) as connection:
                yield Chromium(connection)
        finally:
            process.terminate()
            with suppress(subprocess.TimeoutExpired):
                process.wait(STOP_S)
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)  # its own processes with it
            process.wait(STOP_S)


def find_chromium() -> str:
    """The path of the browser."""
    for name in NAMES:
        path = shutil.which(name)
        if path is not None:
            return path
    raise BrowserFailed("no Chromium on PATH: install it (Debian: apt-get install chromium)")


def wait_endpoint(
    profile: Path, process: subprocess.Popen[bytes], output: IO[bytes]
) -> tuple[int, str]:
    """Wait until the browser has written where it listens: the port, and the path of the URL."""
    until = time.monotonic() + START_S
    while time.monotonic() < until and process.poll() is None:
        with suppress(FileNotFoundError):
            port, _, path = (profile / "DevToolsActivePort").read_text().partition("\n")
            if path:
                return int(port), path
        time.sleep(POLL_S)
    size = os.fstat(output.fileno()).st_size
    said = os.pread(output.fileno(), TAIL_BYTES, max(size - TAIL_BYTES, 0)).decode(errors="replace")
    raise BrowserFailed(f"{process.args!r} did not start (exit code {process.poll()})\n{said}")
