"""Messages with a required acknowledgement, to users who come and go, while servers fail.

Users drop, come back, move between nodes and begin anew at random; one server is restarted and one
is killed. In the end every message has a report, nobody is in it as confirmed who has not seen and
acknowledged the message, and all copies of a message are the same.
"""

import json
import os
import random
import re
import signal
import sys
import tempfile
import time
from collections import deque
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, NamedTuple

import trio
from wsproto.utilities import LocalProtocolError

from tests.interop.server_process import free_port
from tests.redis_server import running_redis
from tests.wire import ConnectionEnded, Rejected, open_client
from trio_socketio.control import ControlError, open_control
from trio_socketio.errors import TrioSocketIOError

CHAT: Final = "/chat"
ABSENT: Final = "absent"
"""A user who never comes."""
_EVENT: Final = re.compile(r"2/chat,(\d+)(\[.*)", re.DOTALL).fullmatch
_GONE: Final = (
    *(ConnectionEnded, Rejected, LocalProtocolError, AssertionError, OSError),
    *(trio.TooSlowError, trio.BrokenResourceError, trio.ClosedResourceError),
)
_FAILED: Final = (TrioSocketIOError, OSError, TimeoutError, trio.BrokenResourceError)


class Length(NamedTuple):
    """How much is played.

    Args:
        messages: how many are sent.
        users: how many there are.
        sending_s: how long the sending takes.
        schedule_s: of the retries.
        expires_s: how long a message may take.
        calm_s: how long all users stay and answer in the end.
        ends: how nodes end meanwhile.
    """

    messages: int
    users: int
    sending_s: float
    schedule_s: tuple[float, ...]
    expires_s: float
    calm_s: float
    ends: tuple[signal.Signals, ...] = (signal.SIGTERM, signal.SIGKILL)


WHOLE: Final = Length(2000, 100, 60.0, (2.0, 4.0, 6.0, 8.0, 10.0, 14.0, 18.0), 25.0, 8.0)
SHORT: Final = Length(80, 12, 1.0, (0.3, 0.6, 0.9, 1.2, 1.5), 2.0, 0.8, (signal.SIGKILL,))


@dataclass
class Report:
    """What was seen.

    Args:
        messages: how many were accepted.
        confirmed: how many users have confirmed.
        unconfirmed: how many have not.
        copies: how many copies clients have got.
        again: how many of them were not the first.
        drops: how often clients have dropped.
        calls: how many calls of deliver were made again.
        took_s: how long it took.
        faults: whatever is wrong.
    """

    messages: int = 0
    confirmed: int = 0
    unconfirmed: int = 0
    copies: int = 0
    again: int = 0
    drops: int = 0
    calls: int = 0
    took_s: float = 0.0
    faults: list[str] = field(default_factory=list)

    def tell(self) -> str:
        """Return lines to print."""
        lines = [
            f"{self.messages:,} messages: {self.confirmed:,} users have confirmed, "
            f"{self.unconfirmed:,} are reported as not confirmed",
            f"{self.copies:,} copies, {self.again:,} of them again; clients dropped "
            f"{self.drops:,} times; deliver was called again {self.calls:,} times; "
            f"{self.took_s:.1f} s",
        ]
        return "\n".join([*lines, *(f"FAULT: {fault}" for fault in self.faults)])


class Node:
    """A server process.

    Args:
        folder: for its files.
        name: of the node.
        text: of its configuration.
    """

    def __init__(self, folder: Path, name: str, text: str) -> None:
        self.port = free_port()
        self.name = name
        self.is_up = False
        self._folder = folder
        self._process: trio.Process | None = None
        self._conf = folder / f"{name}.toml"
        self._conf.write_text(
            text.replace("[redis]", f'[cluster]\nnode = "{name}"\n[redis]')
            + f'\n[control]\nlisten = ["unix:{self.path}"]\n'
        )

    @property
    def path(self) -> Path:
        """Of its control socket."""
        return self._folder / f"run-{self.name}" / "c.sock"

    async def start(self) -> None:
        """Start it, and wait until it serves."""
        self.path.unlink(missing_ok=True)
        command = [sys.executable, "-m", "trio_socketio", "serve", "--port", str(self.port)]
        with (self._folder / f"{self.name}.log").open("ab") as log:
            self._process = await trio.lowlevel.open_process(
                [*command, "--config", str(self._conf)],
                stdin=-3,
                stderr=log,
                env={**os.environ, "STATE_DIRECTORY": ""},
            )
        with trio.fail_after(30):
            while not await self._serves():
                assert self._process.poll() is None, f"{self.name} has ended; see its log"
                await trio.sleep(0.05)
        self.is_up = True

    async def _serves(self) -> bool:
        try:
            async with open_control(f"unix:{self.path}") as control:
                info = await control.call("system.info")
                return bool(info["state"] == "serving")
        except _FAILED:
            return False

    async def end(self, number: signal.Signals) -> None:
        """Send it a signal, and wait for its end."""
        self.is_up = False
        if self._process is not None and self._process.returncode is None:
            self._process.send_signal(number)
            with trio.move_on_after(20):
                await self._process.wait()
            if self._process.returncode is None:
                self._process.kill()
                await self._process.wait()


class World:
    """The nodes, the users, and what these have seen.

    Args:
        nodes: the servers.
        length: how much is played.
        chance: what is left to chance.
    """

    def __init__(self, nodes: Sequence[Node], length: Length, chance: random.Random) -> None:
        self.nodes = nodes
        self.length = length
        self.chance = chance
        self.report = Report()
        self.is_calm = False
        self.seen: dict[tuple[str, str], int] = {}  # by user and id: how often
        self.acknowledged: set[tuple[str, str]] = set()
        self.texts: dict[str, str] = {}  # by id: what came, as text
        self.sent: dict[str, float] = {}  # by id: when it was accepted; 0 if that is unknown
        self.everybody = [f"u{number}" for number in range(length.users)]
        self.users: dict[str, list[str]] = {}  # by id: who has to confirm

    async def be_user(self, user: str) -> None:
        """Come, answer most messages, drop, and come again, to some node."""
        while True:
            up = [node for node in self.nodes if node.is_up]
            if up:
                stay_s = 60.0 if self.is_calm else self.chance.uniform(0.2, 4.0)
                with suppress(*_GONE):
                    await self._be_in(self.chance.choice(up).port, user, stay_s)
                self.report.drops += 1
            pause_s = self.chance.uniform(0.0, 0.2 if self.is_calm else 1.5)
            await trio.sleep(min(pause_s, self.length.sending_s / 4))

    async def _be_in(self, port: int, user: str, stay_s: float) -> None:
        ends_at = trio.current_time() + stay_s
        with trio.move_on_after(stay_s) as scope:
            async with open_client(port) as client:
                await client.connect(CHAT, {"token": f"token-of-{user}"})
                while True:
                    text, _ = await client.receive()
                    found = _EVENT(text)
                    if found is None:
                        return  # it was put out
                    ack_id, body = found.groups()
                    self._see(user, body)
                    kind = self.chance.random()
                    if self.is_calm:
                        scope.deadline = max(ends_at, trio.current_time() + 60.0)
                    elif kind < 0.05:
                        return  # it drops without an answer
                    elif kind < 0.15:
                        continue  # it has seen it, and does not say so
                    # Before it is sent, because a cancelled send may have gone out.
                    self.acknowledged.add((user, json.loads(body)[1]["id"]))
                    await client.send(f"3{CHAT},{ack_id}[]")

    def _see(self, user: str, body: str) -> None:
        name = json.loads(body)[1]["id"]
        if self.texts.setdefault(name, body) != body:
            self.report.faults.append(f"copies of {name} differ: {body}")
        count = self.seen.get((user, name), 0)
        self.seen[user, name] = count + 1
        self.report.copies += 1
        self.report.again += count > 0

    async def send_all(self) -> None:
        """Have the nodes deliver messages, a few on each connection."""
        length = self.length
        began = trio.current_time()
        waiting = deque(range(length.messages))
        tried_at = began
        while waiting:
            up = [node for node in self.nodes if node.is_up]
            if up:
                node = self.chance.choice(up)
                with suppress(*_FAILED):
                    async with open_control(f"unix:{node.path}") as control:
                        for _ in range(self.chance.randrange(1, 20)):
                            due_s = waiting[0] * length.sending_s / length.messages
                            await trio.sleep_until(began + due_s)
                            if not await self._send(control, waiting[0]):
                                break
                            waiting.popleft()
                            tried_at = trio.current_time()
                            if not waiting:
                                return
            if trio.current_time() > tried_at + 30:
                self.report.faults.append(f"{len(waiting)} messages were taken by no node")
                return
            await trio.sleep(0.02)

    async def _send(self, control: Any, number: int) -> bool:
        """Call deliver; return whether the message was accepted, or never will be."""
        name = f"m{number:05}"
        if name not in self.users:
            count = self.chance.choice((1, 1, 1, 2, 3))
            self.users[name] = self.chance.sample(self.everybody, count)
            if number % 40 == 0:
                self.users[name].append(ABSENT)
            self.sent[name] = 0.0
        else:
            self.report.calls += 1
        params = {
            "namespace": CHAT,
            "event": "news",
            "args": [{"id": name, "text": f"hello {name}"}],
            "users": self.users[name],
            "durable": True,
            "schedule_s": self.length.schedule_s,
            "expires_s": self.length.expires_s,
        }
        try:
            await control.call("deliver", params, timeout_s=5)
        except ControlError as error:
            if (error.data or {}).get("retryable", True):
                return False
            self.report.faults.append(f"deliver {name}: {error}")
        self.sent[name] = time.time()
        return True

    async def judge(self, calm_at: float) -> None:
        """Read the reports, and compare them with what clients have seen."""
        node = next(one for one in self.nodes if one.is_up)
        report = self.report
        async with open_control(f"unix:{node.path}") as control:
            await self._wait_ended(control)
            for name, accepted_at in self.sent.items():
                try:
                    found = await control.call("deliveries.get", {"namespace": CHAT, "id": name})
                except ControlError as error:
                    report.faults.append(f"{name}: {error}")
                    continue
                report.messages += 1
                confirmed = {one["user"] for one in found["confirmed"]}
                report.confirmed += len(confirmed)
                report.unconfirmed += len(found["unconfirmed"])
                if sorted([*confirmed, *found["unconfirmed"]]) != sorted(self.users[name]):
                    report.faults.append(f"{name}: it is for others in {found}")
                if (found["state"] == "confirmed") is bool(found["unconfirmed"]):
                    report.faults.append(f"{name}: it is {found['state']}: {found}")
                report.faults += [
                    f"{name}: {user} is said to have confirmed it, and has not seen it"
                    for user in confirmed
                    if (user, name) not in self.acknowledged
                ]
                # All users have stayed and answered in the last retries of this one.
                left = [user for user in found["unconfirmed"] if user != ABSENT]
                if left and accepted_at > calm_at - self.length.sending_s / 10:
                    report.faults.append(f"{name}: not confirmed although all is calm: {found}")

    async def _wait_ended(self, control: Any) -> None:
        with trio.move_on_after(self.length.expires_s + 15):
            for name in self.sent:
                while True:
                    found = await control.call("deliveries.get", {"namespace": CHAT, "id": name})
                    if found["state"] != "open":
                        break
                    await trio.sleep(0.1)
            return
        self.report.faults.append("there are messages that do not end")


def configure(users: int, further: str) -> str:
    """Return the configuration of a node."""
    tokens = ", ".join(
        f'{{ user = "u{number}", token = "token-of-u{number}" }}' for number in range(users)
    )
    return f"""
[identity]
tokens = [{tokens}]
namespaces = [{{ name = "{CHAT}", methods = ["static"] }}]
[presence]
policy = "none"
[stop]
delay_s = 0.001
window_s = 0.2
grace_s = 0.2
{further}
"""


@asynccontextmanager
async def playing(nodes: Sequence[Node], length: Length, seed: int) -> AsyncIterator[World]:
    """Start the nodes and the users; judge in the end."""
    world = World(nodes, length, random.Random(seed))
    began = time.monotonic()
    try:
        async with trio.open_nursery() as starting:
            for node in nodes:
                starting.start_soon(node.start)
        async with trio.open_nursery() as users:
            for user in world.everybody:
                users.start_soon(world.be_user, user)
            await trio.sleep(0.3)
            yield world
            calm_at = time.time()
            world.is_calm = True
            await trio.sleep(length.calm_s)
            await world.judge(calm_at)
            users.cancel_scope.cancel()
    finally:
        with trio.CancelScope(shield=True):
            for node in nodes:
                await node.end(signal.SIGKILL)
        world.report.took_s = time.monotonic() - began


async def play_nodes(length: Length, folder: Path, seed: int = 1) -> Report:
    """Nodes that share a Redis: one is restarted, another one is killed for good."""
    with running_redis() as redis:
        text = configure(length.users, f'[redis]\nurl = "{redis.url}"')
        nodes = [Node(folder, name, text) for name in ("a", "b", "c")[: 1 + len(length.ends)]]
        async with playing(nodes, length, seed) as world, trio.open_nursery() as tasks:
            tasks.start_soon(world.send_all)
            for node, number in zip(nodes[1:], length.ends, strict=True):
                await trio.sleep(length.sending_s / 4)
                await node.end(number)
                if number is signal.SIGTERM:
                    tasks.start_soon(node.start)
    return world.report


async def play_alone(length: Length, folder: Path, seed: int = 2) -> Report:
    """One node with a file on its disk: it is restarted, and killed and started again."""
    text = configure(length.users, f'[state]\nfolder = "{folder}/state"')
    node = Node(folder, "alone", text)
    async with playing([node], length, seed) as world, trio.open_nursery() as tasks:
        tasks.start_soon(world.send_all)
        for number in length.ends:
            await trio.sleep(length.sending_s / (1 + len(length.ends)))
            await node.end(number)
            await node.start()
    return world.report


def main(arguments: Sequence[str]) -> bool:
    """Play the faults; return whether all was right."""
    length = SHORT if "--short" in arguments else WHOLE
    is_right = True
    for title, play in (("one node with a disk", play_alone), ("nodes", play_nodes)):
        with tempfile.TemporaryDirectory() as folder:
            report = trio.run(play, length, Path(folder))
        sys.stdout.write(f"confirmed delivery, {title}:\n{report.tell()}\n")
        is_right = is_right and not report.faults
    return is_right
