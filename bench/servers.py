"""The servers under test: how each is started, pinned, awaited and ended."""

import ctypes
import os
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

from bench.machine import BUILD, PEERS, PEERS_PYTHON, ROOT, Cores
from bench.prepare import CERT, KEY, LIMIT_PROGRAM
from bench.trees import WORKING_TREE, Tree

START_S = 20.0
STOP_S = 5.0
_PR_SET_PDEATHSIG = 1

LIMIT = "limit"
TITLES = {
    "trio": "trio-socketio",
    "node": "Node socket.io (ws)",
    "uws": "Node socket.io (uWebSockets.js)",
    LIMIT: "limit of the machine (C)",
    "uvicorn": "python-socketio, uvicorn",
    "aiohttp": "python-socketio, aiohttp",
}
NODE_PEERS = ("node", "uws")  # rows are held against the better of them
PLAIN, ASYNC, SUSPENDS, LATENESS = "plain", "async", "suspends", "lateness"
FORWARDING = "forwarding"  # "echo_ack" is for backends
PRESENCE = "presence"  # a presence log that is full

_TRIO_APPS = {
    PLAIN: "tests/apps/bench_app.py",
    ASYNC: "bench/apps/async_app.py",
    SUSPENDS: "bench/apps/async_app.py:suspends",
    LATENESS: "bench/apps/lateness_app.py",
    FORWARDING: "bench/apps/forwarding_app.py",
    PRESENCE: "bench/apps/presence_app.py",
}


class ServerFailedError(Exception):
    """A server did not start, or ended early."""


@dataclass(frozen=True, slots=True)
class Running:
    """A server that listens.

    Args:
        second: the other node, if there are two.
        children: processes that serve as well, such as workers.
        redis_pid: of the Redis whose CPU time is of interest; 0 if there is none.
    """

    name: str
    pid: int
    port: int
    second: "Running | None" = None
    children: tuple[int, ...] = ()
    redis_pid: int = 0

    @property
    def pids(self) -> list[int]:
        """Return all processes that serve."""
        second = self.second.pids if self.second is not None else []
        return [self.pid, *self.children, *second]


def pinned(*cores: int) -> Callable[[], None]:
    """What a child does before it becomes the program: its cores, and never outlive the bench."""
    prctl = ctypes.CDLL(None).prctl

    def prepare_child() -> None:
        os.sched_setaffinity(0, cores)
        prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)

    return prepare_child


def app_path(handlers: str) -> str:
    """The file of our bench app, from the top of a checkout."""
    return _TRIO_APPS[handlers].partition(":")[0]


def _command(name: str, port: int, handlers: str, tls: bool, python: str) -> list[str]:
    if name == "trio":
        serve = [python, "-m", "trio_socketio", "serve", "--log-level", "warning"]
        certificate = ["--certfile", str(CERT), "--keyfile", str(KEY)] if tls else []
        return [*serve, "--app", _TRIO_APPS[handlers], "--port", str(port), *certificate]
    certificate = [str(CERT), str(KEY)] if tls else []
    if name == LIMIT:
        return [str(LIMIT_PROGRAM), str(port)]
    if name in NODE_PEERS:
        script = "node_server.js" if name == "node" else "node_uws_server.js"
        return ["node", str(PEERS / script), str(port), handlers, *certificate]
    module = f"bench.peers.python_socketio_{name}"
    return [str(PEERS_PYTHON), "-m", module, str(port), handlers, *certificate]


def free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port: int = listener.getsockname()[1]
        return port


def _is_listening(port: int) -> bool:
    try:
        socket.create_connection(("127.0.0.1", port), timeout=1).close()
    except OSError:
        return False
    return True


@contextmanager
def run_server(
    name: str,
    cores: Cores,
    *,
    handlers: str = PLAIN,
    tls: bool = False,
    tree: Tree = WORKING_TREE,
    options: Sequence[str] = (),
    redis: str = "",
    log_name: str = "",
    is_spread: bool = False,
) -> Iterator[Running]:
    """A server of its own on the server's core, until the block ends.

    Args:
        name: a key of TITLES.
        tree: where our own server is taken from.
        options: more of the command line of our own server.
        redis: the URL, of a Unix socket, of the Redis that it shares with other nodes.
        log_name: of the file that gets its output, without the suffix (default: its name).
        is_spread: whether it may use the core of the load generator, too.

    Raises:
        ServerFailedError: it does not listen in time.
    """
    port = free_port()
    log = BUILD / f"{log_name or name}.log"
    command, folder = _command(name, port, handlers, tls, tree.python), ROOT
    environment = {**os.environ, "NODE_ENV": "production"}
    if redis:
        environment["BENCH_REDIS"] = redis
        options = (*options, "--redis", redis)
    if name == "trio":
        command, folder, environment = (
            [*command, *options],
            tree.app_folder(handlers),
            tree.environment(),
        )
    with log.open("wb") as output:
        process = subprocess.Popen(
            command,
            cwd=folder,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            preexec_fn=pinned(cores.server, *([cores.generator] if is_spread else [])),
        )
    try:
        give_up = time.monotonic() + START_S
        while not _is_listening(port):
            if process.poll() is not None or time.monotonic() > give_up:
                lines = log.read_text(errors="replace").split("\n")
                said = next((line for line in reversed(lines) if line.strip()), "no output")
                raise ServerFailedError(f"{TITLES[name]} did not start: {said}")
            time.sleep(0.05)
        yield Running(name, process.pid, port)
    finally:
        end(process)


def end(process: subprocess.Popen[bytes]) -> None:
    """Ask a process to end, then make it."""
    if process.poll() is None:
        process.terminate()
    try:
        process.wait(STOP_S)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
