"""The way into a namespace: steps, undos, observers, authentication by event, kicks."""

import gc
import json
from collections.abc import Callable
from functools import partial
from typing import Any

import pytest
import trio
from tests.socketio.in_process import FakeParticipant, FakeSession, join
from tests.socketio.serving import (
    Record,
    ask,
    check_closed,
    joined,
    open_client,
    send_batch,
    send_unanswered,
    serving,
    the_socket,
    until,
)
from tests.wire import ConnectionEnded, SocketIOClient
from trio.testing import MockClock, trio_test

from trio_socketio import (
    Adapter,
    ConnectRefused,
    Joining,
    LocalProtocolError,
    Namespace,
    Observer,
    Server,
    ServerOptions,
    SessionClosed,
    Socket,
)
from trio_socketio.protocol.joining import State
from trio_socketio.socketio.revisions import REVISION_4, REVISION_5, Revision
from trio_socketio.socketio.steps import Awaited, Step


class Watcher(Observer):
    """Writes down what it is told."""

    def __init__(self) -> None:
        self.told: list[tuple[Any, ...]] = []

    def joined(self, socket: Socket) -> None:
        assert socket.connected
        assert socket.namespace.sockets[socket.id] is socket
        self.told.append(("joined", socket.id))

    def left(self, socket: Socket, reason: str, recoverable: bool) -> None:
        assert not socket.connected
        assert socket.id not in socket.namespace.sockets
        self.told.append(("left", socket.id, reason, recoverable))

    def refused(self, joining: Joining, error: ConnectRefused) -> None:
        self.told.append(("refused", joining.name, error.message))

    def abandoned(self, joining: Joining) -> None:
        self.told.append(("abandoned", joining.name))

    @property
    def kinds(self) -> list[str]:
        return [kind for kind, *_ in self.told]


def watched_server(
    *namespaces: str, options: ServerOptions | None = None
) -> tuple[Server, Watcher]:
    server, watcher = Server(options), Watcher()
    for name in ("/", *namespaces):
        server.of(name).on("ping")(lambda _: "pong")
    server.observe(watcher)
    return server, watcher


def add_step(server: Server, stage: State, function: Any, timeout_s: float | None = None) -> None:
    server.of("/").add_steps([Step(stage, function, timeout_s=timeout_s)])


# --- order ---------------------------------------------------------------------------------------


@pytest.mark.req("JOIN-06")
@pytest.mark.parametrize("is_async", [False, True])
@trio_test
async def test_steps_run_stage_by_stage_whatever_the_order_of_registration(
    transport: str, is_async: bool
) -> None:
    server, watcher = watched_server()
    seen: list[str] = []

    def note(name: str) -> Callable[[Any], Any]:
        def plain(_: Any) -> None:
            seen.append(name)

        async def slow(_: Any) -> None:
            await trio.lowlevel.checkpoint()
            seen.append(name)

        return slow if is_async else plain

    add_step(server, State.SEAT, note("seat"))
    server.use(note("middleware"))
    add_step(server, State.AUTHENTICATING, note("authenticating"))
    server.use(note("middleware 2"))
    server.on("connection")(lambda _: seen.append(f"connection after {watcher.kinds}"))
    async with serving(server) as port, joined(port, transport) as (client, _):
        assert await ask(client, "ping") == ["pong"]
        assert seen == [
            "authenticating",
            "middleware",
            "middleware 2",
            "seat",
            "connection after ['joined']",
        ]


@pytest.mark.req("JOIN-07")
@trio_test
async def test_plain_steps_take_no_task() -> None:
    server, _ = watched_server()
    tasks: list[trio.lowlevel.Task] = []
    for stage in (State.AUTHENTICATING, State.MIDDLEWARE, State.SEAT):
        add_step(server, stage, lambda _: tasks.append(trio.lowlevel.current_task()))
    server.on("connection")(lambda _: tasks.append(trio.lowlevel.current_task()))
    async with serving(server) as port, joined(port, "websocket"):
        assert len(set(tasks)) == 1
        assert "poller" in repr(tasks[0]).lower()


@pytest.mark.req("JOIN-08")
@trio_test
async def test_a_step_of_every_namespace_is_one_of_those_that_come_later() -> None:
    server, _ = watched_server("/there")
    seen: list[str] = []
    server.add_steps([Step(State.SEAT, lambda joining: seen.append(joining.name))])
    server.of("/later").on("ping")(lambda _: "pong")
    async with serving(server) as port, open_client(port) as client:
        for name in ("/there", "/later", "/"):
            await client.connect(name)
    assert seen == ["/there", "/later", "/"]


@pytest.mark.req("JOIN-01")
@trio_test
async def test_a_step_finds_the_joining_in_its_stage() -> None:
    server, _ = watched_server()
    seen: list[State] = []

    def note(_: object) -> None:
        (joining,) = server.of("/")._joinings
        seen.append(joining.state)

    stages = [State.AUTHENTICATING, State.MIDDLEWARE, State.SEAT]
    for stage in stages:
        add_step(server, stage, note)
    join(server.of("/"), FakeSession())
    assert seen == stages


def test_only_some_stages_have_steps() -> None:
    with pytest.raises(LocalProtocolError, match="SEARCHING"):
        Step(State.SEARCHING, print)


# --- identity ------------------------------------------------------------------------------------


@pytest.mark.req("JOIN-09")
@trio_test
async def test_a_step_says_who_the_client_is(transport: str) -> None:
    server, _ = watched_server()
    add_step(server, State.AUTHENTICATING, lambda joining: joining.identify(joining.auth["name"]))
    users: list[str | None] = []
    server.use(lambda socket: users.append(socket.user))
    async with serving(server) as port, joined(port, transport, auth={"name": "ann"}):
        socket = the_socket(server)
        assert users == [socket.user] == ["ann"]
        with pytest.raises(AttributeError):
            socket.user = "bob"  # type: ignore[misc]  # that is the point
        (remote,) = await server.fetch_sockets()
        assert remote.user == "ann"


@pytest.mark.req("JOIN-35", "JOIN-36")
@trio_test
async def test_a_socket_is_in_the_room_of_its_user_to_its_end(transport: str) -> None:
    server, _ = watched_server()
    add_step(server, State.AUTHENTICATING, lambda joining: joining.identify("somebody"))
    add_step(server, State.AUTHENTICATING, lambda joining: joining.identify(joining.auth["name"]))
    async with serving(server) as port, joined(port, transport, auth={"name": 7}):
        socket = the_socket(server)
        assert socket.user == "7"
        assert socket.rooms == {socket.id, "user:7"}
        socket.leave("user:7")
        server.sockets_leave("user:7")
        assert list(server.of("/").rooms.joined("user:7")) == [socket]
        socket.join("user:8")
        socket.leave("user:8")
        assert socket.rooms == {socket.id, "user:7"}
        socket.disconnect()
        await until(lambda: not server.of("/").rooms.names())
        assert socket.rooms == {socket.id, "user:7"}


@pytest.mark.req("JOIN-35")
@pytest.mark.parametrize("name", ["", "a\nb", "x" * 257, True, None])
@trio_test
async def test_an_id_that_no_user_can_have_is_refused(name: Any) -> None:
    server, watcher = watched_server()
    add_step(server, State.AUTHENTICATING, lambda joining: joining.identify(joining.auth["name"]))
    async with serving(server) as port, open_client(port) as client:
        with pytest.raises(AssertionError, match="the id of a user"):
            await client.connect("/", {"name": name})
    assert watcher.kinds == ["refused"]


@pytest.mark.req("JOIN-09")
def test_only_a_client_that_is_joining_a_namespace_can_be_identified() -> None:
    server = Server()
    participant: Any = FakeParticipant(server.of("/")._owner, FakeSession())
    searching = Joining(participant, "/", {})
    with pytest.raises(LocalProtocolError, match="<Joining of /, SEARCHING> cannot be identified"):
        searching.identify("ann")
    joined = join(server.of("/"), FakeSession())
    with pytest.raises(LocalProtocolError, match="<Joining of /, JOINED> cannot be identified"):
        joined.identify("ann")
    assert joined.socket is not None
    assert joined.socket.user is None


@pytest.mark.parametrize("revision", [REVISION_4, REVISION_5])
def test_a_pid_is_the_programs_own_where_no_session_is_kept(revision: Revision) -> None:
    auth = {"pid": "x" * 20, "offset": "y"}
    joining = join(Server().of("/"), FakeSession(), dict(auth), revision)
    assert joining.auth == auth


@pytest.mark.req("RECOVER-07")
@trio_test
async def test_clients_that_cannot_recover_keep_their_pid() -> None:
    server = Server(ServerOptions(state_recovery=True))
    auths: list[Any] = []

    @server.use
    def refuse(socket: Socket) -> None:
        auths.append(socket.handshake.auth)
        raise ConnectRefused("no")

    async with serving(server):
        join(server.of("/"), FakeSession(), {"pid": "x" * 20}, REVISION_4)
        join(server.of("/"), FakeSession(), {"pid": "x" * 20})
        await until(lambda: len(auths) == 2)
    assert auths == [{"pid": "x" * 20}, {}]


# --- undos ---------------------------------------------------------------------------------------


@pytest.fixture(params=["plain", "async"])
def claims(request: pytest.FixtureRequest) -> "Claims":
    return Claims(is_async=request.param == "async")


class Claims:
    """What a step has claimed; each claim is taken back at most once."""

    def __init__(self, *, is_async: bool) -> None:
        self.is_async = is_async
        self.made = 0
        self.undone = 0

    def __call__(self, joining: Joining) -> None:
        self.made += 1

        def undo() -> None:
            self.undone += 1

        async def undo_async() -> None:
            await trio.sleep(0.01)
            self.undone += 1

        joining.undo(undo_async if self.is_async else undo)


async def wait_forever(_: Any) -> None:
    await trio.sleep_forever()


@pytest.mark.req("JOIN-10")
@trio_test
async def test_a_claim_of_a_client_that_joins_is_kept(transport: str, claims: Claims) -> None:
    server, _ = watched_server()
    add_step(server, State.AUTHENTICATING, claims)
    async with serving(server) as port, joined(port, transport) as (client, _):
        assert await ask(client, "ping") == ["pong"]
    assert (claims.made, claims.undone) == (1, 0)


@pytest.mark.req("JOIN-11")
@pytest.mark.parametrize("later", ["plain", "async"])
@trio_test
async def test_a_claim_is_undone_when_a_later_step_refuses(
    transport: str, claims: Claims, later: str
) -> None:
    server, watcher = watched_server()

    def refuse(_: Any) -> None:
        raise ConnectRefused("no")

    async def refuse_later(_: Any) -> None:
        await trio.lowlevel.checkpoint()
        raise ConnectRefused("no")

    add_step(server, State.AUTHENTICATING, claims)
    add_step(server, State.SEAT, refuse if later == "plain" else refuse_later)
    async with serving(server) as port, open_client(port, transport) as client:
        await client.send("0")
        assert (await client.receive())[0] == '4{"message":"no"}'
        await until(lambda: claims.undone == 1)
        assert server.statistics().joining == 0
    assert (claims.made, claims.undone) == (1, 1)
    assert watcher.told == [("refused", "/", "no")]


@pytest.mark.req("JOIN-11")
@trio_test
async def test_a_claim_is_undone_when_the_client_leaves(transport: str, claims: Claims) -> None:
    server, watcher = watched_server()
    add_step(server, State.AUTHENTICATING, claims)
    server.use(wait_forever)
    async with serving(server) as port, open_client(port, transport) as client:
        await client.send("0")
        await until(lambda: claims.made == 1)
        await client.send("1")
        await until(lambda: claims.undone == 1)
        await until(lambda: server.statistics().joining == 0)
    assert claims.undone == 1
    assert watcher.told == [("abandoned", "/")]


@pytest.mark.req("JOIN-11")
@trio_test
async def test_a_claim_is_undone_when_the_server_stops(transport: str, claims: Claims) -> None:
    server, watcher = watched_server()
    add_step(server, State.AUTHENTICATING, claims)
    server.use(wait_forever)
    async with serving(server) as port, open_client(port, transport) as client:
        await client.send("0")
        await until(lambda: claims.made == 1)
    assert (claims.made, claims.undone) == (1, 1)
    assert watcher.kinds == ["abandoned"]


@pytest.mark.req("JOIN-11")
@trio_test
async def test_a_claim_is_undone_when_the_server_is_cancelled(claims: Claims) -> None:
    server, watcher = watched_server()
    add_step(server, State.AUTHENTICATING, claims)
    server.use(wait_forever)
    async with trio.open_nursery() as nursery:
        (address,) = await nursery.start(
            lambda task_status: server.serve(port=0, task_status=task_status)
        )
        async with open_client(address[1]) as client:
            await client.send("0")
            await until(lambda: claims.made == 1)
            nursery.cancel_scope.cancel()
    assert (claims.made, claims.undone) == (1, 1)
    assert watcher.kinds == ["abandoned"]


@pytest.mark.req("JOIN-12")
@trio_test
async def test_undos_run_backwards_and_a_failing_one_stops_no_other(
    caplog: pytest.LogCaptureFixture,
) -> None:
    server, _ = watched_server()
    undone: list[int] = []

    def undo(number: int) -> None:
        undone.append(number)
        assert number != 1

    def claim(joining: Joining) -> None:
        for number in range(3):
            joining.undo(partial(undo, number))
        raise ConnectRefused("no")

    add_step(server, State.SEAT, claim)
    async with serving(server) as port, open_client(port) as client:
        await client.send("0")
        await client.receive()
        assert undone == [2, 1, 0]
        join(server.of("/"), FakeSession())
        assert undone == [2, 1, 0] * 2  # here and now, without a task
    assert "an undo of joining failed for socket /" in caplog.text
    assert server.statistics().handler_failures == 2


@pytest.mark.req("JOIN-12")
@trio_test
async def test_undos_that_hang_are_given_up(
    autojump_clock: MockClock, caplog: pytest.LogCaptureFixture
) -> None:
    server, _ = watched_server()
    undone: list[str] = []

    async def take_time() -> None:
        await trio.sleep(3)
        undone.append("second")

    def claim(joining: Joining) -> None:
        joining.undo(lambda: undone.append("first"))
        joining.undo(take_time)
        joining.undo(trio.sleep_forever)
        raise ConnectRefused("no")

    add_step(server, State.SEAT, claim)
    async with trio.open_nursery() as nursery:
        server._workers.start(nursery)
        began = trio.current_time()
        join(server.of("/"), FakeSession())
        await server._workers.wait_idle()
        assert trio.current_time() - began == 8
        nursery.cancel_scope.cancel()
    assert undone == ["second", "first"]
    assert "longer than 5.0 s" in caplog.text


# --- deadlines -----------------------------------------------------------------------------------


@pytest.mark.req("JOIN-13")
@trio_test
async def test_a_step_that_takes_too_long_refuses(caplog: pytest.LogCaptureFixture) -> None:
    server, watcher = watched_server(options=ServerOptions(hook_timeout_s=0.05))

    @server.use
    async def check(_: Socket) -> None:
        await trio.sleep_forever()

    async with serving(server) as port, open_client(port) as client:
        await client.send("0")
        assert (await client.receive())[0] == '4{"message":"Timed out"}'
    assert "middleware of /" in caplog.text
    assert "check" in caplog.text
    assert watcher.kinds == ["refused"]


@pytest.mark.req("JOIN-13")
@pytest.mark.parametrize("kind", ["step", "predicate", "goes on"])
@trio_test
async def test_a_step_that_cannot_be_cancelled_refuses_when_it_ends(kind: str) -> None:
    server, watcher = watched_server(options=ServerOptions(hook_timeout_s=0.05))
    later: list[object] = []

    async def take_time(*_: Any) -> bool:
        with trio.CancelScope(shield=True):
            await trio.sleep(0.15)
        return True

    if kind == "predicate":
        server.of(take_time).use(later.append)
    elif kind == "step":
        add_step(server, State.AUTHENTICATING, take_time)
    else:
        add_step(server, State.AUTHENTICATING, lambda _: Awaited(take_time, ()))
    server.use(later.append)
    async with serving(server) as port, open_client(port) as client:
        await client.send("0/child," if kind == "predicate" else "0")
        assert (await client.receive())[0].endswith('{"message":"Timed out"}')
    assert later == []
    assert watcher.kinds == ["refused"]


@pytest.mark.req("JOIN-13")
@trio_test
async def test_every_step_has_its_own_time() -> None:
    server, _ = watched_server()

    async def take_time(_: Any) -> None:
        await trio.sleep(0.1)

    for _ in range(4):
        add_step(server, State.SEAT, take_time, timeout_s=0.25)
    async with serving(server) as port, joined(port, "websocket") as (client, _):
        assert await ask(client, "ping") == ["pong"]


@pytest.mark.req("CODE-02")
@trio_test
async def test_what_a_step_raises_while_it_is_cancelled_is_logged(
    caplog: pytest.LogCaptureFixture,
) -> None:
    server, watcher = watched_server()
    began = trio.Event()

    async def fail() -> None:
        try:
            await trio.sleep_forever()
        finally:
            raise ValueError("while cancelled")

    @server.use
    async def wait(_: Socket) -> None:
        began.set()
        async with trio.open_nursery() as nursery:
            nursery.start_soon(fail)
            nursery.start_soon(trio.sleep_forever)

    async with serving(server) as port, open_client(port) as client:
        await client.send("0")
        await began.wait()
        await client.send("1")
        await until(lambda: server.statistics().joining == 0)
        assert server.statistics().handler_failures == 1
    assert "middleware of /" in caplog.text
    assert "while cancelled" in caplog.text
    assert watcher.told == [("abandoned", "/")]


# --- the end of the client, or of the server -----------------------------------------------------


@pytest.mark.req("JOIN-02")
@pytest.mark.parametrize("is_async", [False, True])
@trio_test
async def test_a_step_may_close_the_session(is_async: bool) -> None:
    server, watcher = watched_server()
    sockets: list[Socket] = []
    later: list[object] = []

    def close(socket: Socket) -> None:
        sockets.append(socket)
        socket.session.close("by a step")

    async def close_later(socket: Socket) -> None:
        await trio.lowlevel.checkpoint()
        close(socket)

    server.use(close_later if is_async else close)
    server.use(later.append)
    async with serving(server) as port, open_client(port) as client:
        await client.send("0")
        await check_closed(client)
        await until(lambda: server.statistics().joining == 0)
        with pytest.raises(SessionClosed, match="by a step"):
            await sockets[0].emit_with_ack("late")
    assert later == []
    assert watcher.told == [("abandoned", "/")]


@pytest.mark.req("JOIN-02")
def test_nobody_begins_an_async_step_once_the_server_has_stopped() -> None:
    server, watcher = watched_server()
    claims = Claims(is_async=False)
    add_step(server, State.AUTHENTICATING, claims)
    server.use(wait_forever)
    joining = join(server.of("/"), FakeSession())
    assert joining.state is State.ABANDONED
    assert joining.socket is not None
    assert joining.socket._membership.reason == "server shutting down"
    assert server.of("/")._joinings == {}
    assert watcher.told == [("abandoned", "/")]
    assert (claims.made, claims.undone) == (1, 1)


def count_joinings() -> int:
    """How many there are in memory."""
    return sum(type(one) is Joining for one in gc.get_objects())


@pytest.mark.req("RUN-44")
@trio_test
async def test_joinings_that_are_over_leave_no_garbage() -> None:
    server, watcher = watched_server()
    seen: list[str] = []

    async def wait(end: str) -> None:
        with trio.move_on_after(0.01 if end.endswith("later") else 10):
            await trio.sleep_forever()
        if end == "refused later":
            raise ConnectRefused("no")

    def decide(joining: Joining) -> Awaited | None:
        end = joining.auth["end"]
        joining.undo(lambda: seen.append(joining.name))
        if end == "refused":
            raise ConnectRefused("no")
        return None if end == "joined" else Awaited(wait, (end,))

    add_step(server, State.AUTHENTICATING, decide)
    gc.disable()
    try:
        before = count_joinings()
        join(server.of("/"), FakeSession(), {"end": "left"})  # the server does not serve yet
        async with serving(server) as port:
            for end in ("joined", "joined later", "refused", "refused later", "left"):
                async with open_client(port) as client:
                    watcher.told.clear()
                    await client.send("0" + json.dumps({"end": end}))
                    if end == "left":
                        await until(lambda: server.statistics().joining == 1)
                        await client.send("1")
                    await until(lambda: len(watcher.told) == 1)
                    assert end.startswith(watcher.kinds[0]) or watcher.kinds == ["abandoned"]
            await until(lambda: server.statistics().joining == 0)
            assert count_joinings() == before
    finally:
        gc.enable()


# --- kicks ---------------------------------------------------------------------------------------

KICKS: dict[str, Callable[[Server, Socket], object]] = {
    "socket": lambda _, socket: socket.disconnect(),
    "everybody": lambda server, _: server.disconnect_sockets(),
    "room": lambda server, _: server.in_("early").disconnect_sockets(),
    "id": lambda server, socket: server.in_(socket.id).disconnect_sockets(),
}


@pytest.mark.req("JOIN-14")
@pytest.mark.parametrize("kick", KICKS)
@pytest.mark.parametrize("moment", ["plain", "async", "later"])
@trio_test
async def test_a_kick_while_joining_refuses(
    transport: str, kick: str, moment: str, claims: Claims
) -> None:
    server, watcher = watched_server("/other")
    sockets: list[Socket] = []
    later: list[object] = []

    def meet(socket: Socket) -> None:
        socket.join("early")
        sockets.append(socket)
        if moment == "plain":
            KICKS[kick](server, socket)

    async def wait(socket: Socket) -> None:
        if moment == "async":
            KICKS[kick](server, socket)
        await trio.sleep_forever()

    add_step(server, State.AUTHENTICATING, claims)
    server.use(meet)
    if moment != "plain":
        server.use(wait)
    server.use(later.append)
    server.on("connection")(later.append)
    server.on("disconnect")(lambda *_: later.append("disconnect"))
    async with serving(server) as port, joined(port, transport, "/other") as (client, _):
        await client.send("0")
        await until(lambda: len(sockets) == 1)
        if moment == "later":
            await until(lambda: server.statistics().joining == 1)
            KICKS[kick](server, sockets[0])
        assert (await client.receive())[0] == '4{"message":"disconnected by the server"}'
        assert await ask(client, "ping", namespace="/other") == ["pong"]
        await until(lambda: claims.undone == 1)
    assert later == []
    assert watcher.kinds[:2] == ["joined", "refused"]
    with pytest.raises(SessionClosed):
        await sockets[0].emit_with_ack("late")


@pytest.mark.req("JOIN-14")
@pytest.mark.parametrize("target", ["other room", "without"])
@trio_test
async def test_a_kick_of_others_lets_a_joining_client_be(target: str) -> None:
    server, _ = watched_server()
    waits, go_on = trio.Event(), trio.Event()

    @server.use
    async def wait(socket: Socket) -> None:
        socket.join("early")
        waits.set()
        await go_on.wait()

    async with serving(server) as port, open_client(port) as client:
        await client.send("0")
        await waits.wait()
        if target == "without":
            server.except_("early").disconnect_sockets()
        else:
            server.in_("elsewhere").disconnect_sockets()
        go_on.set()
        assert "sid" in (await client.receive())[0]
        assert await ask(client, "ping") == ["pong"]


@pytest.mark.req("JOIN-14")
@trio_test
async def test_a_kick_out_of_all_ends_every_joining() -> None:
    server, watcher = watched_server("/other")
    waiting: list[Socket] = []

    @server.use
    async def wait(socket: Socket) -> None:
        waiting.append(socket)
        await trio.sleep_forever()

    async with serving(server) as port, joined(port, "websocket", "/other") as (client, _):
        await client.send("0")
        await until(lambda: len(waiting) == 1)
        the_socket(server, "/other").disconnect(close=True)
        await check_closed(client)
        await until(lambda: server.statistics().joining == 0)
    assert watcher.kinds == ["joined", "refused", "left"]


@pytest.mark.req("JOIN-14")
@trio_test
async def test_a_hook_of_a_room_may_put_the_socket_out(transport: str) -> None:
    server, watcher = watched_server("/other")
    space = server.of("/")

    @space.adapter.on("join_room")
    def joined_room(room: str, socket_id: str) -> None:
        space.sockets[socket_id].disconnect()

    async with serving(server) as port, joined(port, transport, "/other") as (client, _):
        await client.send("0")
        texts = [(await client.receive())[0] for _ in range(2)]
        assert texts[0].startswith('0{"sid"')
        assert texts[1] == "1"
        assert await ask(client, "ping", namespace="/other") == ["pong"]
        assert not space.sockets
    assert watcher.kinds[:2] == ["joined", "refused"]


@pytest.mark.req("JOIN-15")
@pytest.mark.parametrize("is_async", [False, True])
@trio_test
async def test_an_adapter_that_fails_leaves_no_client_pending(
    is_async: bool, caplog: pytest.LogCaptureFixture
) -> None:
    class Failing(Adapter):
        def add(self, socket: Socket, room: str) -> None:
            raise RuntimeError("no such room")

    server = Server(adapter=Failing)
    server.of("/other").on("ping")(lambda _: "pong")
    server.use(lambda socket: socket.join("early"))
    if is_async:

        @server.use
        async def check(_: Socket) -> None:
            await trio.lowlevel.checkpoint()

    async with serving(server) as port, joined(port, "websocket", "/other") as (client, _):
        await client.send("0")
        while (await client.receive())[0] != "1":
            pass
        assert not server.of("/").sockets
        assert server.statistics().joining == 0
        assert await ask(client, "ping", namespace="/other") == ["pong"]
    assert "the adapter failed for socket" in caplog.text


# --- observers -----------------------------------------------------------------------------------


@pytest.mark.req("JOIN-16")
@trio_test
async def test_left_is_told_at_once_while_a_handler_is_at_work(transport: str) -> None:
    server, watcher = watched_server()
    began = trio.Event()
    ended = Record()

    @server.on("work")
    async def work(_: Socket) -> None:
        began.set()
        await trio.sleep(0.3)
        ended.add("work")

    server.on("disconnect")(lambda *_: ended.add("disconnect"))
    async with serving(server) as port, joined(port, transport) as (client, sid):
        await client.emit("work")
        await began.wait()
        await client.send("1")
        await until(lambda: len(watcher.told) == 2)
        assert ended.entries == []
        assert watcher.told == [
            ("joined", sid),
            ("left", sid, "client namespace disconnect", False),
        ]
        assert await ended.wait(2) == ["work", "disconnect"]


@pytest.mark.req("JOIN-17")
@trio_test
async def test_a_failing_observer_harms_nobody(caplog: pytest.LogCaptureFixture) -> None:
    class Failing(Observer):
        def joined(self, socket: Socket) -> None:
            raise RuntimeError("joined")

        def left(self, socket: Socket, reason: str, recoverable: bool) -> None:
            raise RuntimeError("left")

        def refused(self, joining: Joining, error: ConnectRefused) -> None:
            raise RuntimeError("refused")

        def abandoned(self, joining: Joining) -> None:
            raise RuntimeError("abandoned")

    server = Server()
    watcher = Watcher()
    server.observe(Failing())
    server.observe(watcher)
    server.on("ping")(lambda _: "pong")
    server.of("/slow").use(wait_forever)
    async with serving(server) as port:
        async with joined(port, "websocket") as (client, _):
            assert await ask(client, "ping") == ["pong"]
            await send_batch(client, ["0/nowhere,", "0/slow,", "1/slow,"])
            await until(lambda: len(watcher.told) == 3)
        await until(lambda: len(watcher.told) == 4)
    assert sorted(watcher.kinds) == ["abandoned", "joined", "left", "refused"]
    assert server.statistics().handler_failures == 4


@pytest.mark.req("JOIN-18")
@trio_test
async def test_a_recovered_socket_is_told_joined_again() -> None:
    server, watcher = watched_server(options=ServerOptions(state_recovery=True))
    async with serving(server) as port:
        async with open_client(port) as client:
            await client.send("0")
            first = json.loads((await client.receive())[0][1:])
        await until(lambda: server.statistics().sessions_saved == 1)
        async with open_client(port) as client:
            await client.send("0" + json.dumps({"pid": first["pid"]}))
            second = json.loads((await client.receive())[0][1:])
            assert second == first
            assert the_socket(server).recovered
            assert watcher.told == [
                ("joined", first["sid"]),
                ("left", first["sid"], "transport close", True),
                ("joined", first["sid"]),
            ]


# --- authentication by event ---------------------------------------------------------------------


class Door:
    """Authenticates by event: the credentials are {"name": ...}."""

    def __init__(self, *, timeout_s: float = 5) -> None:
        self.timeout_s = timeout_s
        self.decide = trio.Event()
        self.decide.set()
        self.ended: list[str] = []

    async def __call__(self, joining: Joining) -> None:
        try:
            credentials = joining.accept("auth", self.timeout_s)
            (arguments,) = await credentials.wait()
            await self.decide.wait()
            if arguments["name"] == "mallory":
                raise ConnectRefused("not you", data={"errcode": 3})
            joining.identify(arguments["name"])
            credentials.acknowledge("welcome")
        finally:
            self.ended.append(joining.state.name)


def guarded_server(door: Door, *namespaces: str) -> tuple[Server, Watcher]:
    server, watcher = watched_server(*namespaces)
    add_step(server, State.AUTHENTICATING, door)
    return server, watcher


@pytest.mark.req("JOIN-19", "JOIN-22")
@trio_test
async def test_a_client_authenticates_by_event(transport: str) -> None:
    server, watcher = guarded_server(Door())
    seen: list[str | None] = []
    server.on("connection")(lambda socket: seen.append(socket.user))
    async with serving(server) as port, open_client(port, transport) as client:
        sid = await client.connect()
        assert watcher.told == []
        assert server.statistics().sockets["/"] == 0
        assert server.statistics().joining == 1
        await send_batch(client, ['25["auth",{"name":"ann"}]', '26["ping"]', '27["ping"]'])
        answers = [(await client.receive())[0] for _ in range(3)]
        assert answers == ['35["welcome"]', '36["pong"]', '37["pong"]']
        assert seen == ["ann"]
        assert watcher.told == [("joined", sid)]


@pytest.mark.req("JOIN-22")
@trio_test
async def test_events_behind_credentials_are_weighed(transport: str) -> None:
    door = Door()
    door.decide = trio.Event()
    server, _ = guarded_server(door)
    async with serving(server) as port, open_client(port, transport) as client:
        await client.connect()
        await send_batch(client, ['2["auth",{"name":"ann"}]', '27["ping"]', '28["ping"]'])
        await until(lambda: server.statistics().input_held > 0)
        assert server.statistics().input_held == 2 * len('428["ping"]')
        door.decide.set()
        assert [(await client.receive())[0] for _ in range(2)] == ['37["pong"]', '38["pong"]']
        assert server.statistics().input_held == 0


@pytest.mark.req("JOIN-20")
@trio_test
async def test_an_accepted_socket_is_in_no_room_and_no_broadcast(transport: str) -> None:
    server, _ = guarded_server(Door())
    async with serving(server) as port, open_client(port, transport) as client:
        sid = await client.connect()
        (joining,) = server.of("/")._joinings
        assert joining.socket is not None
        joining.socket.join("early")
        assert server.emit("news") == 0
        assert server.to(sid).emit("news") == 0
        assert server.to("early").emit("news") == 0
        assert await server.fetch_sockets() == []
        joining.socket.emit("hello")
        assert await client.receive_event() == ["hello"]
        await client.emit("auth", {"name": "ann"})
        await until(lambda: len(server.of("/").sockets) == 1)
        assert server.to("early").to(sid).emit("news") == 1
        assert await client.receive_event() == ["news"]


@pytest.mark.req("JOIN-20")
@trio_test
async def test_a_step_may_ask_an_accepted_client(transport: str) -> None:
    server = Server()

    async def challenge(joining: Joining) -> None:
        joining.accept("auth", 5)
        assert joining.socket is not None
        joining.identify(await joining.socket.emit_with_ack("who", timeout_s=3))

    add_step(server, State.AUTHENTICATING, challenge)
    async with serving(server) as port, open_client(port, transport) as client:
        await client.connect()
        text, _ = await client.receive()
        assert text == '20["who"]'
        await client.send('30["ann"]')
        await until(lambda: len(server.of("/").sockets) == 1)
        assert the_socket(server).user == "ann"


@pytest.mark.req("JOIN-20")
@trio_test
async def test_an_accepted_client_may_answer_in_binary(transport: str) -> None:
    server = Server()

    async def challenge(joining: Joining) -> None:
        joining.accept("auth", 5)
        assert joining.socket is not None
        joining.identify((await joining.socket.emit_with_ack("who", timeout_s=3)).decode())

    add_step(server, State.AUTHENTICATING, challenge)
    async with serving(server) as port, open_client(port, transport) as client:
        await client.connect()
        assert (await client.receive())[0] == '20["who"]'
        await client.send('61-0[{"_placeholder":true,"num":0}]', b"ann")
        await until(lambda: len(server.of("/").sockets) == 1)
        assert the_socket(server).user == "ann"


@pytest.mark.req("JOIN-22")
@trio_test
async def test_binary_events_wait_behind_credentials_too(transport: str) -> None:
    door = Door()
    door.decide = trio.Event()
    server, _ = guarded_server(door)
    server.on("file")(lambda _, data: data == b"bytes")
    async with serving(server) as port, open_client(port, transport) as client:
        await client.connect()
        await client.emit("auth", {"name": "ann"})
        await client.send('51-7["file",{"_placeholder":true,"num":0}]', b"bytes")
        await until(lambda: server.statistics().input_held > 0)
        door.decide.set()
        assert await client.receive() == ("37[true]", [])


@pytest.mark.req("SIO5-13")
@trio_test
async def test_a_connect_error_of_an_accepted_client_closes(transport: str) -> None:
    server, watcher = guarded_server(Door())
    async with serving(server) as port, open_client(port, transport) as client:
        await client.connect()
        await send_unanswered(client, '4{"message":"no"}')
        await check_closed(client)
        await until(lambda: watcher.told == [("abandoned", "/")])


@pytest.mark.req("JOIN-21", "JOIN-40")
@trio_test
async def test_events_before_credentials_are_refused(transport: str) -> None:
    server, _ = guarded_server(Door())
    async with serving(server) as port, open_client(port, transport) as client:
        await client.connect()
        error = {"errcode": 5, "errmsg": "not authenticated"}
        await client.emit("ping")
        assert await client.receive_event() == ["logic/error", error]
        await client.emit("ping", ack_id=1)
        assert await client.receive_event() == ["logic/error", error]
        assert (await client.receive())[0] == '31[{"errcode":5,"errmsg":"not authenticated"}]'
        await client.emit("auth", {"name": "ann"})
        assert await ask(client, "ping") == ["pong"]
        assert server.statistics().events_dropped == 2


async def check_refused(client: SocketIOClient, errcode: int, message: str) -> None:
    error = {"errcode": errcode, "errmsg": message}
    assert await client.receive_event() == ["logic/error", error]
    assert (await client.receive())[0] == "1"


@pytest.mark.req("JOIN-23")
@trio_test
async def test_a_client_that_is_refused_is_told_and_put_out(transport: str) -> None:
    door = Door()
    server, watcher = guarded_server(door)
    handled: list[object] = []
    server.on("disconnect")(lambda *_: handled.append("disconnect"))
    server.on("secret")(lambda *_: handled.append("secret"))
    async with serving(server) as port, open_client(port, transport) as client:
        await client.connect()
        await send_batch(client, ['2["auth",{"name":"mallory"}]', '2["secret"]', '2["secret"]'])
        await check_refused(client, 3, "not you")
        await check_closed(client)
        assert server.statistics().events_dropped == 2
    assert handled == []
    assert watcher.told == [("refused", "/", "not you")]


@pytest.mark.req("JOIN-24")
@pytest.mark.parametrize("user", ["ann", None])
@trio_test
async def test_a_refusal_hangs_up_unless_the_client_is_identified_elsewhere(
    user: str | None,
) -> None:
    server, _ = guarded_server(Door(), "/other")
    if user is not None:
        step = Step(State.AUTHENTICATING, lambda joining: joining.identify(user))
        server.of("/other").add_steps([step])
    async with serving(server) as port, joined(port, "websocket", "/other") as (client, _):
        await client.connect()
        await client.emit("auth", {"name": "mallory"})
        await check_refused(client, 3, "not you")
        if user is None:
            await check_closed(client)
        else:
            await client.emit("late")  # it crosses our DISCONNECT
            assert await ask(client, "ping", namespace="/other") == ["pong"]


@pytest.mark.req("JOIN-25")
@trio_test
async def test_credentials_that_do_not_come_in_time_refuse(transport: str) -> None:
    door = Door(timeout_s=0.1)
    server, watcher = guarded_server(door)
    async with serving(server) as port, open_client(port, transport) as client:
        await client.connect()
        await check_refused(client, 4, "authentication timed out")
        await check_closed(client)
        await until(lambda: len(door.ended) == 1)
    assert watcher.kinds == ["refused"]


@pytest.mark.req("JOIN-19")
@trio_test
async def test_an_accepted_client_satisfies_the_connect_timeout() -> None:
    server, _ = guarded_server(Door())
    server.options = ServerOptions(connect_timeout_s=0.1)
    async with serving(server) as port, open_client(port) as client:
        await client.connect()
        await trio.sleep(0.3)
        await client.emit("auth", {"name": "ann"})
        assert await ask(client, "ping") == ["pong"]


@pytest.mark.req("JOIN-42", "BND-15")
@trio_test
async def test_an_accepted_client_that_leaves_has_to_join_in_time() -> None:
    """Otherwise it would keep its place among those who have joined nothing for ever."""
    server, _ = guarded_server(Door())
    server.options = ServerOptions(connect_timeout_s=0.2, max_unjoined_sessions=1)
    async with serving(server) as port, open_client(port) as client:
        await client.connect()
        await client.send("1")
        with pytest.raises(ConnectionEnded):
            await client.receive()
        await until(lambda: server.statistics().sessions_unjoined == 0)


@pytest.mark.req("JOIN-15", "SIO5-10")
@trio_test
async def test_a_client_that_the_adapter_cannot_take_in_has_to_join_in_time() -> None:
    class Failing(Adapter):
        def add(self, socket: Socket, room: str) -> None:
            raise RuntimeError("no such room")

    server = Server(ServerOptions(connect_timeout_s=0.2), adapter=Failing)
    server.use(lambda socket: socket.join("early"))
    async with serving(server) as port, open_client(port) as client:
        await client.send("0")

        async def read_on() -> None:
            while True:
                await client.receive()

        with trio.fail_after(2), pytest.raises(ConnectionEnded):
            await read_on()


@pytest.mark.req("JOIN-42")
@pytest.mark.parametrize("others", [(), ("/other",)])
@trio_test
async def test_a_client_is_accepted_again_and_again_for_no_longer_than_that(
    others: tuple[str, ...],
) -> None:
    door = Door()
    server, _ = guarded_server(door)
    for name in others:  # one of them accepts it at any time
        server.of(name).add_steps([Step(State.AUTHENTICATING, door)])
    server.options = ServerOptions(connect_timeout_s=0.2)
    async with serving(server) as port, open_client(port) as client:

        async def ask_again() -> None:
            while True:
                for name in ("/", *others):
                    await client.connect(name)
                    await trio.sleep(0.05)

        with trio.fail_after(2), pytest.raises(ConnectionEnded):
            await ask_again()


@pytest.mark.req("JOIN-19", "JOIN-42")
@trio_test
async def test_who_is_accepted_in_one_namespace_may_be_refused_in_another() -> None:
    server, _ = guarded_server(Door())
    server.options = ServerOptions(connect_timeout_s=0.1)
    async with serving(server) as port, open_client(port) as client:
        await client.connect()
        await client.send("0/nowhere,")
        assert "Invalid namespace" in str(await client.receive())
        await trio.sleep(0.3)
        await client.emit("auth", {"name": "ann"})
        assert await ask(client, "ping") == ["pong"]


@pytest.mark.req("JOIN-42")
@trio_test
async def test_a_client_that_has_joined_may_leave_where_it_was_accepted_only() -> None:
    server, _ = guarded_server(Door(), "/other")
    server.options = ServerOptions(connect_timeout_s=0.1)
    async with serving(server) as port, open_client(port) as client:
        await client.connect()
        await client.emit("auth", {"name": "ann"})
        assert await ask(client, "ping") == ["pong"]
        await client.connect("/other")
        await client.send("1/other,")
        await trio.sleep(0.3)
        assert await ask(client, "ping") == ["pong"]


@pytest.mark.req("JOIN-26")
@trio_test
async def test_a_flood_behind_credentials_stops_the_reading(transport: str) -> None:
    door = Door()
    door.decide = trio.Event()
    server, _ = guarded_server(door)
    server.options = ServerOptions(handler_queue=8)
    async with serving(server) as port, open_client(port, transport) as client:
        await client.connect()
        (joining,) = server.of("/")._joinings
        assert joining.socket is not None
        session = joining.socket.session
        if transport == "polling":
            batch = ['2["auth",{"name":"ann"}]', *['2["ping"]'] * 20]
            async with trio.open_nursery() as nursery:
                nursery.start_soon(send_batch, client, batch)
                await until(lambda: session.paused)
                door.decide.set()
        else:
            await send_batch(client, ['2["auth",{"name":"ann"}]', *['2["ping"]'] * 20])
            await until(lambda: session.paused)
            door.decide.set()
        assert await ask(client, "ping") == ["pong"]


@pytest.mark.req("JOIN-26")
@trio_test
async def test_reading_goes_on_when_no_credentials_hold_too_much() -> None:
    door = Door()
    door.decide = trio.Event()
    server, _ = guarded_server(door, "/slow")
    server.options = ServerOptions(handler_queue=8)
    server.of("/slow").use(wait_forever)
    async with serving(server) as port, open_client(port) as client:
        await client.send("0/slow,")
        await client.connect()
        (joining,) = server.of("/")._joinings
        assert joining.socket is not None
        session, participant = joining.socket.session, joining.socket._participant
        session.pause_reading()
        participant.queue_eased()  # as if in another namespace
        paused = [session.paused]
        await send_batch(client, ['2["auth",{"name":"ann"}]', *['2["ping"]'] * 8])
        await until(lambda: session.paused)
        participant.queue_eased()
        assert [*paused, session.paused] == [False, True]
        door.decide.set()
        await until(lambda: not session.paused)


@pytest.mark.req("JOIN-19")
@trio_test
async def test_only_an_async_authenticating_step_can_accept() -> None:
    server, _ = watched_server()
    raised: list[str] = []

    def accept(joining: Joining) -> None:
        with pytest.raises(LocalProtocolError) as error:
            joining.accept("auth", 5)
        raised.append(str(error.value))

    add_step(server, State.AUTHENTICATING, accept)
    async with serving(server) as port, joined(port, "websocket"):
        assert len(raised) == 1


# --- the number of calls -------------------------------------------------------------------------


@pytest.mark.req("JOIN-07")
@trio_test
async def test_emits_tell_how_many_were_selected(transport: str) -> None:
    server, _ = watched_server()
    parent = server.of(lambda name, auth: True)
    async with (
        serving(server) as port,
        joined(port, transport) as (_, sid),
        joined(port, transport),
        joined(port, transport, "/child"),
    ):
        space: Namespace = server.of("/")
        space.sockets[sid].join("room")
        assert server.emit("news") == space.emit("news") == 2
        assert server.to("room").emit("news") == 1
        assert server.send("news") == 2
        assert space.sockets[sid].broadcast.emit("news") == 1
        assert server.volatile.emit("news") == 2
        assert server.to("nowhere").emit("news") == 0
        assert parent.emit("news") == 1


# --- adapters that have to be started ------------------------------------------------------------


@pytest.mark.req("RUN-09")
@trio_test
async def test_an_adapter_is_started_before_anybody_joins(transport: str) -> None:
    told: list[str] = []

    class Starting(Adapter):
        async def start(self) -> None:
            told.append(f"starts {self._namespace.name}")
            await trio.sleep(0.01)
            told.append(f"started {self._namespace.name}")

    server = Server(adapter=Starting)
    server.of("/early")
    server.of(lambda name, auth: True)
    server.observe(Watcher())
    async with serving(server) as port:
        assert told == ["starts /", "started /", "starts /early", "started /early"]
        server.of("/late")
        async with open_client(port, transport) as client, open_client(port, transport) as other:
            await client.connect("/late")
            await other.connect("/late")
            await client.connect("/dynamic")
    assert told[4:] == ["starts /late", "started /late", "starts /dynamic", "started /dynamic"]


@pytest.mark.req("RUN-09")
@trio_test
async def test_an_adapter_that_cannot_be_started() -> None:
    class Failing(Adapter):
        async def start(self) -> None:
            if self._namespace.name != "/":
                raise OSError("the other nodes cannot be reached")

    server = Server(adapter=Failing)
    server.on("ping")(lambda _: "pong")
    async with serving(server) as port, joined(port, "websocket") as (client, _):
        server.of("/late")
        await client.send("0/late,")
        assert (await client.receive())[0] == '4/late,{"message":"Internal server error"}'
        assert await ask(client, "ping") == ["pong"]
    server = Server(adapter=Failing)
    server.of("/early")
    with pytest.raises(OSError, match="cannot be reached"):
        async with serving(server):
            """Never reached."""


class Slow(Adapter):
    """The start of all but "/" waits; each outcome in `plan` is for one start."""

    told: list[str]
    go_on: trio.Event
    plan: list[str]

    @classmethod
    def fresh(cls, *plan: str) -> type["Slow"]:
        return type("Fresh", (cls,), {"told": [], "go_on": trio.Event(), "plan": list(plan)})

    async def start(self) -> None:
        if self._namespace.name == "/":
            return
        self.told.append("begins")
        try:
            await self.go_on.wait()
            if self.plan.pop(0) == "fails":
                raise OSError("the other nodes cannot be reached")
            self.told.append("done")
        except trio.Cancelled:
            self.told.append("cancelled")
            raise

    def close(self) -> None:
        if self._namespace.name != "/":
            self.told.append("closed")


@pytest.mark.req("RUN-29")
@trio_test
async def test_the_start_of_an_adapter_outlives_the_client_that_caused_it(transport: str) -> None:
    adapter = Slow.fresh("starts")
    server = Server(adapter=adapter)
    server.of(lambda name, auth: True)
    async with serving(server) as port, open_client(port, transport) as patient:
        async with open_client(port, transport) as hasty:
            await hasty.send("0/late,")
            await until(lambda: adapter.told == ["begins"])
            await patient.send("0/late,")
            await until(lambda: server.statistics().joining == 2)
            await hasty.send("1/late,")
            await until(lambda: server.statistics().joining == 1)
        adapter.go_on.set()
        assert (await patient.receive())[0].startswith('0/late,{"sid"')
    assert adapter.told == ["begins", "done", "closed"]


@pytest.mark.req("RUN-30")
@trio_test
async def test_an_adapter_that_failed_to_start_is_tried_again_for_the_next_client(
    caplog: pytest.LogCaptureFixture,
) -> None:
    adapter = Slow.fresh("fails", "starts")
    server = Server(adapter=adapter)
    refusal = '4/late,{"message":"Internal server error"}'
    async with serving(server) as port, open_client(port) as one, open_client(port) as other:
        server.of("/late")
        for client in (one, other):
            await client.send("0/late,")
        await until(lambda: server.statistics().joining == 2)
        adapter.go_on.set()
        for client in (one, other):
            assert (await client.receive())[0] == refusal
        assert server.statistics().handler_failures == 1
        await one.connect("/late")
        await other.connect("/late")
    assert adapter.told == ["begins", "begins", "done", "closed"]
    assert caplog.text.count("the start of the adapter failed") == 1


@pytest.mark.req("RUN-24")
@trio_test
async def test_the_start_of_an_adapter_has_a_time(caplog: pytest.LogCaptureFixture) -> None:
    adapter = Slow.fresh()
    server = Server(ServerOptions(hook_timeout_s=0.1), adapter=adapter)
    async with serving(server) as port, open_client(port) as client:
        server.of("/late")
        await client.send("0/late,")
        assert (await client.receive())[0].startswith("4/late,")
        await until(lambda: adapter.told == ["begins", "cancelled"])
        assert set(caplog.messages) == {"the start of the adapter failed for socket /late"}
    with (
        trio.fail_after(4),
        pytest.raises(TimeoutError, match=r"/late did not start within 0\.1 s"),
    ):
        async with serving(server):
            """Never reached."""
    assert "did not start within 0.1 s" in caplog.text


@pytest.mark.parametrize("how", ["removed", "deserted"])
@trio_test
async def test_an_adapter_is_closed_after_its_start_when_the_namespace_ends_first(how: str) -> None:
    adapter = Slow.fresh()
    server = Server(ServerOptions(cleanup_empty_child_namespaces=True), adapter=adapter)
    server.of(lambda name, auth: True)
    async with serving(server) as port, open_client(port) as client:
        await client.send("0/late,")
        await until(lambda: adapter.told == ["begins"])
        if how == "removed":
            await server.remove("/late")
        else:
            await client.send("1/late,")
        await until(lambda: "closed" in adapter.told)
    assert adapter.told == ["begins", "cancelled", "closed"]
    assert server.statistics().handler_failures == 0


@trio_test
async def test_an_adapter_may_say_that_it_needs_no_start() -> None:
    class Never(Adapter):
        needs_start = False

        async def start(self) -> None:
            raise AssertionError("it is started")

    async with serving(Server(adapter=Never)) as port, joined(port, "websocket"):
        """It is there."""


# --- plain steps that sometimes have to wait -----------------------------------------------------


@pytest.mark.req("JOIN-33")
@trio_test
async def test_a_plain_step_may_go_on_async(transport: str) -> None:
    server, _ = watched_server()
    scopes: list[bool] = []

    async def slow(joining: Joining, name: str) -> None:
        await trio.lowlevel.checkpoint()
        if name == "mallory":
            raise ConnectRefused("not you")
        joining.identify(name)

    def decide(joining: Joining) -> Awaited | None:
        name = joining.auth["name"]
        if joining.auth.get("slow"):
            return Awaited(slow, (joining, name))
        joining.identify(name)
        return None

    def note(joining: Joining) -> None:
        scopes.append(joining._scope is not None)

    add_step(server, State.AUTHENTICATING, decide)
    add_step(server, State.SEAT, note)
    async with serving(server) as port:
        async with joined(port, transport, auth={"name": "ann"}):
            assert the_socket(server).user == "ann"
        async with joined(port, transport, auth={"name": "bob", "slow": True}):
            await until(lambda: len(server.of("/").sockets) == 1)
            assert the_socket(server).user == "bob"
        async with open_client(port, transport) as client:
            await client.send('0{"name":"mallory","slow":true}')
            assert (await client.receive())[0] == '4{"message":"not you"}'
        assert scopes == [False, True]


@pytest.mark.req("JOIN-33", "JOIN-13")
@trio_test
async def test_what_a_plain_step_has_awaited_has_a_time_of_its_own() -> None:
    server, watcher = watched_server()

    async def hang() -> None:
        await trio.sleep_forever()

    add_step(server, State.AUTHENTICATING, lambda joining: Awaited(hang, (), 0.05))
    async with serving(server) as port, open_client(port, "websocket") as client:
        await client.send("0")
        assert (await client.receive())[0] == '4{"message":"Timed out"}'
        assert watcher.kinds == ["refused"]
