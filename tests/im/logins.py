"""Many users who log in again and again: ``python -m tests.im.logins [USERS [LOGINS [SEED]]]``.

Two servers share a presence store. Clients of every kind, in processes of their own, log users in,
each while the client before is in, or leaves, or breaks its connection, or comes at the same
moment. Meanwhile the log is read through the interface of the store, and compared with the state at
the same cursors; observers of the servers note who is in. Without arguments it is 1,000 users with
50 logins each. Exits 1 if anything is wrong.
"""

import json
import shutil
import sys
import time
from collections import Counter
from dataclasses import dataclass, field
from typing import Any, Final

import trio
from tests.crowd import need_descriptors
from tests.im.presence_reader import Reader
from tests.interop.drivers import HERE, ClientsMissing
from tests.interop.server_process import ROOT

from trio_socketio import Joining, JoiningState, Observer, Server, ServerOptions, Socket, Step
from trio_socketio.im.presence import MemoryStore, Presence
from trio_socketio.protocol.presence_cursor import parse_cursor
from trio_socketio.socketio.open_server import open_server

NAMESPACE: Final = "/chat"
NODE_PART: Final = 10
"""One of so many users has official clients."""
LOOKS_S: Final = 0.2
SETTLES_S: Final = 30.0


class Inside(Observer):
    """Notes which sockets of each user are in, on all servers."""

    def __init__(self) -> None:
        self.by_user: dict[str, set[Socket]] = {}
        self.joined_ids: dict[str, list[str]] = {}
        self.complaints: list[str] = []

    def joined(self, socket: Socket) -> None:
        assert socket.user is not None
        inside = self.by_user.setdefault(socket.user, set())
        if inside:  # I7
            self.complaints.append(f"{socket.user}: two clients are in, {socket.public_id} second")
        inside.add(socket)
        self.joined_ids.setdefault(socket.user, []).append(socket.public_id)

    def left(self, socket: Socket, reason: str, recoverable: bool) -> None:
        assert socket.user is not None
        inside = self.by_user[socket.user]
        inside.remove(socket)
        if not inside:
            del self.by_user[socket.user]

    def answer(self, socket: Socket) -> None:
        """The handler of "here"."""
        if socket not in self.by_user.get(socket.user or "", ()):
            self.complaints.append(f"{socket.user}: an event was handled of a client that is out")


@dataclass
class Outcome:
    """What a run has shown.

    Args:
        seconds: that it took.
        raw: what the raw clients have told.
        node: what the official clients have told.
        types: the entries of the log.
        reasons: why seats have ended.
        complaints: whatever is wrong.
    """

    seconds: float = 0.0
    raw: dict[str, Any] = field(default_factory=dict)
    node: dict[str, Any] = field(default_factory=dict)
    types: Counter[str] = field(default_factory=Counter)
    reasons: Counter[str] = field(default_factory=Counter)
    complaints: list[str] = field(default_factory=list)

    def __str__(self) -> str:
        logins = self.raw["logins"] + self.node["logins"]
        lines = [
            f"{logins:,} logins in {self.seconds:.1f} s, {logins / self.seconds:,.0f}/s",
            f"log: {dict(self.types)}",
            f"reasons: {dict(self.reasons)}",
            f"raw clients: {len(self.raw['entered']):,} were in; ends: {self.raw['ends']}; "
            f"{self.raw['late']:,} on long-polling learned later that they are out, by "
            f"{self.raw['latest_s'] * 1000:.0f} ms at most",
            f"official clients: {self.node['entered']:,} were in, {self.node['kinds']}; old ones "
            f"knew it {self.node['latest_s'] * 1000:.0f} ms after the new ones at most",
        ]
        return "\n".join([*lines, *(f"WRONG: {one}" for one in self.complaints)])


async def run_logins(users: int, logins: int, seed: int = 1) -> Outcome:
    """Log users in, and return what that has shown."""
    need_descriptors(users * 8 + 500)
    outcome = Outcome()
    store, inside = MemoryStore(), Inside()
    reader = Reader(store, NAMESPACE, page=500)
    began = time.monotonic()
    one, other = _create(store, inside), _create(store, inside)
    async with (
        open_server(one) as here,
        open_server(other) as there,
        trio.open_nursery() as nursery,
    ):
        ports = [here[0][1], there[0][1]]
        nursery.start_soon(_follow, reader)
        async with trio.open_nursery() as clients:
            of_node = max(1, users // NODE_PART)
            clients.start_soon(_drive_raw, outcome, ports, users - of_node, logins, seed)
            clients.start_soon(_drive_node, outcome, ports, of_node, logins, seed)
        outcome.seconds = time.monotonic() - began
        with trio.move_on_after(SETTLES_S):
            while inside.by_user or reader.users:  # noqa: ASYNC110 - nothing tells of both
                await trio.sleep(0.02)
        nursery.cancel_scope.cancel()
    await _judge(outcome, reader, inside)
    return outcome


def _create(store: MemoryStore, inside: Inside) -> Server:
    server = Server(
        ServerOptions(
            allow_eio3=True, ping_interval_s=5, ping_timeout_s=20, stop_grace_s=1, stop_flush_s=1
        )
    )
    chat = server.of(NAMESPACE)

    def identify(joining: Joining) -> None:
        joining.identify(joining.auth["user"])

    chat.add_steps([Step(JoiningState.AUTHENTICATING, identify)])
    chat.on("here")(inside.answer)
    Presence(server, store).seat(NAMESPACE)
    chat.observe(inside)
    return server


async def _follow(reader: Reader) -> None:
    """Compare the log with the state again and again, as it grows (I1 to I4, I8)."""
    while True:
        await reader.follow()
        await trio.sleep(LOOKS_S)


async def _judge(outcome: Outcome, reader: Reader, inside: Inside) -> None:
    complaints = outcome.complaints
    complaints += inside.complaints + outcome.raw["complaints"] + outcome.node["complaints"]
    await reader.follow()
    if inside.by_user or reader.users:  # I6
        complaints.append(f"left behind: {list(inside.by_user)[:3]}, {list(reader.users)[:3]}")
    entries = reader.entries
    outcome.types = Counter(entry.type for entry in entries)
    outcome.reasons = Counter(entry.reason for entry in entries if entry.reason is not None)
    cursors = [parse_cursor(entry.cursor) for entry in entries]
    if any(cursor.sequence != number for number, cursor in enumerate(cursors, 1)):
        complaints.append("an entry is twice in the log, or missing")
    claimed: dict[str, list[str]] = {}
    state: dict[str, str] = {}
    for entry in entries:
        if entry.type != "offline":
            claimed.setdefault(entry.user, []).append(entry.id)
        wanted = (
            ("online",) if state.get(entry.user, "offline") == "offline" else ("moved", "offline")
        )
        if entry.type not in wanted:  # I3
            complaints.append(f"{entry.user}: {entry.type} after {state.get(entry.user)}")
        state[entry.user] = entry.type
    for user, ids in inside.joined_ids.items():
        in_order = iter(claimed.get(user, ()))
        if not all(one in in_order for one in ids):
            complaints.append(f"{user}: clients were let in in another order than the log has")
    joined = {one for ids in inside.joined_ids.values() for one in ids}
    if not joined.issuperset(outcome.raw["entered"]):
        complaints.append("clients were let in of which the servers know nothing")


async def _drive_raw(
    outcome: Outcome, ports: list[int], users: int, logins: int, seed: int
) -> None:
    command = [sys.executable, "-m", "tests.im.login_clients", ",".join(map(str, ports))]
    outcome.raw = await _run([*command, str(users), str(logins), str(seed)])


async def _drive_node(
    outcome: Outcome, ports: list[int], users: int, logins: int, seed: int
) -> None:
    node = shutil.which("node")
    if node is None:
        raise ClientsMissing("node is missing: it runs the official clients; install Node 18+")
    urls = ",".join(f"http://127.0.0.1:{port}" for port in ports)
    command = [node, str(HERE / "logins.mjs"), urls]
    outcome.node = await _run([*command, str(users), str(logins), str(seed)])


async def _run(command: list[str]) -> dict[str, Any]:
    process = await trio.run_process(
        command, cwd=ROOT, capture_stdout=True, capture_stderr=True, check=False
    )
    if process.returncode:
        said = process.stderr.decode(errors="replace")[-4000:]
        raise RuntimeError(f"{command[:3]} ended with {process.returncode}\n{said}")
    result: dict[str, Any] = json.loads(process.stdout)
    return result


def main() -> None:
    users, logins, seed = [*map(int, sys.argv[1:]), *(1000, 50, 1)[len(sys.argv) - 1 :]]
    outcome = trio.run(run_logins, users, logins, seed)
    print(outcome)  # noqa: T201 - what the command is for
    sys.exit(bool(outcome.complaints))


if __name__ == "__main__":
    main()
