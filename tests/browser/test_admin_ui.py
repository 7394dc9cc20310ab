"""The published Admin UI in Chromium: every view and every action, with one node and with three.

The pictures of its views are written into the folder that TRIO_SOCKETIO_PICTURES names.
"""

import os
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from tests.browser.chromium import Chromium, Page
from tests.browser.conftest import MODULES
from tests.interop.server_process import ServerProcess, assert_clean, free_port
from tests.ops.admin_ui.administrator import PASSWORD, PASSWORD_HASH
from tests.redis_server import RedisServer

import socketio

APP = "tests/apps/admin_ui_app.py:create"
SCRIPT = (Path(__file__).parent / "admin_ui.js").read_text()
PICTURES = os.environ.get("TRIO_SOCKETIO_PICTURES")
CONFIG = """
[admin]
listen = "127.0.0.1:{admin}"
[admin_ui]
auth = "basic"
username = "ops"
password_hash = "{password_hash}"
folder = "{folder}"
{options}
[cors]
origins = ["http://127.0.0.1:{page}"]
credentials = true
{redis}
"""


@dataclass
class Visitor:
    """A client that is in a room."""

    client: Any
    id: str

    @property
    def connected(self) -> bool:
        return bool(self.client.connected)

    def close(self) -> None:
        self.client.disconnect()


@dataclass
class Site:
    """Nodes with an Admin UI, and a page that shows them.

    Attributes:
        urls: of the nodes.
        page: the page of the first one.
    """

    urls: list[str]
    page: Page
    visitors: list[Visitor] = field(default_factory=list)

    def ui(self, function: str, *arguments: Any) -> Any:
        return self.page.call(f"ui.{function}", *arguments)

    def visit(self, room: str, node: int = 0, transport: str = "websocket") -> Visitor:
        client = socketio.Client(reconnection=False)
        url = self.urls[node % len(self.urls)]
        client.connect(url, transports=[transport], headers={"User-Agent": "visitor"})
        visitor = Visitor(client, client.call("enter", room))
        self.visitors.append(visitor)
        return visitor

    def gone(self, visitor: Visitor) -> None:
        """Wait until a visitor is put out."""
        visitor.client.wait()
        assert not visitor.connected

    def picture(self, name: str) -> None:
        if PICTURES:
            path = Path(PICTURES) / f"{name}-{len(self.urls)}.png"
            path.write_bytes(self.page.screenshot())


@contextmanager
def open_site(
    browser: Chromium, folder: Path, nodes: int, redis: RedisServer, options: str = ""
) -> Iterator[Site]:
    """Serve, and open the page of the UI with the helpers in it."""
    admins = [free_port() for _ in range(nodes)]
    with ExitStack() as stack:
        servers = []
        for number, admin in enumerate(admins):
            conf = folder / f"node-{number}.toml"
            shared = f'[redis]\nurl = "{redis.url}"\nprefix = "ui{admins[0]}"\n'
            shared += f'[cluster]\nnode = "node-{number}"\nkey = "ui{admins[0]}"\n'
            conf.write_text(
                CONFIG.format(
                    admin=admin,
                    page=admins[0],
                    password_hash=PASSWORD_HASH,
                    folder=MODULES / "@socket.io" / "admin-ui" / "ui" / "dist",
                    options=options,
                    redis=shared if nodes > 1 else "",
                )
            )
            server = stack.enter_context(ServerProcess(APP, arguments=["--config", str(conf)]))
            stack.callback(assert_clean, server)
            servers.append(server)
        url = f"http://127.0.0.1:{admins[0]}/admin-ui/"
        page = stack.enter_context(browser.open_page(url))
        page.evaluate(SCRIPT)
        site = Site([server.url for server in servers], page)
        try:
            yield site
        finally:
            for visitor in site.visitors:
                visitor.close()


def login(site: Site, password: str = PASSWORD) -> None:
    site.ui("login", site.urls[0], "ops", password)


@pytest.mark.parametrize("nodes", [1, 3])
@pytest.mark.time_limit(180)
def test_every_view_and_every_action(
    browser: Chromium, tmp_path: Path, nodes: int, shared_redis: RedisServer
) -> None:
    with open_site(browser, tmp_path, nodes, shared_redis) as site:
        ann, bob, cid = (site.visit("lobby", number) for number in range(3))
        dora = site.visit("annex", 1, "polling")
        login(site, "wrong")
        site.ui("shows", "Invalid credentials")
        site.picture("refused")
        login(site)
        site.ui("shows", "CONNECTED")

        site.ui("go", "#/", "Bytes")
        site.ui("shows", "/chat")
        for name in ("Clients", "Servers", "Namespaces", "Connection and disconnection events"):
            site.ui("shows", name)
        site.picture("dashboard")

        site.ui("go", "#/servers/", "Uptime")
        for number in range(nodes):
            name = f"node-{number}" if nodes > 1 else ":"
            assert "Healthy" in " ".join(site.ui("cells", name)).title()
        site.picture("servers")

        site.ui("go", "#/sockets/", "Rows per page")
        for visitor in (ann, bob, cid):
            assert site.ui("cells", visitor.id)[1:3] == ["127.0.0.1", "WebSocket"]
        assert site.ui("cells", dora.id)[2] == "HTTP long-polling"
        site.picture("sockets")
        site.ui("press", ann.id, -1)
        site.gone(ann)
        site.ui("go", "#/sockets/", "Rows per page")  # a click on a button is one on its row, too
        site.ui("lacks", ann.id)

        site.ui("select", "/admin")
        site.ui("lacks", bob.id)
        assert len(site.page.evaluate("ui.rows().map((row) => row.innerText)")) == 1
        site.ui("select", "/")

        # One socket: its data and request, a room to enter and to leave.
        site.ui("open", bob.id)
        site.ui("shows", "Initial HTTP request")
        site.ui("shows", '"room": "lobby"')
        site.ui("shows", "visitor")
        site.ui("submit", "cellar")
        site.ui("row", "cellar")
        site.picture("socket")
        site.ui("press", "cellar", -1)
        site.ui("go", f"#/n/%2F/sockets/{bob.id}", "Initial HTTP request")
        site.ui("lacks", "cellar")
        site.ui("press", "CONNECTED", -1)  # the row of the client
        site.gone(bob)

        # Rooms.
        bob = site.visit("lobby", 2)
        site.ui("go", "#/rooms/", "Show private rooms")
        site.page.evaluate(
            "ui.until(() => ui.rows().some((row) => /lobby[^]*2/.test(row.innerText)), 'two in it')"
            ".then(() => true)"
        )
        assert site.ui("cells", "lobby")[1:3] == ["PUBLIC", "2"]
        site.picture("rooms")
        site.ui("open", "lobby")
        site.ui("row", bob.id)
        site.picture("room")
        site.ui("press", bob.id, 0)  # leave
        site.ui("go", "#/n/%2F/rooms/lobby", "PUBLIC")
        site.ui("lacks", bob.id)
        site.ui("press", cid.id, -1)  # disconnect
        site.gone(cid)
        ann, cid = site.visit("lobby", 0), site.visit("lobby", 1)
        site.ui("go", "#/rooms/", "Show private rooms")
        site.ui("row", "lobby")
        site.ui("press", "lobby", 0)  # clear
        site.ui("go", "#/rooms/", "Show private rooms")
        site.ui("lacks", "lobby")
        assert ann.connected
        site.ui("press", "annex", -1)  # disconnect all
        site.gone(dora)

        # Clients.
        site.ui("go", "#/clients/", "# of sockets")
        site.picture("clients")
        site.ui("go", "#/sockets/", "Rows per page")
        site.ui("open", ann.id)
        site.ui("shows", "Initial HTTP request")
        client = site.page.evaluate("document.querySelector('main a.link').innerText")
        site.ui("go", "#/clients/", "# of sockets")
        site.ui("open", client)
        site.ui("shows", "Initial HTTP request")
        site.ui("row", ann.id)
        site.picture("client")
        site.ui("press", ann.id, -1)
        site.gone(ann)
        site.ui("go", "#/clients/", "# of sockets")
        clients = site.page.evaluate("ui.rows().map((row) => row.innerText.split(/\\s/)[0])")
        assert len(clients) == 3  # bob, cid, and the administrator

        # Events, told by whatever node.
        for number, visitor in enumerate((bob, cid)):
            visitor.client.emit("ask", {"number": number, "binary": b"123"})
        site.ui("go", "#/events/", "Timestamp")
        site.ui("shows", "ask")
        site.ui("shows", "told")
        site.ui("press", "told", -1)
        site.ui("shows", "<3 bytes>")
        site.picture("events")

        # The page asks for no password after a load, and shows everything again.
        url = site.page.evaluate("location.href")
        site.page.open("about:blank")
        site.page.open(url.partition("#")[0] + "#/sockets/")
        site.page.evaluate(SCRIPT)
        site.ui("shows", "CONNECTED")
        site.ui("row", bob.id)
        assert site.page.evaluate("document.querySelectorAll('form').length") == 0
        site.picture("reloaded")
        assert [line for line in site.page.console if "uncaught" in line] == []


@pytest.mark.time_limit(120)
def test_whoever_may_only_look_on_has_no_buttons(
    browser: Chromium, tmp_path: Path, shared_redis: RedisServer
) -> None:
    with open_site(browser, tmp_path, 1, shared_redis, "readonly = true") as site:
        ann = site.visit("lobby")  # first, as the UI selects "/" only if it is in the first list
        login(site)
        site.ui("shows", "CONNECTED")
        site.ui("go", "#/rooms/", "Show private rooms")
        site.ui("row", "lobby")
        assert site.ui("press", "lobby", -1) is False
        site.ui("go", "#/sockets/", "Rows per page")
        assert site.ui("press", ann.id, -1) is False
        site.picture("readonly")


@pytest.mark.time_limit(120)
def test_production_mode_has_two_views(
    browser: Chromium, tmp_path: Path, shared_redis: RedisServer
) -> None:
    with open_site(browser, tmp_path, 1, shared_redis, 'mode = "production"') as site:
        login(site)
        site.ui("shows", "CONNECTED")
        site.visit("lobby")
        site.ui("go", "#/", "Bytes")
        site.ui("shows", "/chat")
        site.picture("production")
        links = site.page.evaluate(
            "[...document.querySelectorAll('nav a')].map((link) => link.getAttribute('href'))"
        )
        assert sorted(link.rstrip("/") for link in links) == ["#", "#/servers"]
