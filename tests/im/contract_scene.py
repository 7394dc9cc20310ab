"""The scene of the contract's tests: a server or two, clients old and new, and a backend.

Servers are started as a team starts them, by a configuration file alone. One process of Node plays
all clients. With two nodes the old clients are at one of them and the new ones at the other, and
the backend calls the first.
"""

import json
import queue
import shutil
import subprocess
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from itertools import count
from pathlib import Path
from types import TracebackType
from typing import Any, Final, Literal, Self
from urllib.error import HTTPError
from urllib.request import Request, urlopen

from tests.im.identity.test_des_tokens import IV, KEY, des_token
from tests.im.identity.tokens import SECRET, token
from tests.interop.server_process import HOST, ROOT, ServerProcess, free_port
from tests.redis_server import RedisServer

from trio_socketio.control import ControlClient

Kind = Literal["old", "new"]
KINDS: Final[tuple[Kind, ...]] = ("old", "new")
NAMESPACE: Final = "/demo"
SURE: Final = "/sure"
AUTH_S: Final = 1.0
RETRY_S: Final = (0.3, 0.6)
LEASE_S: Final = 2.0
ORIGIN: Final = "https://page.example"
ADMIN_SECRET: Final = "0123456789abcdef-admin"
WAIT_S: Final = 15.0

PLAYER: Final = Path(__file__).with_name("contract_player.mjs")
MODULES: Final = Path(__file__).parents[1] / "interop" / "node_modules"

CONFIGURATION: Final = """
[engine]
allow_eio3 = true

[cors]
origins = ["{origin}"]
credentials = true

[identity]
des = {{ key_file = "des.key", iv_file = "des.iv" }}
jwt.keys = [{{ file = "jwt.key", algorithm = "HS256" }}]
namespaces = [
  {{ name = "/", methods = [] }},
  {{ name = "/demo", methods = ["jwt", "des"] }},
  {{ name = "/sure", methods = ["jwt", "des"] }},
]
auth_timeout_s = {auth_s}

[presence]
namespaces = [{{ name = "/demo" }}, {{ name = "/sure" }}]
legacy_records = 1000
{lease}

[chat]
namespaces = ["/demo", "/sure"]
confirm = ["/sure"]

[deliveries]
expires_s = 1.0
schedule_s = {schedule}

[state]
folder = "state-{name}"

[control]
listen = ["unix:{folder}/{name}.sock"]
tokens = [{{ name = "admin", file = "admin.key", methods = ["*"] }}]

[admin]
listen = "127.0.0.1:{admin}"
{redis}
"""
_REDIS: Final = """
[redis]
url = "{url}"
[cluster]
node = "{name}"
"""


class ConfiguredServer(ServerProcess):
    """A server that is started with a configuration file and nothing else but its port."""

    def __init__(self, folder: Path, name: str, admin: int) -> None:
        super().__init__()
        self.folder = folder
        self.name = name
        self.admin = admin

    @property
    def control(self) -> str:
        """The address of its control socket."""
        return f"unix:{self.folder}/{self.name}.sock"

    def options(self) -> list[str]:
        return ["--config", str(self.folder / f"{self.name}.toml")]


class Player:
    """The process of Node that plays the clients."""

    def __init__(self, folder: Path) -> None:
        node = shutil.which("node")
        assert node is not None, "node is missing: install Node 18+"
        # Modules are found from where the program is, which has none above it.
        place = folder / "tests" / "im"
        place.mkdir(parents=True)
        shutil.copy(PLAYER, place)
        (folder / "node_modules").symlink_to(MODULES)
        (folder / "spec").symlink_to(ROOT / "spec")
        self._process = subprocess.Popen(
            [node, str(place / PLAYER.name)], stdin=subprocess.PIPE, stdout=subprocess.PIPE
        )
        self._numbers = count(1)
        self._answers: dict[int, queue.SimpleQueue[dict[str, Any]]] = {}
        self._seen: dict[str, list[list[Any]]] = {}
        self._changed = threading.Condition()
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def _read(self) -> None:
        assert self._process.stdout is not None
        for line in self._process.stdout:
            said = json.loads(line)
            if "done" in said:
                self._answers.pop(said["done"]).put(said)
                continue
            with self._changed:
                self._seen.setdefault(said["name"], []).append(said["saw"])
                self._changed.notify_all()

    def order(self, do: str, name: str, **more: Any) -> Any:
        """Have something done, and return its result."""
        number = next(self._numbers)
        answer: queue.SimpleQueue[dict[str, Any]] = queue.SimpleQueue()
        self._answers[number] = answer
        assert self._process.stdin is not None
        order = {"do": do, "name": name, "number": number, **more}
        self._process.stdin.write(json.dumps(order).encode() + b"\n")
        self._process.stdin.flush()
        said = answer.get(timeout=WAIT_S)
        assert "error" not in said, said["error"]
        return said["result"]

    def seen(self, name: str) -> list[list[Any]]:
        """What a client has seen and nobody has taken yet."""
        with self._changed:
            return list(self._seen.get(name, ()))

    def take(self, name: str, fits: Callable[[list[Any]], bool], what: str) -> list[Any]:
        """Wait for the first thing that fits, and take it out."""
        until = time.monotonic() + WAIT_S
        with self._changed:
            while True:
                seen = self._seen.setdefault(name, [])
                for number, one in enumerate(seen):
                    if fits(one):
                        return seen.pop(number)
                left_s = until - time.monotonic()
                assert left_s > 0, f"{name} has not seen {what}, but {seen}"
                self._changed.wait(left_s)

    def close(self) -> None:
        """End it."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.close()
        try:
            self._process.wait(5)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._reader.join()
        self._process.stdout.close()


class Client:
    """A client that the player plays."""

    def __init__(self, player: Player, name: str, kind: Kind, user: int | None = None) -> None:
        self._player = player
        self.name = name
        self.kind = kind
        self.user = user

    def emit(self, *args: Any) -> None:
        """Emit an event."""
        self._player.order("emit", self.name, args=args)

    def ask(self, *args: Any) -> Any:
        """Emit an event, and return its acknowledgement."""
        (answer,) = self._player.order("ask", self.name, args=args)
        return answer

    def wait(self, event: str) -> Any:
        """Return the argument of the next such event; a list if there is not just one."""
        _, *args = self._player.take(self.name, lambda one: one[0] == event, event)
        args = [one for one in args if one != "ack"]
        return args[0] if len(args) == 1 else args

    def is_quiet(self, *events: str) -> bool:
        """Whether it has none of these events. The server has handled all that came before."""
        return not [one for one in self._player.seen(self.name) if one[0] in events]

    def order(self, do: str, **more: Any) -> Any:
        """Have the player do something with it."""
        return self._player.order(do, self.name, **more)

    def join(self, *rooms: str) -> None:
        """Join rooms."""
        self.emit("join", {"rooms": [{"roomId": room} for room in rooms]})
        assert self.wait("join/reply")["errcode"] == 0

    def close(self) -> None:
        """Disconnect it."""
        self._player.order("close", self.name)


class Scene:
    """Servers, clients and a backend.

    Args:
        folder: for files; its path is short.
        redis: of two nodes; None for one that is alone.

    Attributes:
        servers: one, or two.
        backend: calls the first one.
    """

    def __init__(self, folder: Path, redis: RedisServer | None) -> None:
        self.folder = folder
        self.has_two = redis is not None
        for file, content in (
            ("des.key", KEY.encode()),
            ("des.iv", IV.encode()),
            ("jwt.key", SECRET),
            ("admin.key", ADMIN_SECRET.encode()),
        ):
            (folder / file).write_bytes(content)
            (folder / file).chmod(0o600)
        self.servers = [self._configure(name, redis) for name in ("a", "b")[: 1 + self.has_two]]
        self.backend = ControlClient(self.servers[0].control, timeout_s=WAIT_S)
        self._stack = ExitStack()
        self._names = count(1)
        self._users = count(1000)
        self._player: Player | None = None

    def _configure(self, name: str, redis: RedisServer | None) -> ConfiguredServer:
        server = ConfiguredServer(self.folder, name, free_port())
        text = CONFIGURATION.format(
            name=name,
            folder=self.folder,
            admin=server.admin,
            origin=ORIGIN,
            auth_s=AUTH_S,
            schedule=list(RETRY_S),
            lease="" if redis is None else f"lease_s = {LEASE_S}",
            redis="" if redis is None else _REDIS.format(url=redis.url, name=name),
        )
        for file in ("des.key", "des.iv", "jwt.key", "admin.key", f"state-{name}"):
            text = text.replace(f'"{file}"', f'"{self.folder / file}"')
        (self.folder / f"{name}.toml").write_text(text)
        return server

    def __enter__(self) -> Self:
        with ExitStack() as stack:
            for server in self.servers:
                stack.enter_context(server)
            stack.callback(self.backend.close)
            self._player = Player(self.folder)
            stack.callback(self._player.close)
            self._stack = stack.pop_all()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._stack.__exit__(kind, error, traceback)

    # -- clients

    @property
    def player(self) -> Player:
        assert self._player is not None
        return self._player

    def server_of(self, kind: Kind) -> ConfiguredServer:
        """The server of clients of this kind."""
        return self.servers[-1 if kind == "new" else 0]

    def new_user(self) -> int:
        """An id that no other test uses."""
        return next(self._users)

    def new_room(self) -> str:
        """The name of a room that no other test uses."""
        return f"r{next(self._users)}"

    def open(
        self, kind: Kind, namespace: str = NAMESPACE, at: Kind | None = None, **more: Any
    ) -> Client:
        """Open a client that has not said who it is."""
        client = Client(self.player, f"c{next(self._names)}", kind)
        url = self.server_of(kind if at is None else at).url + namespace
        client.order("open", kind=kind, url=url, **more)
        return client

    def enter(
        self,
        kind: Kind,
        user: int | None = None,
        namespace: str = NAMESPACE,
        at: Kind | None = None,
        **more: Any,
    ) -> Client:
        """Open a client that enters as a user: an old one by DES token, a new one by JWT."""
        user = self.new_user() if user is None else user
        if kind == "old":
            client = self.open(kind, namespace, at, **more)
            client.emit("auth", self.des(user))
            assert client.wait("auth/reply")["errcode"] == 0
        else:
            more.setdefault("options", {}).update(auth={"token": self.jwt(user)})
            client = self.open(kind, namespace, at, **more)
            client.wait("connect")
        client.user = user
        return client

    @contextmanager
    def pair(self, namespace: str = NAMESPACE, **more: Any) -> Iterator[tuple[Client, Client]]:
        """An old and a new client, of two users."""
        old, new = (self.enter(kind, namespace=namespace, **more) for kind in KINDS)
        try:
            yield old, new
        finally:
            old.close()
            new.close()

    def des(self, user: object, meta: object = None) -> dict[str, Any]:
        """The payload of auth of an old client."""
        meta = {"name": "Ann", "n": 1} if meta is None else meta
        return {"userId": user, "meta": meta, "token": des_token(meta)}

    def jwt(self, user: int) -> str:
        """The token of a new client."""
        return token(sub=str(user))

    # -- the backend

    def call(self, method: str, **params: Any) -> Any:
        """Call a method at the first node."""
        return self.backend.call(method, params)

    def ask_http(
        self, method: str, path: str, body: object = None, secret: str = ADMIN_SECRET
    ) -> tuple[int, Any]:
        """Ask the admin port of the first node; return the status, and the answer."""
        headers = {"Authorization": f"Bearer {secret}"} if secret else {}
        if body is not None:
            headers["Content-Type"] = "application/json"
        url = f"http://{HOST}:{self.servers[0].admin}{path}"
        data = None if body is None else json.dumps(body).encode()
        request = Request(url, data, headers, method=method)
        try:
            with urlopen(request, timeout=WAIT_S) as response:
                return response.status, response.read().decode()
        except HTTPError as error:
            with error:
                return error.code, error.read().decode()


def until(condition: Callable[[], bool], what: str) -> None:
    """Wait for a condition that may take a moment, as with other nodes."""
    ends = time.monotonic() + WAIT_S
    while not condition():
        assert time.monotonic() < ends, f"not within {WAIT_S} s: {what}"
        time.sleep(0.02)


@contextmanager
def open_scene(redis: "AbstractContextManager[RedisServer] | None") -> Iterator[Scene]:
    """Start everything.

    Args:
        redis: a server for two nodes; None for one node.
    """
    with ExitStack() as stack:
        folder = stack.enter_context(tempfile.TemporaryDirectory(prefix="im-"))
        server = None if redis is None else stack.enter_context(redis)
        yield stack.enter_context(Scene(Path(folder), server))
