"""A storm: every client reconnects at once. python -m bench.storm [--clients 15000] [--storms 2]

The clients of our own server lose their connections at the same moment and connect anew at once,
while another client, who stays connected, asks for an acknowledgement every 10 ms: once without
anything; once with a JWT of a user of its own for each client, and a seat; and once with seats that
are kept in Redis. Nobody may be lost or refused, or the exit code is 1.
"""

import argparse
import json
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import Any

import jwt

from bench import identity
from bench.machine import (
    BUILD,
    ROOT,
    Cores,
    find_cores,
    other_work,
    raise_descriptor_limit,
    rss_bytes,
)
from bench.nodes import SharedRedis
from bench.servers import Running, ServerFailedError, end, pinned, run_server

CLIENTS = 15_000
SPARE_DESCRIPTORS = 300
OPEN_S = 100.0
QUIET_S = 3.0
SETTLE_S = 5.0
BARE, SEATED, SHARED = "bare", "identity and presence", "identity, and presence in Redis"


class StormFailedError(Exception):
    """A process has not done what it was for."""


@dataclass(frozen=True, slots=True)
class Storm:
    """What one storm has shown.

    Args:
        clients: what their process tells.
        quiet: what the bystander has waited before.
        meanwhile: what it has waited during the storm.
        before_bytes: memory of the server with all clients, before.
        after_bytes: the same after it.
    """

    clients: dict[str, Any]
    quiet: dict[str, Any]
    meanwhile: dict[str, Any]
    before_bytes: int
    after_bytes: int

    def faults(self, count: int) -> list[str]:
        told, faults = self.clients, []
        if told["joined"] != count or told["refused"] or told["lost_before"]:
            faults.append(
                f"{told['joined']:,} of {count:,} are back, {told['refused']:,} were refused, "
                f"{told['lost_before']:,} were lost before: {told['reason']}"
            )
        return faults

    def tell(self) -> str:
        clients, mib = self.clients, 2**20
        return (
            f"all are back after {clients['seconds']:.1f} s; connect p50 {clients['p50_ms']:,} ms, "
            f"p99 {clients['p99_ms']:,} ms; a bystander waits p99 {self.meanwhile['p99_ms']:g} ms, "
            f"at most {self.meanwhile['max_ms']:g} ms (before: p99 {self.quiet['p99_ms']:g} ms); "
            f"memory {self.before_bytes / mib:.0f} MiB, {self.after_bytes / mib:.0f} MiB after"
        )


class Peer:
    """A process of clients, which answers each line with one."""

    def __init__(self, process: subprocess.Popen[bytes], name: str) -> None:
        self._process = process
        self._name = name

    def ask(self) -> dict[str, Any]:
        self.tell()
        return self.hear()

    def tell(self) -> None:
        assert self._process.stdin is not None
        self._process.stdin.write(b"now\n")
        self._process.stdin.flush()

    def hear(self) -> dict[str, Any]:
        found: dict[str, Any] = json.loads(self.read_line())
        return found

    def read_line(self) -> bytes:
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line:
            raise StormFailedError(f"{self._name} has ended early")
        return line


@contextmanager
def open_peer(cores: Cores, module: str, *arguments: str) -> Iterator[Peer]:
    """Run a process of clients on the core of the load generator, once it is ready."""
    process = subprocess.Popen(
        [sys.executable, "-m", module, *arguments],
        cwd=ROOT,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        preexec_fn=pinned(cores.generator),
    )
    try:
        peer = Peer(process, module)
        if peer.read_line() != b"ready\n":
            raise StormFailedError(f"{module} is not ready")
        yield peer
    finally:
        end(process)
        for pipe in (process.stdin, process.stdout):
            if pipe is not None:
                pipe.close()


def raise_storms(
    server: Running, cores: Cores, count: int, storms: int, tokens: str
) -> Iterator[Storm]:
    """Have all clients of a server reconnect, some times over."""
    mine = [jwt_of("bystander")] if tokens else []
    with (
        open_peer(cores, "bench.reconnecting", str(server.port), str(count), tokens) as clients,
        open_peer(cores, "bench.bystander", str(server.port), *mine) as bystander,
    ):
        for _ in range(storms):
            before = rss_bytes(server.pid)
            bystander.ask()
            time.sleep(QUIET_S)
            quiet = bystander.ask()
            found = clients.ask()
            meanwhile = bystander.ask()
            time.sleep(SETTLE_S)
            yield Storm(found, quiet, meanwhile, before, rss_bytes(server.pid))


def jwt_of(user: str) -> str:
    now = int(time.time())
    dated = {"sub": user, "iat": now, "exp": now + identity.VALID_S}
    return jwt.encode(dated, identity.SECRET, "HS256")


def options_of(kind: str, count: int) -> tuple[tuple[str, ...], str]:
    """Return the options of the server, and the file with the tokens of the clients."""
    # All of them come from one address, as behind a proxy that is not trusted.
    room: tuple[str, ...] = ("--max-unjoined-sessions-per-address", str(count + 1))
    room += ("--max-unjoined-sessions", str(count + 1))
    if kind == BARE:
        return room, ""
    configured = identity.configured("HS256", "newest")
    tokens = BUILD / "identity" / f"storm-{count}.tokens"
    tokens.write_text("\n".join(jwt_of(f"user {n}") for n in range(count)) + "\n")
    return (*room, *configured), str(tokens)


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m bench.storm")
    parser.add_argument("--clients", type=int, default=CLIENTS, help=f"default: {CLIENTS:,}")
    parser.add_argument("--storms", type=int, default=2, help="one after the other (default: 2)")
    asked = parser.parse_args()
    descriptors = raise_descriptor_limit()
    if descriptors < asked.clients + SPARE_DESCRIPTORS:
        print(
            f"bench: {asked.clients:,} clients need {asked.clients + SPARE_DESCRIPTORS:,} file "
            f"descriptors in a process, and the hard limit is {descriptors:,}: raise it with "
            f"`ulimit -Hn` or LimitNOFILE=, or give --clients"
        )
        return 2
    if warning := other_work():
        print(f"bench: {warning}")
    BUILD.mkdir(exist_ok=True)
    cores = find_cores()
    failed = False
    for kind in (BARE, SEATED, SHARED):
        options, tokens = options_of(kind, asked.clients)
        try:
            with SharedRedis(cores) as redis, ExitStack() as stack:
                if kind == SHARED:
                    options = (*options, "--redis", redis.start().url)
                server = stack.enter_context(
                    run_server("trio", cores, options=options, log_name="storm")
                )
                for storm in raise_storms(server, cores, asked.clients, asked.storms, tokens):
                    print(f"{asked.clients:,} clients, {kind}: {storm.tell()}", flush=True)
                    for fault in storm.faults(asked.clients):
                        failed = True
                        print(f"FAULT: {fault}", flush=True)
        except (ServerFailedError, StormFailedError) as error:
            failed = True
            print(f"FAULT: {kind}: {error}", flush=True)
    return failed


if __name__ == "__main__":
    sys.exit(main())
