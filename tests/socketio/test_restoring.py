"""Clients that come back, at the edges: lost while they do, refused, with adapters that fail."""

from typing import Any

import pytest
import trio
from tests.socketio.recovering import Client, arriving
from tests.socketio.serving import open_client, serving, the_socket, until
from trio.testing import trio_test

from trio_socketio import (
    Adapter,
    Joining,
    Observer,
    SavedSession,
    Server,
    ServerOptions,
    Socket,
)
from trio_socketio.protocol.joining import State
from trio_socketio.socketio.namespace_recovery import MAX_MISSED
from trio_socketio.socketio.socket_recovery import RECOVERABLE
from trio_socketio.socketio.steps import Step


class FaultyAdapter(Adapter):
    """Waits or fails where a test says so."""

    before: trio.Event | None = None
    after: trio.Event | None = None
    restore_fails = False
    persist_fails = False
    persist_hangs = False
    waits: trio.Event | None = None  # set when a session is asked for

    async def restore_session(self, pid: str, offset: str | None) -> SavedSession | None:
        if self.waits is not None:
            self.waits.set()
        if self.before is not None:
            await self.before.wait()
        if self.restore_fails:
            raise RuntimeError("the store is away")
        session = await super().restore_session(pid, offset)
        if self.after is not None:
            await self.after.wait()
        return session

    async def persist_session(self, session: SavedSession) -> None:
        if self.persist_hangs:
            await trio.sleep_forever()
        if self.persist_fails:
            raise RuntimeError("the store is away")
        await super().persist_session(session)


def faulty_server(**options: Any) -> tuple[Server, type[FaultyAdapter]]:
    """A server, and the class of its adapters, whose attributes the test sets."""

    class Faulty(FaultyAdapter):
        pass

    return Server(ServerOptions(state_recovery=True, **options), adapter=Faulty), Faulty


def saved(server: Server) -> int:
    return server.statistics().sessions_saved


async def lose_one(server: Server, port: int) -> Client:
    """A client that was lost."""
    async with arriving(port) as client:
        await client.connect()
        socket = the_socket(server)
        socket.join("red")
        socket.data["name"] = "Ann"
        await client.lose()
        await until(lambda: not server.of("/").sockets)
    return client


async def check_recovered(server: Server, port: int, client: Client) -> None:
    async with arriving(port) as again:
        await again.connect(client.credentials())
        assert (again.sid, again.pid) == (client.sid, client.pid)
        socket = the_socket(server)
        assert socket.recovered
        assert socket.rooms == {client.sid, "red"}
        assert socket.data == {"name": "Ann"}


# --- lost again ----------------------------------------------------------------------------------

MOMENTS = ("before", "after", "authenticating", "middleware", "seat")


@pytest.mark.req("RECOVER-08")
@pytest.mark.parametrize("moment", MOMENTS)
@trio_test
async def test_who_is_lost_at_any_await_of_coming_back_may_come_back(
    transport: str, moment: str
) -> None:
    server, adapter = faulty_server(state_recovery_skip_middlewares=False)
    gate, waits = trio.Event(), trio.Event()

    async def wait(what: Any) -> None:
        auth = what.auth if isinstance(what, Joining) else what.handshake.auth
        if "again" in auth:
            waits.set()
            await trio.sleep_forever()

    if moment in ("before", "after"):
        setattr(adapter, moment, gate)
        adapter.waits = waits
    else:
        server.add_steps([Step(State[moment.upper()], wait)])
    async with serving(server) as port:
        client = await lose_one(server, port)
        async with arriving(port, transport) as again:
            await again.send({"type": 0, "nsp": "/", "data": client.credentials() | {"again": 1}})
            await waits.wait()
            await again.lose()
            await until(lambda: server.statistics().sessions == 0)
            gate.set()
            await until(lambda: server.statistics().joining == 0)
        assert saved(server) == 1
        assert not server.of("/").sockets
        await check_recovered(server, port, client)
    assert server.statistics().handler_failures == 0


# --- stores that fail ----------------------------------------------------------------------------


@pytest.mark.req("RECOVER-09")
@trio_test
async def test_a_session_that_cannot_be_restored_begins_anew(
    transport: str, caplog: pytest.LogCaptureFixture
) -> None:
    server, adapter = faulty_server()
    async with serving(server) as port:
        client = await lose_one(server, port)
        adapter.restore_fails = True
        async with arriving(port, transport) as again:
            await again.connect(client.credentials())
            assert again.sid != client.sid
            assert again.pid != client.pid
            assert not the_socket(server).recovered
            assert the_socket(server).rooms == {again.sid}
    assert "recovery in /" in caplog.text
    assert "the store is away" in caplog.text
    assert server.statistics().handler_failures == 1


@pytest.mark.req("RECOVER-09")
@trio_test
async def test_a_store_that_does_not_answer_begins_anew(caplog: pytest.LogCaptureFixture) -> None:
    server, adapter = faulty_server(hook_timeout_s=0.05)

    async def let_in(_: Joining) -> None:
        await trio.lowlevel.checkpoint()

    server.add_steps([Step(State.SEAT, let_in)])
    async with serving(server) as port:
        client = await lose_one(server, port)
        adapter.before = trio.Event()
        async with arriving(port) as again:
            await again.connect(client.credentials())
            assert again.sid != client.sid
            assert saved(server) == 1  # it was not handed out
    assert "no answer within 0.05 s" in caplog.text


@pytest.mark.req("RECOVER-10")
@trio_test
async def test_a_session_that_cannot_be_kept_is_logged_and_begins_anew(
    transport: str, caplog: pytest.LogCaptureFixture
) -> None:
    server, adapter = faulty_server()
    ended: list[str] = []
    server.on("disconnect")(lambda _, reason: ended.append(reason))
    adapter.persist_fails = True
    async with serving(server) as port:
        client = await lose_one(server, port)
        await until(lambda: len(ended) == 1)
        assert saved(server) == 0
        adapter.persist_fails = False
        async with arriving(port, transport) as again:
            await again.connect(client.credentials())
            assert again.sid != client.sid
    assert "keeping a session" in caplog.text
    assert server.statistics().handler_failures == 1


@pytest.mark.req("RECOVER-10")
@trio_test
async def test_a_session_that_cannot_be_given_back_is_logged(
    caplog: pytest.LogCaptureFixture,
) -> None:
    server, adapter = faulty_server()
    async with serving(server) as port:
        client = await lose_one(server, port)
        adapter.waits, adapter.after, adapter.persist_fails = trio.Event(), trio.Event(), True
        async with arriving(port) as again:
            await again.send({"type": 0, "nsp": "/", "data": client.credentials()})
            await adapter.waits.wait()
            await again.lose()
            await until(lambda: server.statistics().sessions == 0)
            adapter.after.set()
            await until(lambda: server.statistics().joining == 0)
    assert "an undo of joining failed for socket /" in caplog.text


@pytest.mark.req("RECOVER-10")
@trio_test
async def test_a_store_that_keeps_one_waiting_is_given_up(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """How many clients are lost is not ours to choose, and each of them waits in a task."""
    server, adapter = faulty_server(hook_timeout_s=0.05)
    adapter.persist_hangs = True
    async with serving(server) as port:
        for _ in range(3):
            await lose_one(server, port)
        await until(lambda: server.statistics().handler_failures == 3)
    assert "keeping a session" in caplog.text


@pytest.mark.req("RECOVER-05")
@trio_test
async def test_a_client_that_has_missed_too_many_packets_begins_anew() -> None:
    server, _ = faulty_server()
    async with serving(server) as port:
        for count, goes_on in ((MAX_MISSED, True), (MAX_MISSED + 1, False)):
            client = await lose_one(server, port)
            await until(lambda: saved(server) >= 1)
            for number in range(count):
                server.emit("news", number)
            async with arriving(port, "websocket") as again:
                await again.connect(client.credentials())
                assert (again.sid == client.sid) is goes_on


@pytest.mark.req("JOIN-32")
@trio_test
async def test_saved_sessions_end_with_their_namespace() -> None:
    server, _ = faulty_server()
    expired: list[str] = []
    server.of("/room").on_session_expired(lambda session: expired.append(session.id))
    async with serving(server) as port:
        clients = []
        for name in ("/room", "/"):
            async with arriving(port) as client:
                clients.append(await client.connect(namespace=name))
                await client.lose()
            await until(lambda: saved(server) == len(clients))
        await server.remove("/room")
        assert saved(server) == 1
        await server._workers.wait_idle()
        assert expired == [clients[0].sid]
        server.of("/room")
        for client, name, recovered in zip(clients, ("/room", "/"), (False, True), strict=True):
            async with arriving(port) as again:
                await again.connect(client.credentials(), name)
                assert (again.sid == client.sid) is recovered


# --- reasons -------------------------------------------------------------------------------------

REASONS = {
    "transport error": True,
    "transport close": True,
    "forced close": True,
    "ping timeout": True,
    "server shutting down": True,
    "service restart": True,
    "forced server close": True,
    "client namespace disconnect": False,
    "server namespace disconnect": False,
    "parse error": False,
    "slow client": False,
    "overload": False,
    "namespace removed": False,
    "a reason of the program's own": False,
}


@pytest.mark.req("RECOVER-06")
@pytest.mark.parametrize("reason", REASONS)
@trio_test
async def test_what_can_be_recovered_from(reason: str) -> None:
    """Each, as the server gives it; what is not named cannot."""
    server, _ = faulty_server()
    told: list[bool] = []

    class Watcher(Observer):
        def left(self, socket: Socket, reason: str, recoverable: bool) -> None:
            told.append(recoverable)

    server.of("/room")
    server.observe(Watcher())
    async with serving(server) as port, open_client(port) as wire:
        client = await Client(wire, "json").connect(namespace="/room")
        socket = the_socket(server, "/room")
        if reason == "client namespace disconnect":
            await wire.send("1/room,")
        elif reason == "server namespace disconnect":
            socket.disconnect()
        elif reason == "namespace removed":
            await server.remove("/room")
            server.of("/room")
        else:
            socket.session.lose(reason)
        await until(lambda: len(told) == 1)
        await server._workers.wait_idle()
        assert told == [REASONS[reason]]
        assert saved(server) == REASONS[reason]
        async with arriving(port) as again:
            await again.connect(client.credentials(), "/room")
            assert (again.sid == client.sid) is REASONS[reason]


@pytest.mark.req("RECOVER-06")
def test_no_other_reason_can_be_recovered_from() -> None:
    assert {reason for reason, can in REASONS.items() if can} == RECOVERABLE


# --- accepted, and recovery ----------------------------------------------------------------------


def guard(server: Server) -> None:
    """Have clients authenticate themselves by event."""

    async def authenticate(joining: Joining) -> None:
        credentials = joining.accept("auth", 5)
        assert joining.socket is not None
        joining.socket.emit("hello", "you")
        joining.socket.compress(False).emit("hello", "again")
        await credentials.wait()

    server.of("/").add_steps([Step(State.AUTHENTICATING, authenticate)])


@pytest.mark.req("JOIN-20", "JOIN-21")
@trio_test
async def test_an_accepted_client_is_spoken_to_with_recovery_on(transport: str) -> None:
    server, _ = faulty_server()
    guard(server)
    async with serving(server) as port, arriving(port, transport) as client:
        await client.connect()
        assert await client.receive_event() == ["hello", "you"]
        assert await client.receive_event() == ["hello", "again"]
        await client.emit("early")
        error = {"errcode": 5, "errmsg": "not authenticated"}
        assert await client.receive_event() == ["logic/error", error]
        await client.emit("auth")
        await until(lambda: len(server.of("/").sockets) == 1)
        server.emit("news", 1)
        assert await client.receive_event() == ["news", 1]


@pytest.mark.req("JOIN-20", "RECOVER-02")
@trio_test
async def test_what_an_accepted_client_is_told_skips_nothing_that_it_missed() -> None:
    """It is lost again before it has joined; the offset that it has got is not that of the log."""
    server, _ = faulty_server()
    guard(server)
    async with serving(server) as port:
        async with arriving(port) as client:
            await client.connect()
            await client.emit("auth")
            await until(lambda: len(server.of("/").sockets) == 1)
            await client.receive_event()
            await client.receive_event()
            await client.lose()
            await until(lambda: saved(server) == 1)
        server.emit("news", 1)
        for _ in range(2):
            async with arriving(port) as again:
                await again.connect(client.credentials())
                assert again.sid == client.sid
                assert await again.receive_event() == ["hello", "you"]
                client.offset = again.offset
                await again.lose()
                await until(lambda: saved(server) == 1)
        async with arriving(port) as again:
            await again.connect(client.credentials())
            await again.emit("auth")
            events = [await again.receive_event() for _ in range(3)]
            assert events == [["hello", "you"], ["hello", "again"], ["news", 1]]


@pytest.mark.req("JOIN-34")
@trio_test
async def test_nobody_goes_on_with_the_session_of_another_user() -> None:
    server = Server(ServerOptions(state_recovery=True))
    server.on("join")(lambda socket, room: socket.join(room))

    def identify(joining: Joining) -> None:
        joining.identify(joining.auth["name"])

    server.add_steps([Step(State.AUTHENTICATING, identify)])
    async with serving(server) as port:
        async with arriving(port) as client:
            await client.connect({"name": "ann"})
            await client.emit("join", "secret room")
            await until(lambda: "secret room" in the_socket(server).rooms)
            server.emit("news")
            assert await client.receive_event() == ["news"]
            await client.lose()
        await until(lambda: server.statistics().sessions_saved == 1)
        async with arriving(port) as thief:
            auth = {**client.credentials(), "name": "mallory"}
            await thief.send({"type": 0, "nsp": "/", "data": auth})
            told = await thief.receive()
            assert told["data"] == {"message": "the lost session belongs to another user"}
            await thief.connect(auth)
            assert not the_socket(server).recovered
            assert the_socket(server).rooms == {the_socket(server).id, "user:mallory"}
            assert server.statistics().sessions_expired == 1


@pytest.mark.req("JOIN-34")
@trio_test
async def test_the_user_goes_on_with_a_session() -> None:
    server = Server(ServerOptions(state_recovery=True))

    def identify(joining: Joining) -> None:
        joining.identify(joining.auth["name"])

    server.add_steps([Step(State.AUTHENTICATING, identify)])
    async with serving(server) as port:
        async with arriving(port) as client:
            await client.connect({"name": "ann"})
            server.emit("news")
            assert await client.receive_event() == ["news"]
            await client.lose()
        await until(lambda: server.statistics().sessions_saved == 1)
        async with arriving(port) as again:
            await again.connect({**client.credentials(), "name": "ann"})
            assert the_socket(server).recovered
            assert the_socket(server).user == "ann"
