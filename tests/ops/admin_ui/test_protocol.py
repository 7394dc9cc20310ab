"""The namespace of the Admin UI: what administrators are told, and what their commands do."""

import re
import time
from math import nan
from typing import Any

import pytest
import trio
from tests.ops.admin_ui.administrator import instrument, open_admin
from tests.socketio.serving import joined, open_client, serving
from tests.wire import PATH, WebSocketClient
from tests.wire_v3 import WebSocketEngineV3
from trio.testing import trio_test

from trio_socketio import (
    AckTimeout,
    Adapter,
    HandshakeDetails,
    Server,
    ServerOptions,
    Socket,
    SocketDetails,
    Target,
)
from trio_socketio.ops.admin_ui import reports, service, watching
from trio_socketio.socketio.room_hooks import WatchedRooms
from trio_socketio.socketio.rooms import Rooms

COMMANDS = ["EMIT", "JOIN", "LEAVE", "DISCONNECT", "MJOIN", "MLEAVE", "MDISCONNECT"]
PERIOD_S = 0.2
TIME = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z").fullmatch


@pytest.fixture(autouse=True)
def quick_reports(monkeypatch: pytest.MonkeyPatch) -> None:
    """Reports come more often than they do."""
    monkeypatch.setattr(service, "PERIOD_S", PERIOD_S)


@pytest.mark.req("AUI-02", "AUI-17", "AUI-19")
@trio_test
async def test_an_administrator_is_told_of_every_socket(transport: str) -> None:
    server = Server()
    instrument(server)

    @server.on("connection")
    def connected(socket: Socket) -> None:
        socket.data["user"] = "bob"
        socket.join("lobby")

    async with serving(server) as port, joined(port, transport) as (_, socket_id):
        sid = next(iter(server.of("/").sockets.values())).session.sid
        async with open_admin(port) as admin:
            (sockets,) = await admin.wait("all_sockets")
            await admin.wait("server_stats")
    first = [name for name in admin.names() if name in ("CONNECT", "config", "all_sockets")]
    assert first == ["CONNECT", "config", "all_sockets"]
    assert admin.told[first.index("CONNECT")] == ["CONNECT"]
    (config,) = [told[1] for told in admin.told if told[0] == "config"]
    assert config == {"supportedFeatures": [*COMMANDS, "AGGREGATED_EVENTS", "ALL_EVENTS"]}
    assert [socket["nsp"] for socket in sockets] == ["/", "/admin"]
    bob = sockets[0]
    handshake = bob.pop("handshake")
    assert len(bob["clientId"]) == 12
    assert not any(bob["clientId"][at : at + 5] in sid for at in range(8))
    assert {**bob, "clientId": "", "rooms": sorted(bob["rooms"])} == {
        "id": socket_id,
        "clientId": "",
        "transport": transport,
        "nsp": "/",
        "data": {"user": "bob"},
        "rooms": sorted([socket_id, "lobby"]),
    }
    assert set(handshake) == {
        "address", "headers", "query", "issued", "secure", "time", "url", "xdomain",
    }  # fmt: skip
    assert handshake["address"] == "127.0.0.1"
    assert handshake["query"]["EIO"] == "4"
    assert handshake["time"].endswith("GMT+0000 (Coordinated Universal Time)")
    assert abs(handshake["issued"] / 1000 - 1_700_000_000) < 1e9


@pytest.mark.req("AUI-22", "AUI-33")
@trio_test
async def test_what_happens_to_a_socket_is_told_in_its_order() -> None:
    server = Server()
    instrument(server)

    @server.on("ask")
    def ask(socket: Socket, *arguments: Any) -> str:
        socket.join("lobby")
        socket.emit("told", {"n": 1}, b"12345")
        socket.leave("lobby")
        return "answer"

    async with serving(server) as port, open_admin(port) as admin:
        await admin.wait("all_sockets")
        async with open_client(port) as client:
            socket_id = await client.connect()
            await client.emit("ask", 1, ["two"], ack_id=7)
            await client.receive()
        await admin.wait_of("room_left", "/", socket_id)
    assert all(
        told[2] == told[3] for told in admin.told if told[0] == "room_joined" and len(told[2]) > 6
    )
    seen = [told for told in admin.told if told[0] != "server_stats" and socket_id in str(told)]
    times = [told.pop() for told in seen]
    assert all(map(TIME, times))
    assert times == sorted(times)
    assert seen[1][1]["id"] == socket_id
    assert [told[0] for told in seen] == [
        "room_joined", "socket_connected", "event_received", "room_joined", "event_sent",
        "room_left", "socket_disconnected", "room_left",
    ]  # fmt: skip
    assert seen[0][1:] == ["/", socket_id, socket_id]
    assert seen[2][1:] == ["/", socket_id, ["ask", 1, ["two"]]]
    assert seen[4][1:] == ["/", socket_id, ["told", {"n": 1}, "<5 bytes>"]]
    assert seen[6][1:] == ["/", socket_id, "transport close"]
    assert seen[7][1:] == ["/", socket_id, socket_id]


@pytest.mark.req("AUI-33")
@trio_test
async def test_changes_of_data_and_the_upgrade_are_told_soon() -> None:
    server = Server()
    instrument(server)

    async with serving(server) as port, open_admin(port) as admin:
        await admin.wait("all_sockets")
        async with joined(port, "polling") as (client, socket_id):
            await admin.wait("socket_connected")
            server.of("/").sockets[socket_id].data["seen"] = {"at": 1}
            (changed,) = await admin.wait("socket_updated")
            engine: Any = client.engine
            websocket = await WebSocketClient.open(
                port, f"{PATH}?EIO=4&transport=websocket&sid={engine.handshake['sid']}"
            )
            await websocket.send("2probe")
            assert await websocket.receive() == "3probe"
            await websocket.send("5")
            (upgraded,) = await admin.wait("socket_updated")
            await websocket.send("1")
            await admin.wait("socket_disconnected")
            await websocket.aclose()
    assert changed == {"id": socket_id, "nsp": "/", "data": {"seen": {"at": 1}}}
    assert upgraded == {"id": socket_id, "nsp": "/", "transport": "websocket"}


@pytest.mark.req("AUI-16")
@trio_test
async def test_statistics_come_every_two_seconds() -> None:
    server = Server()
    server.of("/chat")
    instrument(server, mode="production", server_id="node-1")
    async with serving(server) as port, open_admin(port) as admin:
        (before,) = await admin.wait("server_stats")
        began = trio.current_time()
        async with joined(port, "polling") as (client, _):
            await client.emit("hello")
            (report,) = await admin.wait("server_stats")
        took = trio.current_time() - began
        (last,) = await admin.wait("server_stats")
    assert took < PERIOD_S + 1
    assert reports.PERIOD_S == 2.0
    assert report["serverId"] == "node-1"
    assert report["pid"] > 0
    assert report["hostname"]
    assert PERIOD_S / 2 < report["uptime"] - before["uptime"] < PERIOD_S + 1
    assert (report["clientsCount"], report["pollingClientsCount"]) == (2, 1)
    assert sorted((one["name"], one["socketsCount"]) for one in report["namespaces"]) == [
        ("/", 1), ("/admin", 1), ("/chat", 0),
    ]  # fmt: skip
    counted = {event["type"]: event["count"] for event in report["aggregatedEvents"]}
    assert counted["rawConnection"] == 1
    assert counted["packetsIn"] >= 2
    assert counted["bytesIn"] > 0
    assert counted["packetsOut"] >= 2
    assert counted["bytesOut"] > 0
    assert all(event["timestamp"] % 1000 == 0 for event in report["aggregatedEvents"])
    ended = [event for event in last["aggregatedEvents"] if event["type"] == "rawDisconnection"]
    assert [(event["subType"], event["count"]) for event in ended] == [("transport close", 1)]


@pytest.mark.req("AUI-28")
@trio_test
async def test_production_mode_puts_nothing_on_sockets() -> None:
    server = Server()
    instrument(server, mode="production")
    async with serving(server) as port, joined(port, "websocket") as (_, socket_id):
        async with open_admin(port) as admin:
            (config,) = await admin.wait("config")
            await admin.wait("server_stats")
            await admin.wait("server_stats")
            socket = server.of("/").sockets[socket_id]
            assert (socket._events, socket._outgoing) == (None, None)
            assert type(server._namespaces.main.rooms) is Rooms
        assert set(admin.names()) == {"CONNECT", "config", "server_stats"}
    assert config == {"supportedFeatures": [*COMMANDS, "AGGREGATED_EVENTS"]}


@pytest.mark.req("AUI-01")
@trio_test
async def test_a_server_without_an_admin_ui_has_nothing_of_it() -> None:
    server = Server()
    async with serving(server) as port, joined(port, "websocket") as (client, socket_id):
        socket = server.of("/").sockets[socket_id]
        assert "/admin" not in server.namespaces
        assert (socket._events, socket._outgoing) == (None, None)
        assert not isinstance(server._namespaces.main.rooms, WatchedRooms)
        (found,) = await server.fetch_sockets()
        assert found.data == {}
        await client.send("0/admin,")
        refused, _ = await client.receive()
    assert refused == '4/admin,{"message":"Invalid namespace"}'


@pytest.mark.req("AUI-09", "AUI-29")
@trio_test
async def test_commands_act_on_sockets_and_rooms() -> None:
    server = Server()
    chat = server.of("/chat")
    instrument(server)
    async with (
        serving(server) as port,
        joined(port, "websocket", "/chat") as (one, first),
        joined(port, "websocket", "/chat") as (two, second),
        open_admin(port) as admin,
    ):
        await admin.wait("all_sockets")
        await admin.send("join", "/chat", "red", first)
        await admin.wait_of("room_joined", "/chat", "red", first)
        assert chat.sockets[first].rooms == {first, "red"}
        await admin.send("join", "/chat", "all", None)
        await admin.wait_of("room_joined", "/chat", "all", second)
        assert chat.sockets[second].rooms == {second, "all"}
        await admin.send("emit", "/chat", "red", "news", 1, {"two": [3]})
        assert await one.receive_event("/chat") == ["news", 1, {"two": [3]}]
        await admin.send("emit", "/chat", None, "to everybody")
        assert await two.receive_event("/chat") == ["to everybody"]
        await admin.send("leave", "/chat", "all")
        await admin.wait_of("room_left", "/chat", "all", second)
        assert chat.sockets[first].rooms == {first, "red"}
        await admin.send("_disconnect", "/chat", False, "red")
        assert (await admin.wait("socket_disconnected"))[1:3] == [
            first,
            "server namespace disconnect",
        ]
        assert list(chat.sockets) == [second]
        await admin.send("_disconnect", "/chat", True, second)
        await admin.wait_of("socket_disconnected", "/chat", second)
        assert len(server._running.engine.sessions) == 2  # type: ignore[union-attr] # it runs


@pytest.mark.req("AUI-09")
@pytest.mark.parametrize(
    "command",
    [
        ("join",),
        ("join", "/nowhere", "room"),
        ("join", "/", 5),
        ("join", "/", ""),
        ("join", "/", "r" * 257),
        ("join", "/", "room", 7),
        ("join", {}, "room"),
        ("join", "/", "user:7"),
        ("leave", "/", "user:7", None),
        pytest.param(("join", "/", "x" * 20), marks=pytest.mark.req("AUI-34")),
        ("leave", "chat", "room"),
        ("_disconnect", "/", "yes"),
        ("_disconnect", ["/"], True),
        ("emit", "/", None),
        ("emit", "/", None, "connect"),
        ("emit", "/", None, {}),
        ("emit", "/admin", None, "server_stats", {}),
    ],
)
@trio_test
async def test_commands_that_cannot_be_carried_out_change_nothing(
    command: tuple[Any, ...], caplog: pytest.LogCaptureFixture
) -> None:
    server = Server()
    admin_ui = instrument(server)
    async with serving(server) as port, joined(port, "websocket") as (client, socket_id):
        async with open_admin(port) as admin:
            await admin.wait("all_sockets")
            await admin.send(*command)
            await admin.send("join", "/", "done")
            await admin.wait_of("room_joined", "/", "done", socket_id)
            assert server.of("/").sockets[socket_id].rooms == {socket_id, "done"}
            assert set(server.namespaces) == {"/", "/admin"}
            assert admin_ui.statistics().commands == {"done": 1, "refused": 1}
        await client.send('20["x"]')
    assert "has ignored" in caplog.text


@pytest.mark.req("AUI-10")
@trio_test
async def test_whoever_may_only_look_on_has_no_commands() -> None:
    server = Server()
    instrument(server, readonly=True)
    async with (
        serving(server) as port,
        joined(port, "websocket") as (_, socket_id),
        open_admin(port) as admin,
    ):
        (config,) = await admin.wait("config")
        await admin.wait("all_sockets")
        await admin.send("join", "/", "room", socket_id)
        await admin.send("_disconnect", "/", True)
        await admin.wait("server_stats")
        assert server.of("/").sockets[socket_id].rooms == {socket_id}
    assert config == {"supportedFeatures": ["AGGREGATED_EVENTS", "ALL_EVENTS"]}


@pytest.mark.req("AUI-23")
@trio_test
async def test_a_storm_of_events_is_shown_in_part_and_counted(
    caplog: pytest.LogCaptureFixture,
) -> None:
    server = Server()
    admin_ui = instrument(server, max_events_per_s=10)
    server.on("hello")(lambda socket: None)
    async with serving(server) as port, joined(port, "websocket") as (client, _):
        async with open_admin(port) as admin:
            await admin.wait("all_sockets")
            for _ in range(100):
                await client.emit("hello")
            for _ in range(2):
                await admin.wait("server_stats")
            shown = admin.names().count("event_received")
        assert 10 <= shown < 60
        found = admin_ui.statistics()
        assert (found.events_told, found.events_untold) == (shown, 100 - shown)
    assert caplog.text.count("does not show all events") == 1


@pytest.mark.req("AUI-23")
@trio_test
async def test_without_an_administrator_nothing_is_shortened_or_counted() -> None:
    server = Server()
    admin_ui = instrument(server)
    server.on("hello")(lambda socket: "there")
    async with serving(server) as port, joined(port, "websocket") as (client, _):
        await client.emit("hello", ack_id=1)
        await client.receive()
        found = admin_ui.statistics()
    assert (found.admins, found.events_told, found.events_untold) == (0, 0, 0)


@pytest.mark.req("AUI-33", "AUI-23")
@trio_test
async def test_data_that_has_changed_while_nobody_listened_is_in_the_list_alone(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    looks: list[Any] = []

    def look(watcher: watching.Watcher, socket: Socket) -> tuple[str, bytes]:
        looks.append(socket)
        return look_at(watcher, socket)

    look_at = watching.Watcher._look_at
    monkeypatch.setattr(watching.Watcher, "_look_at", look)
    server = Server()
    admin_ui = instrument(server)
    async with serving(server) as port, joined(port, "websocket") as (_, socket_id):
        watcher = admin_ui._watcher
        assert watcher is not None
        await watcher.look_round()
        assert len(looks) == 1  # when it joined
        data = server.of("/").sockets[socket_id].data
        data["seen"] = 1
        async with open_admin(port) as admin:
            (sockets,) = await admin.wait("all_sockets")
            assert sockets[0]["data"] == {"seen": 1}
            for _ in range(2):
                await admin.wait("server_stats")
            assert "socket_updated" not in admin.names()
            data["seen"] = 2
            (changed,) = await admin.wait("socket_updated")
    assert changed["data"] == {"seen": 2}


@pytest.mark.req("AUI-24", "AUI-18")
@trio_test
async def test_large_values_are_cut_and_secrets_are_not_shown() -> None:
    server = Server()
    instrument(server, max_shown_characters=100)

    @server.on("connection")
    def connected(socket: Socket) -> None:
        socket.data["large"] = "x" * 100_000
        socket.data["odd"] = object()

    server.on("hello")(lambda *_: None)
    async with serving(server) as port, open_admin(port) as admin:
        await admin.wait("all_sockets")
        async with open_client(port, "polling") as client:
            engine: Any = client.engine
            socket_id = await client.connect("/", {"token": "my-secret-token"})
            await client.emit("hello", "y" * 100_000)
            _, _, event, _ = await admin.wait("event_received")
            (updated,) = await admin.wait("socket_updated")
            headers = [
                ("Cookie", "a=my-secret"),
                ("Authorization", "Bearer my-secret"),
                ("Referer", "https://app.example/page?code=my-secret"),
                ("X-Original-URI", "/page#my-secret"),
            ]
            answer = await engine.poster.request(
                "GET",
                "/socket.io/?EIO=4&transport=polling&access_token=my-secret-token&sig=my-secret&x=1",
                headers=headers,
            )
            sid = answer.text.split('"sid":"')[1].split('"')[0]
            await engine.poster.request(
                "POST", f"/socket.io/?EIO=4&transport=polling&sid={sid}", body=b"40"
            )
            (shown, _) = await admin.wait("socket_connected")
            await engine.poster.request(
                "POST", f"/socket.io/?EIO=4&transport=polling&sid={sid}", body=b"1"
            )
    assert len(event[1]) < 200
    assert event[1].endswith("(100,000 characters)")
    assert updated["id"] == socket_id
    assert len(str(updated["data"])) < 400
    assert "my-secret" not in str(admin.told)
    assert shown["handshake"]["headers"]["cookie"] == "(hidden)"
    assert shown["handshake"]["headers"]["referer"] == "https://app.example/page"
    assert shown["handshake"]["headers"]["x-original-uri"] == "/page"
    assert shown["handshake"]["query"]["access_token"] == "(hidden)"
    assert shown["handshake"]["query"]["x"] == "1"
    assert shown["handshake"]["url"] == "/socket.io/"


@pytest.mark.req("AUI-32")
@trio_test
async def test_an_administrator_who_reads_nothing_is_given_up_like_any_client() -> None:
    options = ServerOptions(output_bound_bytes=20_000, slow_client_s=0.5)
    server = Server(options)
    instrument(server, max_events_per_s=100_000, max_shown_characters=10_000)
    server.on("hello")(lambda socket, text: len(text))
    async with (
        serving(server) as port,
        joined(port, "websocket") as (client, _),
        open_admin(port) as deaf,
        open_admin(port) as admin,
    ):
        await admin.wait("all_sockets")
        for number in range(20_000):
            await client.emit("hello", "x" * 9000, ack_id=number)
            await client.receive()
            if deaf.id not in server.of("/admin").sockets:
                break
            await admin.wait("event_received")
        gone = await admin.wait_of("socket_disconnected", "/admin", deaf.id)
    assert gone[2] == "slow client"


@pytest.mark.req("AUI-13")
@trio_test
async def test_a_lost_administrator_does_not_come_back_without_being_asked() -> None:
    server = Server(ServerOptions(state_recovery=True))
    instrument(server)
    async with serving(server) as port, open_client(port) as client:
        await client.send("0/admin,")
        text, _ = await client.receive()
        assert '"pid"' not in text
        assert text.startswith('0/admin,{"sid"')


@pytest.mark.req("AUI-17")
@trio_test
async def test_sockets_of_old_clients_are_shown_by_their_public_ids() -> None:
    server = Server(ServerOptions(allow_eio3=True))
    instrument(server)
    async with serving(server) as port, open_admin(port) as admin:
        await admin.wait("all_sockets")
        engine = await WebSocketEngineV3.open(port)
        (shown, _) = await admin.wait("socket_connected")
        (socket,) = server.of("/").sockets.values()
        assert socket.id != socket.public_id
        assert shown["id"] == socket.public_id
        assert shown["rooms"] == [socket.public_id]
        await admin.send("_disconnect", "/", True, socket.public_id)
        await admin.wait_of("socket_disconnected", "/", socket.public_id)
        await admin.wait_of("room_left", "/", socket.public_id)
        await engine.aclose()
    assert engine.handshake["sid"] not in str(admin.told)


class Elsewhere(Adapter):
    """An adapter that knows a socket of another server, or fails."""

    failure: Exception | None = None

    async def node_count(self) -> int:
        await trio.lowlevel.checkpoint()
        return 2

    async def fetch_sockets(self, target: Target) -> list[SocketDetails]:
        found = await super().fetch_sockets(target)
        if self._namespace.name != "/":
            return found
        handshake = HandshakeDetails({}, {}, "/?sid=secret", "::1", secure=True, issued_s=nan)
        other = SocketDetails("of-another-server", handshake, frozenset("r"), {})
        if self.failure is not None:
            raise self.failure
        if target.local:
            return found
        raise AckTimeout("one has not answered", [(other.id, other)])


@pytest.mark.req("AUI-21", "AUI-17")
@trio_test
async def test_servers_that_have_not_answered_are_left_out(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    server = Server(adapter=Elsewhere)
    instrument(server)
    async with serving(server) as port, joined(port, "websocket") as (_, socket_id):
        async with open_admin(port) as admin:
            (sockets,) = await admin.wait("all_sockets")
        assert [one["id"] for one in sockets] == [socket_id, "of-another-server", admin.id]
        other = sockets[1]
        assert other["clientId"] == "of-another-s"
        assert "transport" not in other
        assert other["handshake"]["issued"] == 0
        assert other["handshake"]["url"] == "/"
        monkeypatch.setattr(Elsewhere, "failure", RuntimeError("broken"))
        async with open_admin(port) as admin:
            (sockets,) = await admin.wait("all_sockets")
        assert socket_id in [one["id"] for one in sockets]
    assert "cannot list the sockets of other servers: RuntimeError('broken')" in caplog.text


@pytest.mark.req("AUI-32")
@trio_test
async def test_a_list_is_no_longer_than_a_client_may_have_to_take(
    caplog: pytest.LogCaptureFixture,
) -> None:
    server = Server(ServerOptions(output_bound_bytes=500))
    instrument(server)
    async with (
        serving(server) as port,
        joined(port, "websocket"),
        joined(port, "websocket"),
        joined(port, "websocket"),
        joined(port, "websocket"),
        joined(port, "websocket"),
    ):
        for _ in range(2):
            async with open_admin(port) as admin:
                (sockets,) = await admin.wait("all_sockets")
            assert 1 <= len(sockets) < 5
    assert caplog.text.count("lists the first") == 1


@pytest.mark.req("AUI-35")
@trio_test
async def test_lists_leave_the_server_time_for_others(monkeypatch: pytest.MonkeyPatch) -> None:
    made: list[float] = []

    def list_slowly(admin_ui: service.AdminUI, elsewhere: Any) -> list[dict[str, Any]]:
        made.append(trio.current_time())
        time.sleep(0.1)
        return list_sockets(admin_ui, elsewhere)

    list_sockets = service.AdminUI._list_sockets
    monkeypatch.setattr(service.AdminUI, "_list_sockets", list_slowly)
    server = Server()
    instrument(server)
    async with serving(server) as port, open_admin(port) as first:
        (alone,) = await first.wait("all_sockets")
        async with open_admin(port) as second, open_admin(port) as third:
            (two,) = await second.wait("all_sockets")
            assert await third.wait("all_sockets") == [two]
    assert (len(alone), len(two)) == (1, 3)
    assert len(made) == 2
    assert made[1] - made[0] >= 0.1 * (1 + service._REST)


@pytest.mark.req("AUI-33")
@trio_test
async def test_data_that_cannot_be_read_harms_nothing() -> None:
    class Trap:
        @property
        def __dict__(self) -> Any:  # type: ignore[override]  # it is the trap
            raise RuntimeError("trapped")

    server = Server()
    instrument(server)
    async with serving(server) as port, joined(port, "websocket") as (_, socket_id):
        server.of("/").sockets[socket_id].data["trap"] = Trap()
        async with open_admin(port) as admin:
            (sockets,) = await admin.wait("all_sockets")
            await admin.wait("server_stats")
            await admin.wait("server_stats")
    assert sockets[0]["data"] == {"trap": "<Trap>"}


@pytest.mark.req("AUI-14")
@trio_test
async def test_nobody_stays_who_was_not_admitted() -> None:
    server = Server()
    admin_ui = instrument(server)
    server.of("/admin").use(lambda socket: admin_ui._entrance.admitted.clear())
    async with serving(server) as port, open_client(port) as client:
        await client.send("0/admin,")
        assert (await client.receive())[0].startswith("0/admin,")
        texts = [(await client.receive())[0] for _ in range(2)]
        assert texts[-1] == "1/admin,"
        assert not server.of("/admin").sockets
