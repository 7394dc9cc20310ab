"""The server that joining_model.py is compared with: real sessions on socket pairs, a still clock.

Its user code does what the scripts of joining_script.py say, and writes down what happened.
"""

import json
import logging
import re
import socket
import threading
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any

import pytest
import trio
from tests.socketio.joining_script import (
    AUTH_S,
    AWAY_S,
    CONNECT_S,
    HOOK_S,
    PASS,
    SPACES,
    Ack,
    Auth,
    Close,
    Connect,
    Event,
    Leave,
    Packet,
    Plan,
)
from tests.socketio.serving import frame
from tests.wire import TIMEOUT_S
from trio.testing import MockClock, wait_all_tasks_blocked

from trio_socketio import (
    Adapter,
    ConnectRefused,
    Joining,
    Namespace,
    Observer,
    Server,
    ServerOptions,
    SessionClosed,
    Socket,
)
from trio_socketio.protocol.joining import State
from trio_socketio.runtime import jobs, poller
from trio_socketio.socketio.saved_session import SavedSession
from trio_socketio.socketio.steps import Step

STILL_S = 1e5  # no heartbeat within a test
_PACKET = re.compile(r"4(\d)(/[^,]*,)?(\d+)?(.*)", re.DOTALL)


@dataclass(eq=False)
class Seen:
    """What the server has done with one CONNECT."""

    plan: Plan
    gates: dict[Any, trio.Event] = field(default_factory=dict)
    entered: list[str] = field(default_factory=list)
    told: list[tuple[Any, ...]] = field(default_factory=list)
    handled: list[tuple[Any, ...]] = field(default_factory=list)
    undone: list[int] = field(default_factory=list)
    claims: int = 0
    socket: Socket | None = None
    joining: Joining | None = None
    sid: str = ""
    all_open: bool = False

    def gate(self, name: Any) -> trio.Event:
        gate = self.gates.setdefault(name, trio.Event())
        if self.all_open:
            gate.set()
        return gate


class Wire:
    """A client's end of a WebSocket."""

    def __init__(self, sock: socket.socket, protocol: int) -> None:
        sock.setblocking(False)
        self.sock = sock
        self.protocol = protocol
        self.closed = False  # the server has said goodbye
        self.received: dict[str, list[tuple[Any, ...]]] = {}
        self.told: dict[str, list[Any]] = {}  # with each CONNECT
        self.offsets: dict[str, str] = {}  # the last one by namespace
        self.ack_ids: dict[int, int] = {}  # by question
        self._data = b""
        self._head = True

    def send(self, texts: list[str]) -> None:
        data = b"".join(map(frame, texts))
        try:
            assert self.sock.send(data) == len(data)
        except (BrokenPipeError, ConnectionResetError):
            assert self.closed

    def read(self) -> None:
        while True:
            try:
                data = self.sock.recv(65536)
            except BlockingIOError:
                break
            except ConnectionResetError:
                data = b""
            if not data:
                break
            self._data += data
        if self._head and b"\r\n\r\n" in self._data:
            head, _, self._data = self._data.partition(b"\r\n\r\n")
            assert head.startswith(b"HTTP/1.1 101 "), head
            self._head = False
        while not self._head and len(self._data) >= 2:
            kind, size = self._data[0], self._data[1]
            start = 2
            if size == 126:
                size, start = int.from_bytes(self._data[2:4], "big"), 4
            assert size < 65536
            assert len(self._data) >= start + size, "frames arrive whole"
            payload, self._data = self._data[start : start + size], self._data[start + size :]
            if kind == 0x88:
                self.closed = True
            else:
                assert kind == 0x81
                assert not self.closed
                self._receive(payload.decode())

    def _receive(self, text: str) -> None:
        if text[0] == "0":
            return
        parts = _PACKET.fullmatch(text)
        assert parts is not None, text
        name = (parts[2] or "/,")[:-1]
        ack_id = None if parts[3] is None else int(parts[3])
        data: Any = json.loads(parts[4]) if parts[4] else None
        token: tuple[Any, ...]
        if parts[1] == "0":
            token = ("connect",)
            self.told.setdefault(name, []).append(data)
        elif parts[1] == "1":
            token = ("disconnect",)
        elif parts[1] == "4":
            token = ("error", data if self.protocol == 3 else data["message"])
        elif parts[1] == "3":
            assert ack_id is not None
            token = ("ack", ack_id)
        else:
            event, argument, *offset = data
            if event == "logic/error":
                argument = (argument["errcode"], argument["errmsg"])
            token = ("event", event, argument)
            if offset:
                (self.offsets[name],) = offset
            if ack_id is not None:
                self.ack_ids[argument] = ack_id
        self.received.setdefault(name, []).append(token)


class GatedAdapter(Adapter):
    """Hands sessions out when the plan of the client lets it."""

    world: "World"

    async def restore_session(self, pid: str, offset: str | None) -> SavedSession | None:
        for joining in tuple(self._namespace._joinings):
            assert isinstance(joining, Joining)
            seen = self.world.find(joining)
            if joining.state is State.RESTORING and "restore" not in seen.entered:
                break
        else:
            raise AssertionError("nobody asks for it")
        visit = seen.plan.get("restore", PASS)
        seen.entered.append("restore")
        if visit.wait:
            await seen.gate("restore").wait()
        if visit.outcome != "pass":
            raise RuntimeError("as the plan says")
        return await super().restore_session(pid, offset)


class Watcher(Observer):
    def __init__(self, world: "World") -> None:
        self._world = world

    def joined(self, socket: Socket) -> None:
        seen = self._world.find(socket)
        assert socket.connected
        assert socket.namespace.sockets[socket.id] is socket
        seen.told.append(("joined", socket.recovered))
        seen.socket, seen.sid = socket, socket.id
        if seen.plan.get("observer", PASS).outcome == "kick":
            socket.disconnect()

    def left(self, socket: Socket, reason: str, recoverable: bool) -> None:
        assert not socket.connected
        assert socket.id not in socket.namespace.sockets
        self._world.find(socket).told.append(("left", reason, recoverable))

    def refused(self, joining: Joining, error: ConnectRefused) -> None:
        self._world.find(joining).told.append(("refused", error.message))

    def abandoned(self, joining: Joining) -> None:
        self._world.find(joining).told.append(("abandoned",))


class Defects(logging.Handler):
    """Whatever the server calls a defect of its own."""

    def __init__(self) -> None:
        super().__init__()
        self.told: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        if "defect" in record.getMessage() or "a session failed" in record.getMessage():
            self.told.append(self.format(record))


class World:
    """A server in a thread with a trio run of its own, so that each rule can hand it work."""

    def __init__(self, *, recovery: bool, skip_middlewares: bool, cleanup: bool) -> None:
        self.server = Server(
            ServerOptions(
                ping_interval_s=STILL_S,
                ping_timeout_s=STILL_S,
                slow_handler_s=STILL_S,
                allow_eio3=True,
                connect_timeout_s=CONNECT_S,
                hook_timeout_s=HOOK_S,
                state_recovery=recovery,
                state_recovery_max_disconnection_s=AWAY_S,
                state_recovery_skip_middlewares=skip_middlewares,
                cleanup_empty_child_namespaces=cleanup,
            ),
            adapter=self._create_adapter if recovery else Adapter,
        )
        self.seen: dict[int, Seen] = {}
        self.events: dict[int, Event] = {}
        self.answers: dict[int, str] = {}
        self.wires: dict[int, Wire] = {}
        self.offsets: dict[str, str] = {}  # the last one that the client of a pid has got
        self.clock = MockClock()
        self.defects = Defects()
        self._prepare()
        self._ready = threading.Event()
        self._failure: BaseException | None = None
        self._patch = pytest.MonkeyPatch()
        self._thread = threading.Thread(target=self._run, daemon=True)  # it may hang
        self._thread.start()
        assert self._ready.wait(TIMEOUT_S)

    # -- its user code

    def _create_adapter(self, namespace: Namespace) -> Adapter:
        adapter = GatedAdapter(namespace)
        adapter.world = self
        return adapter

    def _prepare(self) -> None:
        self.server.observe(Watcher(self))
        for name in ("/", "/plain", "/async", "/event", "/gone"):
            self.furnish(self.server.of(name), name)
        self.furnish(self.server.of(re.compile(r"/dyn-\d")), "/dyn-1")

        async def predicate(name: str, auth: dict[str, Any]) -> bool:
            seen = self.seen[int(auth["n"])]
            seen.entered.append("search")
            await self._wait(seen, "search")
            visit = seen.plan.get("search", PASS)
            if visit.outcome == "fail":
                raise RuntimeError("as the plan says")
            return name.startswith("/ask-") and visit.outcome == "pass"

        self.furnish(self.server.of(predicate), "/ask-1")

    def furnish(self, space: Any, name: str) -> None:
        """Give a namespace its steps and handlers."""
        setting = SPACES[name]
        for stage, position in (
            (State.AUTHENTICATING, "auth"),
            (State.MIDDLEWARE, "middleware"),
            (State.SEAT, "seat"),
        ):
            function = self._slow_step(position) if position in setting.slow else None
            if position == "auth" and setting.by_event:
                function = self._authenticate
            step = Step(stage, function or self._step(position), timeout_s=setting.timeout_s)
            space.add_steps([step])

        def connected(socket: Socket) -> None:
            seen = self.find(socket)
            seen.handled.append(("connection",))
            self._act_on(socket, seen.plan.get("connection", PASS).outcome)

        async def connected_slowly(socket: Socket) -> None:
            seen = self.find(socket)
            seen.handled.append(("connection",))
            if seen.plan.get("connection", PASS).wait:
                await seen.gate("connection").wait()
            self._act_on(socket, seen.plan.get("connection", PASS).outcome)

        def plain(socket: Socket, number: int) -> None:
            self.find(socket).handled.append(("event", number))
            self._act_on(socket, self.events[number].action, number)

        async def slow(socket: Socket, number: int) -> None:
            self.find(socket).handled.append(("event", number))
            if self.events[number].gated:
                await self.find(socket).gate(("event", number)).wait()
            self._act_on(socket, self.events[number].action, number)

        def disconnecting(socket: Socket, reason: str) -> None:
            self.find(socket).handled.append(("disconnecting", reason))

        def disconnected(socket: Socket, reason: str) -> None:
            self.find(socket).handled.append(("disconnect", reason))

        async def disconnected_slowly(socket: Socket, reason: str) -> None:
            await trio.lowlevel.checkpoint()
            disconnected(socket, reason)

        space.on("connection")(connected_slowly if "connection" in setting.slow else connected)
        space.on("plain")(plain)
        space.on("slow")(slow)
        space.on("disconnecting")(disconnecting)
        space.on("disconnect")(
            disconnected_slowly if "disconnect" in setting.slow else disconnected
        )

    def find(self, what: Joining | Socket) -> Seen:
        auth = what.auth if isinstance(what, Joining) else what.handshake.auth
        number = auth.get("n")
        if number is None:  # a client 2.x in the main namespace
            one = what.socket if isinstance(what, Joining) else what
            assert one is not None
            number = one.handshake.query["n"]
        seen = self.seen[int(number)]
        if isinstance(what, Joining):
            seen.joining = what
        return seen

    async def _wait(self, seen: Seen, position: str, wait: str | None = None) -> None:
        wait = seen.plan.get(position, PASS).wait if wait is None else wait
        if wait:
            with trio.CancelScope(shield=wait == "shield"):
                await seen.gate(position).wait()

    def _claim(self, seen: Seen, kind: str) -> None:
        number = seen.claims
        seen.claims += 1
        gate = seen.gate(("undo", number))

        def undo() -> None:
            seen.undone.append(number)
            if kind == "failing":
                raise RuntimeError("as the plan says")

        async def undo_slowly() -> None:
            seen.undone.append(number)
            if kind == "gated":
                await gate.wait()
            else:
                await trio.lowlevel.checkpoint()

        assert seen.joining is not None
        seen.joining.undo(undo_slowly if kind in ("async", "gated") else undo)

    def _begin(self, position: str, what: Joining | Socket) -> Seen:
        seen = self.find(what)
        seen.entered.append(position)
        seen.socket = what.socket if isinstance(what, Joining) else what
        visit = seen.plan.get(position, PASS)
        if visit.claim and position != "middleware":
            self._claim(seen, visit.claim)
        if visit.room:
            assert seen.socket is not None
            seen.socket.join(visit.room)
        return seen

    def _end(self, position: str, seen: Seen, outcome: str = "") -> bool | None:
        visit = seen.plan.get(position, PASS)
        outcome = outcome or visit.outcome
        if visit.late and position != "middleware":
            self._claim(seen, visit.late)
        if position == "auth":
            assert seen.joining is not None
            seen.joining.identify("somebody")
        assert seen.socket is not None
        number = next(number for number, one in self.seen.items() if one is seen)
        if outcome == "refuse":
            raise ConnectRefused(f"no {number}")
        if outcome == "fail":
            raise RuntimeError("as the plan says")
        self._act_on(seen.socket, outcome)
        return False if outcome == "false" else None

    def _act_on(self, socket: Socket, action: str, number: int = 0) -> None:
        if action in ("kick", "kick and tell"):
            socket.disconnect()
            if action == "kick and tell":
                socket.namespace.emit("news", number)
        elif action == "kick all":
            socket.disconnect(close=True)
        elif action == "kick everybody":
            socket.namespace.disconnect_sockets()
        elif action == "close":
            socket.session.close()

    def _step(self, position: str) -> Callable[[Any], Any]:
        return lambda what: self._end(position, self._begin(position, what))

    def _slow_step(self, position: str) -> Callable[[Any], Any]:
        async def step(what: Joining | Socket) -> bool | None:
            seen = self._begin(position, what)
            await self._wait(seen, position)
            return self._end(position, seen)

        return step

    async def _authenticate(self, joining: Joining) -> bool | None:
        seen = self._begin("auth", joining)
        (right,) = await joining.accept("auth", AUTH_S).wait()
        wait = seen.plan.get("auth", PASS).wait
        await self._wait(seen, "auth", wait if right or wait else "gate")
        return self._end("auth", seen, "" if right else "refuse")

    # -- its thread

    def _run(self) -> None:
        try:
            trio.run(self._main, clock=self.clock)
        except BaseException as error:
            self._failure = error
        finally:
            self._ready.set()

    async def _main(self) -> None:
        self._token = trio.lowlevel.current_trio_token()
        logger = logging.getLogger("trio_socketio")
        logger.addHandler(self.defects)
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(poller, "TURN_S", STILL_S)  # a batch is read in one turn
            patch.setattr(jobs, "_SLICE_S", STILL_S)
            try:
                async with trio.open_nursery() as self._nursery:
                    await self._nursery.start(self._serve)
                    await wait_all_tasks_blocked()
                    self.tasks_at_rest = trio.lowlevel.current_statistics().tasks_living
                    self._ready.set()
            finally:
                logger.removeHandler(self.defects)

    async def _serve(self, task_status: trio.TaskStatus[Any]) -> None:
        self.serving = trio.CancelScope()
        with self.serving:
            await self.server.serve(port=0, task_status=task_status)

    def do(self, function: Callable[..., Awaitable[Any]], *arguments: Any) -> Any:
        """Run function there, within TIMEOUT_S of real time."""
        done: list[Any] = []
        ended = threading.Event()

        async def run() -> None:
            try:
                done.append(await function(*arguments))
            except BaseException as error:
                done.append(error)
                if not isinstance(error, Exception):
                    raise
            finally:
                ended.set()

        self._token.run_sync_soon(lambda: self._nursery.start_soon(run))
        assert ended.wait(TIMEOUT_S), "the server hangs"
        if isinstance(done[0], BaseException):
            raise done[0]
        return done[0]

    def join(self) -> None:
        self._thread.join(TIMEOUT_S)
        assert not self._thread.is_alive(), "the server hangs"
        if self._failure is not None:
            raise self._failure

    async def stop(self) -> None:
        """Stop in order, as if time passed."""
        self.clock.autojump_threshold = 0
        self.server.stop()

    async def cancel(self) -> None:
        """End at once."""
        self.clock.autojump_threshold = 0
        self.serving.cancel()

    async def abort(self) -> None:
        """End after a failure, whatever waits."""
        for seen in self.seen.values():
            seen.all_open = True
            for gate in seen.gates.values():
                gate.set()
        await self.cancel()

    async def count_tasks(self) -> int:
        """How many there are more than in a server that has just begun."""
        workers = self.server._workers
        assert workers._busy == 0
        living = trio.lowlevel.current_statistics().tasks_living
        return living - self.tasks_at_rest - len(workers._idle) - 1

    # -- what a test does

    async def settle(self) -> None:
        await wait_all_tasks_blocked()
        for wire in self.wires.values():
            wire.read()

    async def act(self, action: Callable[[], Any]) -> None:
        """Do something plain, and let everything happen that follows from it."""
        action()
        await self.settle()

    async def pass_to(self, at: float) -> None:
        """Move the clock; what is coalesced has its time."""
        self.clock.jump(at - self.clock.current_time())
        await self.settle()

    def open(self, number: int, protocol: int, main: Connect | None) -> None:
        assert self.server._running is not None
        ours, theirs = socket.socketpair()
        theirs.setblocking(False)
        self.server._running.connections.accept(theirs, "", None)
        self.wires[number] = Wire(ours, protocol)
        query = "" if main is None else f"&n={main.number}"
        ours.send(
            f"GET /socket.io/?EIO={protocol}&transport=websocket{query} HTTP/1.1\r\nHost: x\r\n"
            "Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n"
            "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n".encode()
        )

    def announce(self, connect: Connect) -> None:
        self.seen[connect.number] = Seen(connect.plan)

    def send(self, number: int, packets: list[Packet]) -> None:
        wire = self.wires[number]
        wire.send([self._encode(packet, wire) for packet in packets])

    def hang_up(self, number: int) -> None:
        self.wires[number].sock.close()
        del self.wires[number]

    def _encode(self, packet: Packet, wire: Wire) -> str:
        name = "" if packet.name == "/" else packet.name + ","
        if isinstance(packet, Close):
            return "1"
        if isinstance(packet, Leave):
            return f"41{name}"
        if isinstance(packet, Ack):
            return f"43{name}{wire.ack_ids.get(packet.question, 99999)}[]"
        if isinstance(packet, Auth):
            return f'42{name}["auth",{json.dumps(packet.right)}]'
        if isinstance(packet, Event):
            self.events[packet.number] = packet
            ack = packet.number if packet.ack else ""
            return f'42{name}{ack}["{"slow" if packet.slow else "plain"}",{packet.number}]'
        if wire.protocol == 3:
            return f"40{packet.name}?n={packet.number},"
        auth: dict[str, Any] = {"n": packet.number}
        if packet.pid:
            auth["pid"] = packet.pid
            if packet.pid in self.offsets:
                auth["offset"] = self.offsets[packet.pid]
        return f"40{name}{json.dumps(auth)}"

    def ask(self, number: int, question: int) -> None:
        one = self.seen[number].socket
        assert one is not None

        async def ask() -> None:
            try:
                await one.emit_with_ack("question", question, timeout_s=STILL_S)
            except SessionClosed:
                self.answers[question] = "closed"
            else:
                self.answers[question] = "answered"

        self._nursery.start_soon(ask)
