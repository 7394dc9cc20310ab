"""Connection state recovery on the wire."""

import json
from typing import Any

import pytest
import trio
from tests.socketio.linked_nodes import linked_servers
from tests.socketio.recovering import Client, arriving, recovering_server
from tests.socketio.serving import Record, check_closed, joined, open_client, serving, until
from trio.testing import trio_test

from trio_socketio import (
    Adapter,
    ConfigurationError,
    ConnectRefused,
    LocalProtocolError,
    Namespace,
    SavedSession,
    Server,
    ServerOptions,
    Socket,
    open_server,
)

PARSERS = ["json", "msgpack"]


async def lost(server: Server, client: Client) -> None:
    """The client's connection breaks, and the server keeps its session."""
    recovery = server._host.recovery
    assert recovery is not None
    await client.lose()
    await until(lambda: recovery.find(client.pid) is not None)


@pytest.mark.req("RECOVER-01")
@pytest.mark.req("RECOVER-02")
@pytest.mark.req("MSGPACK-04")
@pytest.mark.parametrize("parser", PARSERS)
@trio_test
async def test_a_client_goes_on_where_it_was(transport: str, parser: str) -> None:
    server = recovering_server(parser=parser)
    seen = Record()

    @server.on("connection")
    def connection(socket: Socket) -> None:
        seen.add((socket.recovered, socket.data.get("name"), socket.rooms - {socket.id}))
        socket.data["name"] = "Ann"

    async with serving(server) as port:
        async with arriving(port, transport, parser) as first:
            await first.connect()
            await first.join("red")
            server.emit("to all", 1)
            assert await first.receive_event() == ["to all", 1]
            old = server.of("/").sockets[first.sid]
            await lost(server, first)
        server.emit("to all", 2)
        server.to("red").emit("to red", 3)
        server.to("green").emit("to green", 4)
        server.except_("red").emit("not to red", 5)
        server.to(first.sid).emit("to its room", 6)
        old.emit("to it", 7)
        old.compress(False).emit("to it", 8)
        old.volatile.emit("perhaps")
        server.volatile.emit("perhaps")
        async with arriving(port, transport, parser) as second:
            await second.connect(first.credentials())
            assert (second.sid, second.pid) == (first.sid, first.pid)
            assert server.of("/").sockets[second.sid] is not old
            server.to("red").emit("to red", 9)
            old.emit("to it", 10)
            received = [await second.receive_event() for _ in range(7)]
            assert received == [
                ["to all", 2],
                ["to red", 3],
                ["to its room", 6],
                ["to it", 7],
                ["to it", 8],
                ["to red", 9],
                ["to it", 10],
            ]
    assert seen.entries == [(False, None, frozenset()), (True, "Ann", {"red"})]


@pytest.mark.req("RECOVER-02")
@trio_test
async def test_what_was_lost_on_its_way_is_sent_again(transport: str) -> None:
    server = recovering_server()
    async with serving(server) as port:
        async with arriving(port, transport) as client:
            await client.connect()
            server.emit("n", 1)
            await client.receive_event()
            server.emit("n", 2)
            server.emit("n", 3)
            await lost(server, client)
        for _ in range(2):  # lost once more before anything came
            async with arriving(port, transport) as again:
                await again.connect(client.credentials())
                assert again.sid == client.sid
                await lost(server, again)
        async with arriving(port, transport) as again:
            await again.connect(client.credentials())
            assert [await again.receive_event() for _ in range(2)] == [["n", 2], ["n", 3]]


@pytest.mark.req("RECOVER-04")
@pytest.mark.parametrize(
    "offset", [None, "of another life", "k3Jx9aQz.7", "", "é.1", ".", "x" * 5000]
)
@trio_test
async def test_it_works_before_the_first_packet(offset: str | None) -> None:
    server = recovering_server()
    async with serving(server) as port:
        server.emit("before", 0)
        async with arriving(port) as client:
            await client.connect()
            await lost(server, client)
        server.emit("n", 1)
        async with arriving(port) as again:
            await again.connect(
                {"pid": client.pid} | ({} if offset is None else {"offset": offset})
            )
            assert again.sid == client.sid
            assert await again.receive_event() == ["n", 1]


@pytest.mark.req("RECOVER-04")
@trio_test
async def test_an_offset_from_before_the_session_means_its_start() -> None:
    """Official clients keep the offset when they get a new session."""
    server = recovering_server()
    async with serving(server) as port:
        async with arriving(port) as first:
            await first.connect()
            server.emit("n", 1)
            await first.receive_event()
        server.emit("n", 2)
        async with arriving(port) as second:
            await second.connect({"pid": "x" * 20, "offset": first.offset})
            assert second.sid != first.sid
            await lost(server, second)
        server.emit("n", 3)
        async with arriving(port) as third:
            await third.connect({"pid": second.pid, "offset": first.offset})
            assert third.sid == second.sid
            assert await third.receive_event() == ["n", 3]


@pytest.mark.req("RECOVER-03")
@pytest.mark.parametrize("parser", PARSERS)
@pytest.mark.parametrize(
    "change",
    [
        {"pid": None},
        {"pid": 7},
        {"pid": ["x"]},
        {"pid": ""},
        {"pid": "x" * 20},
        {"pid": "é" * 20},
        {"offset": 7},
        {"offset": {}},
        {"offset": False},
        {"offset": "+1"},  # see below: one that is yet to come
    ],
)
@trio_test
async def test_a_forged_session_starts_a_new_one(change: dict[str, Any], parser: str) -> None:
    server = recovering_server(parser=parser)
    async with serving(server) as port:
        async with arriving(port, parser=parser) as client:
            await client.connect()
            server.emit("n", 1)
            await client.receive_event()
            await lost(server, client)
        assert client.offset is not None
        if change.get("offset") == "+1":
            change = {"offset": client.offset.replace(".1", ".2")}
        async with arriving(port, parser=parser) as again:
            await again.connect(client.credentials() | change)
            assert again.sid != client.sid
            assert again.pid != client.pid
            server.emit("n", 2)
            assert await again.receive_event() == ["n", 2]


@pytest.mark.req("RECOVER-03")
@trio_test
async def test_a_session_is_handed_out_once() -> None:
    server = recovering_server()
    async with serving(server) as port:
        async with arriving(port) as client:
            await client.connect()
            async with arriving(port) as thief:  # it is not lost yet
                await thief.connect(client.credentials())
                assert thief.sid != client.sid
            await lost(server, client)
        async with arriving(port) as again, arriving(port) as thief:
            await again.connect(client.credentials())
            await thief.connect(client.credentials())
            assert again.sid == client.sid
            assert again.sid != thief.sid
            assert again.pid != thief.pid


@pytest.mark.req("RECOVER-03")
@trio_test
async def test_a_session_is_of_its_namespace() -> None:
    server = recovering_server()
    server.of("/other")
    async with serving(server) as port:
        async with arriving(port) as client:
            await client.connect()
            await lost(server, client)
        async with arriving(port) as again:
            await again.connect(client.credentials(), "/other")
            assert again.sid != client.sid
        async with arriving(port) as again:
            await again.connect(client.credentials())
            assert again.sid == client.sid


@pytest.mark.req("RECOVER-06")
@pytest.mark.parametrize("end", ["leave", "put out", "hung up on", "broken"])
@trio_test
async def test_who_meant_to_go_does_not_come_back(end: str) -> None:
    server = recovering_server()
    gone = Record()
    server.on("disconnect")(lambda _, reason: gone.add(reason))
    async with serving(server) as port:
        async with open_client(port) as wire:
            client = await Client(wire, "json").connect()
            socket = server.of("/").sockets[client.sid]
            if end == "leave":
                await wire.send("1")
            elif end == "broken":
                await wire.send("2{")
            else:
                socket.disconnect(end == "hung up on")
            await gone.wait(1)
        async with arriving(port) as again:
            await again.connect(client.credentials())
            assert again.sid != client.sid
    assert gone.entries[0] in (
        "client namespace disconnect",
        "server namespace disconnect",
        "parse error",
    )


@pytest.mark.req("RECOVER-06")
@trio_test
async def test_a_session_that_the_server_closed_can_be_recovered() -> None:
    server = recovering_server()
    async with serving(server) as port:
        async with arriving(port) as client:
            await client.connect()
            server.of("/").sockets[client.sid].session.close("forced server close")
            await until(lambda: server.statistics().sessions_saved == 1)
        async with arriving(port) as again:
            await again.connect(client.credentials())
            assert again.sid == client.sid


@pytest.mark.req("RECOVER-05")
@trio_test
async def test_a_session_ends_in_time() -> None:
    server = recovering_server(state_recovery_max_disconnection_s=0.1)
    expired = Record()
    server.on_session_expired(expired.add)
    async with serving(server) as port:
        async with arriving(port) as client:
            await client.connect()
            await client.join("red")
            server.of("/").sockets[client.sid].data["name"] = "Ann"
            await lost(server, client)
        (session,) = await expired.wait(1)
        assert isinstance(session, SavedSession)
        assert (session.id, session.data) == (client.sid, {"name": "Ann"})
        assert session.rooms == {"red"}
        async with arriving(port) as again:
            await again.connect(client.credentials())
            assert again.sid != client.sid
            assert len(expired.entries) == 1


@pytest.mark.req("BND-16")
@pytest.mark.parametrize("held", ["data", "rooms"])
@trio_test
async def test_sessions_are_bounded_by_what_they_hold(held: str) -> None:
    server = recovering_server(state_recovery_max_session_bytes=64 * 20_000)
    expired = Record()
    server.on_session_expired(lambda session: expired.add(session.id))

    @server.on("hold")
    def hold(socket: Socket, size: int) -> None:
        if held == "data":
            socket.data["notes"] = ["x" * 100 + str(n) for n in range(size // 150)]
        else:
            socket.join("x" * 100 + str(n) for n in range(size // 460))  # and each is a change
        socket.emit("joined")

    async def lose(port: int, size: int) -> str:
        async with arriving(port) as client:
            await client.connect()
            await client.emit("hold", size)
            await client.receive()
            await client.lose()
            await until(lambda: not server.of("/").sockets)
            return client.sid

    async with serving(server) as port:
        sids = [await lose(port, 16_000) for _ in range(100)]
        await until(lambda: server.statistics().sessions_saved + len(expired.entries) == 100)
        kept = server.statistics().sessions_saved
        assert 64 <= kept <= 80
        await expired.wait(100 - kept)
        assert expired.entries == sids[: 100 - kept]  # the oldest first
        assert server._host.recovery is not None
        assert server._host.recovery.session_bytes <= 64 * 20_000
        expired.entries.clear()
        heavy = await lose(port, 24_000)
        await expired.wait(1)
        assert expired.entries == [heavy]  # and nobody else
        assert server.statistics().sessions_saved == kept
    assert server._host.recovery.session_bytes == 0


@pytest.mark.req("RECOVER-05")
@trio_test
async def test_sessions_beyond_the_bound_end_the_oldest_first() -> None:
    server = recovering_server(state_recovery_max_sessions=2)
    expired = Record()

    @server.on_session_expired
    async def on_expired(session: SavedSession) -> None:
        await trio.lowlevel.checkpoint()
        expired.add(session.id)

    clients = []
    async with serving(server) as port:
        for _ in range(3):
            async with arriving(port) as client:
                clients.append(await client.connect())
                await lost(server, client)
        assert await expired.wait(1) == [clients[0].sid]
        recovered = []
        for client in clients:
            async with arriving(port) as again:
                await again.connect(client.credentials())
                recovered.append(again.sid == client.sid)
                await again.send({"type": 1, "nsp": "/"})
                await until(lambda: not server.of("/").sockets)
        assert recovered == [False, True, True]


@pytest.mark.req("RECOVER-05")
@pytest.mark.parametrize("bound", ["packets", "bytes", "missed"])
@trio_test
async def test_who_missed_too_much_begins_anew(bound: str) -> None:
    options = {
        "packets": {"state_recovery_max_packets": 3},
        "bytes": {"state_recovery_max_bytes": 300},
        "missed": {"output_bound_bytes": 75},
    }
    server = recovering_server(None, **options[bound])
    expired = Record()
    server.on_session_expired(expired.add)
    async with serving(server) as port:
        clients = []
        for _ in range(2):
            async with arriving(port) as client:
                clients.append(await client.connect())
                await lost(server, client)
            server.emit("n", "x" * 80)
        server.emit("n", "x" * 80)
        for client in clients:
            server.emit("n", "x" * 80)  # for the first it is the fourth
            async with arriving(port) as again:
                await again.connect(client.credentials())
                assert again.sid != client.sid
            if bound == "packets":
                break
        sids = [session.id for session in await expired.wait(1)]
        assert sids[0] == clients[0].sid


@trio_test
async def test_a_quiet_client_needs_no_recent_offset() -> None:
    """What others got meanwhile has pushed its last packet out of the log; it missed nothing."""
    server = recovering_server(state_recovery_max_packets=5)
    async with serving(server) as port:
        async with arriving(port) as client:
            await client.connect()
            server.emit("n", 0)
            await client.receive_event()
            recovery = server._host.recovery
            assert recovery is not None
            recovery.heartbeat_s = 0.1  # as if pings were that frequent
            for _ in range(10):
                server.to("nobody").emit("n", 1)
            assert recovery.log.number_of(client.offset) < recovery.log.dropped
            socket = server.of("/").sockets[client.sid]
            assert isinstance(socket, Socket)
            await trio.sleep(0.15)
            await lost(server, client)
        server.emit("n", 2)
        async with arriving(port) as again:
            await again.connect(client.credentials())
            assert again.sid == client.sid
            assert await again.receive_event() == ["n", 2]


@pytest.mark.parametrize("skip", [True, False])
@trio_test
async def test_middleware_may_be_skipped(skip: bool) -> None:
    server = recovering_server(state_recovery_skip_middlewares=skip)
    seen = Record()

    @server.use
    async def ask(socket: Socket) -> None:
        seen.add((socket.recovered, socket.id))
        if socket.recovered:
            server.emit("n", "meanwhile")
            await trio.sleep(0.01)
            socket.join("late")

    async with serving(server) as port:
        async with arriving(port) as client:
            await client.connect()
            await lost(server, client)
        server.to("late").emit("n", "too early")
        async with arriving(port) as again:
            await again.connect(client.credentials())
            assert again.sid == client.sid
            if not skip:
                assert await again.receive_event() == ["n", "meanwhile"]
            await lost(server, again)
        server.to("late").emit("n", "in time")
        server.emit("n", "last")
        async with arriving(port) as once_more:
            await once_more.connect(client.credentials())
            wanted = [["n", "last"]]
            if not skip:
                wanted = [["n", "meanwhile"], ["n", "in time"], *wanted]
            assert [await once_more.receive_event() for _ in wanted] == wanted
    told = [(False, client.sid), (True, client.sid), (True, client.sid)]
    assert seen.entries == (told[:1] if skip else told)


@trio_test
async def test_who_is_refused_has_lost_the_session() -> None:
    server = recovering_server(state_recovery_skip_middlewares=False)
    expired = Record()
    server.on_session_expired(expired.add)

    @server.use
    def refuse(socket: Socket) -> None:
        if socket.recovered:
            raise ConnectRefused("not you")

    async with serving(server) as port:
        async with arriving(port) as client:
            await client.connect()
            await lost(server, client)
        async with arriving(port) as again:
            await again.send({"type": 0, "nsp": "/", "data": client.credentials()})
            assert (await again.receive())["type"] == 4
            assert [session.id for session in await expired.wait(1)] == [client.sid]


@trio_test
async def test_who_is_lost_while_coming_back_may_come_back() -> None:
    server = recovering_server(state_recovery_skip_middlewares=False)
    asked = Record()
    go_on = trio.Event()

    @server.use
    async def wait(socket: Socket) -> None:
        asked.add(socket.recovered)
        if asked.entries == [False, True]:
            await go_on.wait()

    async with serving(server) as port:
        async with arriving(port) as client:
            await client.connect()
            await lost(server, client)
        async with arriving(port) as again:
            await again.send({"type": 0, "nsp": "/", "data": client.credentials()})
            await asked.wait(2)
            await again.lose()
        await until(lambda: server.statistics().sessions == 0)
        go_on.set()
        await until(lambda: server.statistics().sessions_saved == 1)
        async with arriving(port) as once_more:
            await once_more.connect(client.credentials())
            assert once_more.sid == client.sid


@pytest.mark.req("RECOVER-07")
@trio_test
async def test_nobody_else_learns_of_the_pid() -> None:
    server = recovering_server(state_recovery_skip_middlewares=False)
    auths: list[Any] = []
    server.use(lambda socket: auths.append(socket.handshake.auth))
    async with serving(server) as port:
        async with arriving(port) as client:
            await client.connect({"token": "t"})
            await lost(server, client)
        async with arriving(port) as again:
            await again.connect({"token": "t", "offset": "", **client.credentials()})
            assert again.sid == client.sid
            (remote,) = await server.fetch_sockets()
            assert client.pid not in repr((remote.handshake, remote.data, remote.rooms))
    assert auths == [{"token": "t"}, {"token": "t"}]


@trio_test
async def test_a_pid_of_the_programs_own_is_left_alone() -> None:
    server = recovering_server()
    auths: list[Any] = []
    server.use(lambda socket: auths.append(socket.handshake.auth))
    async with serving(server) as port, arriving(port) as client:
        await client.connect({"pid": "1234", "offset": 5})
    assert auths == [{"pid": "1234", "offset": 5}]


@trio_test
async def test_sessions_end_with_the_server() -> None:
    server = recovering_server()
    expired = Record()
    server.on_session_expired(expired.add)
    async with serving(server) as port:
        async with arriving(port) as client:
            await client.connect()
            await lost(server, client)
        async with arriving(port) as other:
            await other.connect()
            server.stop()
            await expired.wait(2)
    assert {session.id for session in expired.entries} == {client.sid, other.sid}


@trio_test
async def test_a_broadcast_that_was_made_before_serving_is_logged() -> None:
    server = recovering_server()
    lobby = server.to("red")
    async with serving(server) as port:
        async with arriving(port) as client:
            await client.connect()
            await client.join("red")
            await lost(server, client)
        lobby.emit("n", 1)
        async with arriving(port) as again:
            await again.connect(client.credentials())
            assert await again.receive_event() == ["n", 1]


@trio_test
async def test_questions_have_no_offset_and_are_not_kept() -> None:
    server = recovering_server()
    async with serving(server) as port:
        async with arriving(port) as client, trio.open_nursery() as nursery:
            await client.connect()
            socket = server.of("/").sockets[client.sid]

            async def ask(asker: Any) -> None:
                await asker.emit_with_ack("sure", "text")

            for asker in (socket, server):
                nursery.start_soon(ask, asker)
                question = await client.receive()
                assert question["data"] == ["sure", "text"]
                answer = {"type": 3, "nsp": "/", "id": question["id"], "data": []}
                await client.send(answer)
            await until(lambda: not nursery.child_tasks)
            socket.volatile.emit("perhaps", "text")
            assert await client.receive_event() == ["perhaps", "text"]
            await lost(server, client)
        server.emit("n", 1)
        async with arriving(port) as again:
            await again.connect(client.credentials())
            assert await again.receive_event() == ["n", 1]


@trio_test
async def test_outgoing_listeners_do_not_hear_the_offset() -> None:
    server = recovering_server()
    heard = Record()
    async with serving(server) as port, arriving(port) as client:
        await client.connect()
        socket = server.of("/").sockets[client.sid]
        socket.on_any_outgoing(lambda *arguments: heard.add(arguments))
        server.emit("n", 1)
        socket.emit("n", 2)
        for emitter in (server, socket):
            with pytest.raises(LocalProtocolError):
                emitter.emit("n", object())
        assert heard.entries == [("n", 1), ("n", 2)]
        assert [await client.receive_event() for _ in range(2)] == [["n", 1], ["n", 2]]


@trio_test
async def test_a_listener_that_emits_does_not_mix_up_offsets() -> None:
    server = recovering_server()
    async with serving(server) as port, arriving(port) as client:
        await client.connect()
        socket = server.of("/").sockets[client.sid]

        @socket.on_any_outgoing
        def twice(event: str, *_: Any) -> None:
            if event == "n":
                socket.emit("echo")

        server.emit("n")
        offsets = []
        for wanted in ("echo", "n"):
            assert await client.receive_event() == [wanted]
            offsets.append(client.offset)
        assert offsets[0] != offsets[1]


@trio_test
async def test_without_recovery_there_is_no_pid_and_no_offset(transport: str) -> None:
    server = Server()
    async with (
        serving(server) as port,
        joined(port, transport, auth={"pid": "x" * 20}) as (
            client,
            sid,
        ),
    ):
        socket = server.of("/").sockets[sid]
        assert socket.handshake.auth == {"pid": "x" * 20}
        assert not socket.recovered
        server.emit("n")
        assert (await client.receive())[0] == '2["n"]'


@pytest.mark.req("MSGPACK-04")
@trio_test
async def test_text_closes_a_client_of_messagepack(transport: str) -> None:
    server = recovering_server(parser="msgpack")
    async with serving(server) as port, open_client(port, transport) as client:
        await client.send("0")
        await check_closed(client)


@trio_test
async def test_statistics_tell_what_became_of_sessions(transport: str) -> None:
    server = recovering_server(state_recovery_max_sessions=2)

    def counts() -> tuple[int, int, int, int]:
        now = server.statistics()
        return (
            now.sessions_saved,
            now.sessions_recovered,
            now.sessions_expired,
            now.recoveries_refused,
        )

    assert counts() == (0, 0, 0, 0)
    async with serving(server) as port:
        clients = []
        for _ in range(3):  # one too many
            async with arriving(port, transport) as client:
                clients.append(await client.connect())
                await lost(server, client)
        assert counts() == (2, 0, 1, 0)
        async with arriving(port, transport) as first, arriving(port, transport) as last:
            assert (await first.connect(clients[0].credentials())).sid != clients[0].sid
            assert counts() == (2, 0, 1, 1)
            assert (await last.connect(clients[2].credentials())).sid == clients[2].sid
            assert counts() == (1, 1, 1, 1)
            async with arriving(port, transport) as second:  # it is in use
                await second.connect(clients[2].credentials())
                assert counts() == (1, 1, 1, 2)
    saved, recovered, expired, refused = counts()
    assert (saved, recovered, refused) == (0, 1, 2)
    assert expired >= 2  # who was there at the end had one, too


class KeepingAdapter(Adapter):
    """Keeps sessions where it likes, and never for long enough that they expire."""

    def __init__(self, namespace: Namespace) -> None:
        super().__init__(namespace)
        self.kept: dict[str, SavedSession] = {}

    async def persist_session(self, session: SavedSession) -> None:
        await trio.lowlevel.checkpoint()
        self.kept[session.pid] = session

    async def restore_session(self, pid: str, offset: str | None) -> SavedSession | None:
        await trio.lowlevel.checkpoint()
        return self.kept.pop(pid, None)


@pytest.mark.req("RECOVER-12")
@trio_test
async def test_an_adapter_may_keep_sessions_elsewhere(transport: str) -> None:
    server = recovering_server(KeepingAdapter)
    server.on("state")(lambda socket: (socket.recovered, "red" in socket.rooms))
    async with serving(server) as port:
        adapter = server.of("/").adapter
        assert isinstance(adapter, KeepingAdapter)
        async with arriving(port, transport) as first:
            await first.connect()
            await first.join("red")
            await first.lose()
            await until(lambda: first.pid in adapter.kept)
        assert server._host.recovery is not None
        assert (
            server._host.recovery.session_count == 0
        )  # nothing of it is in the server's own memory
        server.to("red").emit("missed")
        async with arriving(port, transport) as second:
            await second.connect(first.credentials())
            assert (second.sid, second.pid) == (first.sid, first.pid)
            assert await second.receive_event() == ["missed"]
            await second.send({"type": 2, "nsp": "/", "data": ["state"], "id": 1})
            assert (await second.receive())["data"] == [True, True]
        assert adapter.kept.keys() <= {first.pid}


@pytest.mark.req("RECOVER-11")
@trio_test
async def test_recovery_works_with_an_adapter_that_knows_nothing_of_it(transport: str) -> None:
    """Two nodes: what the other one broadcast while the client was away is not missed either."""
    here, there = linked_servers(2, ServerOptions(state_recovery=True))
    here.on("join")(lambda socket, room: (socket.join(room), socket.emit("joined"))[1])
    async with serving(there), serving(here) as port:
        async with arriving(port, transport) as first:
            await first.connect()
            await first.join("red")
            there.to("red").emit("news", 1)
            assert await first.receive_event() == ["news", 1]
            await lost(here, first)
        there.to("red").emit("news", 2)
        there.to("green").emit("news", 3)
        here.to("red").emit("news", 4)
        there.to(first.sid).emit("news", 5)
        async with arriving(port, transport) as second:
            await second.connect(first.credentials())
            assert (second.sid, second.pid) == (first.sid, first.pid)
            assert [await second.receive_event() for _ in range(3)] == [
                ["news", 2],
                ["news", 4],
                ["news", 5],
            ]
            there.to("red").emit("news", 6)
            assert await second.receive_event() == ["news", 6]


@trio_test
async def test_without_the_option_no_socket_has_a_part_for_it() -> None:
    server = Server(adapter=KeepingAdapter)
    async with serving(server) as port, open_client(port) as client:
        await client.connect()
        (socket,) = server.of("/").sockets.values()
        assert socket._recovery is None
        assert not socket.recovered


@trio_test
async def test_old_clients_speak_json_only() -> None:
    server = Server(ServerOptions(allow_eio3=True, parser="msgpack"))
    with pytest.raises(ConfigurationError, match="allow_eio3"):
        async with open_server(server):
            pass


def test_there_is_one_handler_of_expired_sessions() -> None:
    server = Server()
    server.on_session_expired(json.dumps)
    with pytest.raises(LocalProtocolError):
        server.of("/").on_session_expired(json.dumps)
