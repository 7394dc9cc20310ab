"""The methods that concern clients, against a real server and its real clients."""

import json
from base64 import b64encode
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import pytest
import trio
from hypothesis import given
from hypothesis import strategies as st
from msgspec import Raw
from tests import wire
from tests.control.serving import Controlled, RawPeer, controlled, peer
from tests.socketio.serving import joined, the_socket, until
from tests.wire import SocketIOClient
from tests.wire_v3 import WebSocketEngineV3
from trio.testing import trio_test

from trio_socketio import Joining, JoiningState, Server, ServerOptions, Socket, Step
from trio_socketio.codec import msgpack_packet
from trio_socketio.codec.json_rpc import Code
from trio_socketio.control.pages import cut_page
from trio_socketio.control.targets import MAX_NAMES

Client = tuple[SocketIOClient, str]


async def clients(
    stack: AsyncExitStack, where: Controlled, count: int, namespace: str = "/", **more: Any
) -> list[Client]:
    return [await stack.enter_async_context(where.client(namespace, **more)) for _ in range(count)]


async def heard(client: SocketIOClient) -> list[Any]:
    """The next event of a client: its name and arguments."""
    text, _ = await client.receive()
    event: list[Any] = json.loads(text[text.index("[") :])
    return event


async def hears_nothing(*them: Client) -> None:
    """Nothing is under way to these clients; told by an event that follows."""
    for client, _ in them:
        await client.emit("ping", ack_id=99)
        assert (await client.receive())[0] == "399[]"


def pinged() -> Server:
    server = Server()
    server.on("ping")(lambda _: None)
    return server


# -- emit


@trio_test
async def test_emit_reaches_whom_it_names(tmp_path: Path) -> None:
    async with AsyncExitStack() as stack:
        where = await stack.enter_async_context(controlled(tmp_path, pinged()))
        raw = await stack.enter_async_context(peer(where))
        a, b, c = them = await clients(stack, where, 3)
        (d,) = await clients(stack, where, 1, transport="polling")
        await raw.call("rooms.join", sockets=[a[1], b[1]], rooms=["r", "s"])
        assert await raw.call("emit", event="all", args=[1], all=True) == {
            "reached": 4,
            "missing": {},
        }
        for client, _ in (*them, d):
            assert await heard(client) == ["all", 1]
        assert (await raw.call("emit", event="rooms", rooms=["r", "s"]))["reached"] == 2
        assert await heard(a[0]) == await heard(b[0]) == ["rooms"]
        result = await raw.call("emit", event="some", rooms=["r"], sockets=[c[1]], except_=[b[1]])
        assert result["reached"] == 2
        assert await heard(a[0]) == await heard(c[0]) == ["some"]
        assert (await raw.call("emit", event="x", all=True, except_=["s", d[1]]))["reached"] == 1
        assert await heard(c[0]) == ["x"]
        await hears_nothing(*them)


@pytest.mark.req("CONTROL-05")
@trio_test
async def test_emit_reports_what_is_missing(tmp_path: Path) -> None:
    async with controlled(tmp_path, pinged()) as where, where.client() as a, peer(where) as raw:
        result = await raw.call("emit", event="e", rooms=["none"], sockets=[a[1], "nobody"])
        assert result == {"reached": 1, "missing": {"rooms": ["none"], "sockets": ["nobody"]}}
        assert await heard(a[0]) == ["e"]
        result = await raw.call("emit", event="e", rooms=["none"], except_=["nowhere"])
        assert result == {"reached": 0, "missing": {"rooms": ["none"], "except": ["nowhere"]}}
        error = await raw.fail("emit", event="e", all=True, namespace="/none")
        assert error["code"] == Code.NOT_FOUND
        assert error["data"] == {"parameter": "namespace"}
        await hears_nothing(a)


@pytest.mark.req("CONTROL-03", "CONTROL-04")
@pytest.mark.parametrize(
    ("params", "parameter"),
    [
        ({}, "event"),
        ({"event": "e"}, "all"),
        ({"event": "e", "all": True, "rooms": ["a"]}, "all"),
        ({"event": "disconnect", "all": True}, "event"),
        ({"event": 1, "all": True}, "event"),
        ({"event": "e", "all": True, "args": [1, {"$bytes": "*"}]}, "args[1]"),
        ({"event": "e", "all": True, "args": {"a": 1}}, "args"),
        ({"event": "e", "all": True, "args": [{"$bytes": ""}] * 11}, "args"),
        ({"event": "e", "sockets": ["x"] * (MAX_NAMES + 1)}, "sockets"),
        ({"event": "e", "al": True}, "al"),
    ],
)
@trio_test
async def test_emit_that_is_refused_sends_nothing(
    tmp_path: Path, params: dict[str, Any], parameter: str
) -> None:
    async with controlled(tmp_path, pinged()) as where, where.client() as a, peer(where) as raw:
        for method in ("emit", "emit_with_ack"):
            error = await raw.fail(method, **params)
            assert error["code"] == Code.INVALID_PARAMS
            assert error["data"]["parameter"] == parameter
        await hears_nothing(a)


@pytest.mark.req("RPC-22")
@trio_test
async def test_arguments_arrive_as_they_were_sent(tmp_path: Path) -> None:
    async with controlled(tmp_path) as where, where.client() as (client, _), peer(where) as raw:
        args = '[1.10, 12345678901234567890123, {"b":1e5}, "é", "$", null]'
        await raw.send(
            '{"jsonrpc":"2.0","method":"emit","id":1,"params":{"event":"e","all":true,"args":'
            + args
            + "}}"
        )
        text, _ = await client.receive()
        assert text == '2["e",1.10,12345678901234567890123,{"b":1e5},"é","$",null]'


@pytest.mark.req("RPC-20", "RPC-21")
@pytest.mark.parametrize("transport", ["polling", "websocket"])
@trio_test
async def test_bytes_pass_both_ways(tmp_path: Path, transport: str) -> None:
    mark = {"$bytes": b64encode(b"\0\xff").decode()}
    async with (
        controlled(tmp_path) as where,
        where.client(transport=transport) as (client, socket_id),
        peer(where) as raw,
    ):
        args = [{"a": mark, "b": {"$object": {"$bytes": "x"}}}]
        await raw.send(raw.request("emit_with_ack", event="e", args=args, sockets=[socket_id]))
        text, (attachment,) = await client.receive()
        placeholder = '{"_placeholder":true,"num":0}'
        assert text == f'51-0["e",{{"a":{placeholder},"b":{{"$bytes":"x"}}}}]'
        assert attachment == b"\0\xff"
        await client.send(f'61-0[[{placeholder},{{"$bytes":1}}]]', b"\1")
        result = (await raw.receive())["result"]
        assert result["answers"] == [
            {"socket": socket_id, "answer": [{"$bytes": "AQ=="}, {"$object": {"$bytes": 1}}]}
        ]


@pytest.mark.parametrize("method", ["emit", "emit_with_ack"])
@trio_test
async def test_the_app_overhears_values(tmp_path: Path, method: str) -> None:
    server = Server()
    heard: list[Any] = []
    server.on("connection")(
        lambda socket: socket.on_any_outgoing(lambda *event: heard.append(list(event)))
    )
    async with controlled(tmp_path, server) as where, where.client(), peer(where) as raw:
        args = [{"a": [1]}, {"$bytes": "AA=="}]
        more = {"timeout_s": 0.1} if method == "emit_with_ack" else {}
        await raw.call(method, event="e", args=args, all=True, **more)
        assert heard == [["e", {"a": [1]}, b"\0"]]


@trio_test
async def test_arguments_that_were_missed_are_recovered(tmp_path: Path) -> None:
    server = Server(ServerOptions(state_recovery=True))
    async with controlled(tmp_path, server) as where, peer(where) as raw:
        async with wire.open_client(where.port, "websocket") as client:
            await client.send("0")
            told = json.loads((await client.receive())[0][1:])
            await raw.call("emit", event="e", args=[1.10], all=True)
            _, _, offset = await client.receive_event()
            the_socket(server).session.lose("transport error")
            await until(lambda: not server.of("/").sockets)
        await raw.call("emit", event="e", args=[{"n": 12345678901234567890123}], all=True)
        async with wire.open_client(where.port, "websocket") as client:
            await client.send("0" + json.dumps({"pid": told["pid"], "offset": offset}))
            assert json.loads((await client.receive())[0][1:])["sid"] == told["sid"]
            assert (await client.receive())[0].startswith('2["e",{"n": 12345678901234567890123},')


def test_arguments_as_they_were_sent_suit_the_other_parser() -> None:
    packets = Server(parser="msgpack").of("/")._packets
    sent = packets.encode_event(["e", Raw(b'{"a": [1.5, null]}')], None)
    assert msgpack_packet.decode_packet(sent.attachments[0]).data == ["e", {"a": [1.5, None]}]


# -- emit_with_ack


@trio_test
async def test_who_answers_and_who_does_not(tmp_path: Path) -> None:
    async with AsyncExitStack() as stack:
        where = await stack.enter_async_context(controlled(tmp_path))
        raw = await stack.enter_async_context(peer(where))
        a, b, c = await clients(stack, where, 3)
        await raw.send(raw.request("emit_with_ack", event="q", args=[1], all=True, timeout_s=1.5))
        for client, _ in (a, b, c):
            assert (await client.receive())[0] == '20["q",1]'
        await b[0].send('30["from b",2]')
        await c[0].send("1")  # c leaves
        await a[0].send("30[]")
        result = (await raw.receive())["result"]
        assert result["asked"] == 3
        answers = {one["socket"]: one["answer"] for one in result["answers"]}
        assert answers == {b[1]: "from b", a[1]: None}
        assert result["unanswered"] == [c[1]]


@pytest.mark.req("CONTROL-74")
@trio_test
async def test_answers_that_do_not_fit_into_the_line_are_left_out(tmp_path: Path) -> None:
    async with (
        controlled(tmp_path, max_line_bytes=5000) as where,
        where.client() as (a, a_id),
        where.client() as (b, b_id),
        where.client() as (c, c_id),
        where.client() as (d, d_id),
        where.client() as (_, silent_id),
        peer(where) as raw,
    ):
        await raw.send(raw.request("emit_with_ack", event="q", all=True, timeout_s=1))
        deep = "[" * 505 + "]" * 505
        texts = {a_id: "x" * 3000, b_id: "y" * 3000, c_id: "z"}
        for client, answer in ((a, texts[a_id]), (b, texts[b_id]), (c, texts[c_id])):
            assert (await client.receive())[0] == '20["q"]'
            await client.send(f'30["{answer}"]')
        await d.send(f"30[{deep}]")
        result = (await raw.receive())["result"]
        kept = {one["socket"]: one["answer"] for one in result["answers"]}
        # They come in any order: the first of the two large ones is kept.
        (large,) = kept.keys() & {a_id, b_id}
        assert kept == {large: texts[large], c_id: "z"}
        assert set(result["too_large"]) == {a_id, b_id, d_id} - {large}
        assert result["unanswered"] == [silent_id]
        assert result["asked"] == 5


@pytest.mark.req("CONTROL-74")
@trio_test
async def test_nobody_is_asked_if_the_line_has_no_room_for_answers(tmp_path: Path) -> None:
    async with (
        controlled(tmp_path, max_line_bytes=1024) as where,
        where.client() as (client, socket_id),
        peer(where) as raw,
    ):
        ask = {"event": "q", "sockets": [socket_id], "timeout_s": 1}
        error = await raw.fail("emit_with_ack", rooms=["nobody's" * 60], **ask)
        assert error["code"] == Code.TOO_LARGE
        assert error["data"] == {"retryable": False, "asked": 1}
        await raw.send(raw.request("emit_with_ack", **ask))
        assert (await client.receive())[0] == '20["q"]'  # the first question
        await client.send("30[1]")
        assert (await raw.receive())["result"]["answers"][0]["answer"] == 1


@pytest.mark.req("CONTROL-05")
@trio_test
async def test_nobody_is_asked(tmp_path: Path) -> None:
    async with controlled(tmp_path) as where, peer(where) as raw:
        empty = {"asked": 0, "answers": [], "unanswered": []}
        result = await raw.call("emit_with_ack", event="q", sockets=["nobody"])
        assert result == {**empty, "missing": {"sockets": ["nobody"]}}
        assert await raw.call("emit_with_ack", event="q", all=True) == {**empty, "missing": {}}
        error = await raw.fail("emit_with_ack", event="q", all=True, timeout_s=0)
        assert error["data"]["parameter"] == "timeout_s"


@trio_test
async def test_too_many_are_not_asked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("trio_socketio.control.emitting.MAX_ASKED", 1)
    async with AsyncExitStack() as stack:
        where = await stack.enter_async_context(controlled(tmp_path, pinged()))
        raw = await stack.enter_async_context(peer(where))
        them = await clients(stack, where, 2)
        error = await raw.fail("emit_with_ack", event="q", all=True)
        assert error["code"] == Code.TOO_LARGE
        await hears_nothing(*them)


# -- sockets


@pytest.mark.req("CONTROL-07")
@trio_test
async def test_a_socket_is_shown(tmp_path: Path) -> None:
    async with (
        controlled(tmp_path) as where,
        where.client(auth={"password": "secret"}) as (_, socket_id),
        peer(where) as raw,
    ):
        await raw.call("rooms.join", sockets=[socket_id], rooms=["b", "a"])
        shown = await raw.call("sockets.get", socket=socket_id)
        assert shown.pop("connected_at_s") > 0
        (session,) = where.server.engine.sessions.values()
        assert f"session {shown.pop('session')}" == str(session)  # as in the log
        assert shown == {
            "id": socket_id,
            "rooms": ["a", "b"],
            "user": None,
            "address": "127.0.0.1",
            "user_agent": "",
            "transport": "websocket",
            "protocol": 4,
            "secure": False,
            "waiting_bytes": 0,
        }
        error = await raw.fail("sockets.get", socket="nobody")
        assert error["code"] == Code.NOT_FOUND
        assert error["data"] == {"parameter": "socket"}


@pytest.mark.req("CONTROL-07")
@trio_test
async def test_the_secret_of_an_old_client_is_not_shown(tmp_path: Path) -> None:
    server = Server(ServerOptions(allow_eio3=True))
    async with controlled(tmp_path, server) as where, peer(where) as raw:
        engine = await WebSocketEngineV3.open(where.port)
        try:
            await until(lambda: bool(server.of("/").sockets))
            (socket,) = server.of("/").sockets.values()
            assert socket.id != socket.public_id
            socket.join("r")
            page = await raw.call("sockets.list")
            assert [one["id"] for one in page["sockets"]] == [socket.public_id]
            assert page["sockets"][0]["rooms"] == ["r"]
            assert (await raw.call("rooms.members", room="r"))["members"] == [socket.public_id]
            assert socket.session.sid not in json.dumps(page)
            assert (await raw.fail("sockets.get", socket=socket.id))["code"] == Code.NOT_FOUND
            result = await raw.call("emit", event="e", sockets=[socket.id])
            assert result == {"reached": 0, "missing": {"sockets": [socket.id]}}
            assert (await raw.call("emit", event="e", sockets=[socket.public_id]))["reached"] == 1
        finally:
            await engine.aclose()


async def all_pages(raw: RawPeer, method: str, kind: str, **params: Any) -> list[Any]:
    items: list[Any] = []
    after = None
    while True:
        page = await raw.call(method, after=after, **params)
        items += page[kind]
        after = page["next"]
        if after is None:
            assert page["total"] == len(items)
            return items


@pytest.mark.req("CONTROL-08")
@trio_test
async def test_lists_come_in_pages(tmp_path: Path) -> None:
    async with AsyncExitStack() as stack:
        where = await stack.enter_async_context(controlled(tmp_path))
        raw = await stack.enter_async_context(peer(where))
        ids = sorted(socket_id for _, socket_id in await clients(stack, where, 5))
        sockets = await all_pages(raw, "sockets.list", "sockets", limit=2)
        assert [one["id"] for one in sockets] == ids
        await raw.call("rooms.join", sockets=ids[:3], rooms=["b", "a", "c"])
        await raw.call("rooms.leave", sockets=ids[:1], rooms=["b"])
        rooms = await all_pages(raw, "rooms.list", "rooms", limit=1)
        assert rooms == [
            {"room": "a", "members": 3},
            {"room": "b", "members": 2},
            {"room": "c", "members": 3},
        ]
        assert await all_pages(raw, "rooms.members", "members", room="a", limit=2) == ids[:3]
        page = await raw.call("sockets.list", room="b", limit=1)
        assert page["total"] == 2
        assert page["next"] == page["sockets"][0]["id"] == ids[1]
        for method in ("sockets.list", "rooms.members"):
            assert (await raw.fail(method, room="none"))["code"] == Code.NOT_FOUND
        for limit in (0, 1001, "2"):
            error = await raw.fail("sockets.list", limit=limit)
            assert error["data"]["parameter"] == "limit"


@pytest.mark.req("CONTROL-17")
@trio_test
async def test_slow_clients_are_found(tmp_path: Path) -> None:
    async with AsyncExitStack() as stack:
        where = await stack.enter_async_context(controlled(tmp_path))
        raw = await stack.enter_async_context(peer(where))
        await clients(stack, where, 2)
        _, slow = await stack.enter_async_context(joined(where.port, "polling"))
        # No GET is there to take it.
        await raw.call("emit", event="e", args=["x" * 1000], all=True)
        page = await raw.call("sockets.list", min_waiting_bytes=1000)
        assert (page["total"], page["next"]) == (1, None)
        (shown,) = page["sockets"]
        assert shown["id"] == slow
        assert 1000 < shown["waiting_bytes"] < 1100
        page = await raw.call("sockets.list", min_waiting_bytes=2000)
        assert page == {"sockets": [], "total": 0, "next": None}
        assert (await raw.call("sockets.list"))["total"] == 3
        error = await raw.fail("sockets.list", min_waiting_bytes=-1)
        assert error["data"]["parameter"] == "min_waiting_bytes"


@pytest.mark.req("CONTROL-08")
@given(st.sets(st.text(max_size=3), max_size=30), st.integers(1, 7))
def test_pages_hold_each_item_once(names: set[str], limit: int) -> None:
    async def main() -> None:
        shown: list[str] = []
        after = None
        while True:
            page, total, after = await cut_page(names, str, after, limit)
            assert len(page) <= limit
            assert total == len(names)
            shown += page
            if after is None:
                break
        assert shown == sorted(names)

    trio.run(main)


@pytest.mark.req("CONTROL-08")
@trio_test
async def test_a_long_list_lets_other_tasks_run() -> None:
    ran = 0

    async def count() -> None:
        nonlocal ran
        while True:
            ran += 1
            await trio.lowlevel.checkpoint()

    async with trio.open_nursery() as nursery:
        nursery.start_soon(count)
        names = [f"{number:06}" for number in range(20_000, 0, -1)]
        page, total, following = await cut_page(names, str, None, 3)
        nursery.cancel_scope.cancel()
    assert (page, total, following) == (["000001", "000002", "000003"], 20_000, "000003")
    assert ran >= 9


@pytest.mark.req("CONTROL-05")
@trio_test
async def test_disconnecting(tmp_path: Path) -> None:
    async with AsyncExitStack() as stack:
        where = await stack.enter_async_context(controlled(tmp_path, pinged()))
        raw = await stack.enter_async_context(peer(where))
        a, b, c = await clients(stack, where, 3)
        result = await raw.call("sockets.disconnect", sockets=[a[1], a[1], "nobody"])
        assert result == {"done": 1, "missing": {"sockets": ["nobody"]}}
        assert (await a[0].receive())[0] == "1"
        assert (await raw.fail("sockets.get", socket=a[1]))["code"] == Code.NOT_FOUND
        assert (await raw.call("sockets.disconnect", sockets=[b[1]], close=True))["done"] == 1
        await until(lambda: where.server.statistics().sessions == 2)
        await hears_nothing(c)


@trio_test
async def test_a_client_that_is_joining_is_put_out(tmp_path: Path) -> None:
    server = Server()
    seen: list[Socket] = []

    async def wait(joining: Joining) -> None:
        assert joining.socket is not None
        seen.append(joining.socket)
        await trio.sleep_forever()

    server.of("/").add_steps([Step(JoiningState.SEAT, wait)])
    async with (
        controlled(tmp_path, server) as where,
        peer(where) as raw,
        wire.open_client(where.port, "websocket") as client,
    ):
        await client.send("0")
        await until(lambda: bool(seen))
        (socket,) = seen
        result = await raw.call("sockets.disconnect", sockets=[socket.public_id])
        assert result == {"done": 1, "missing": {}}
        assert (await client.receive())[0].startswith("4")


# -- rooms


@pytest.mark.req("CONTROL-05")
@trio_test
async def test_rooms_are_joined_left_and_cleared(tmp_path: Path) -> None:
    async with AsyncExitStack() as stack:
        where = await stack.enter_async_context(controlled(tmp_path))
        raw = await stack.enter_async_context(peer(where))
        a, b = (socket_id for _, socket_id in await clients(stack, where, 2))
        assert await raw.call("rooms.join", sockets=[a, b, "nobody"], rooms=["r", "s"]) == {
            "done": 2,
            "missing": {"sockets": ["nobody"]},
        }
        assert await raw.call("rooms.leave", sockets=[a, "nobody"], rooms=["r", "none"]) == {
            "done": 1,
            "missing": {"rooms": ["none"], "sockets": ["nobody"]},
        }
        assert (await raw.call("rooms.leave", sockets=[a], rooms=["r"])) == {
            "done": 0,
            "missing": {},
        }
        assert (await raw.call("rooms.members", room="r"))["members"] == [b]
        assert await raw.call("rooms.clear", rooms=["r", "s", "none"]) == {
            "done": 2,
            "missing": {"rooms": ["none"]},
        }
        assert (await raw.call("rooms.list"))["total"] == 0
        assert (await raw.call("sockets.list"))["total"] == 2
        for method in ("rooms.join", "rooms.leave"):
            error = await raw.fail(method, sockets=[a], rooms=["r"], namespace="none")
            assert error["data"] == {"parameter": "namespace"}


@trio_test
async def test_the_id_of_a_socket_names_no_room_for_others(tmp_path: Path) -> None:
    async with AsyncExitStack() as stack:
        where = await stack.enter_async_context(controlled(tmp_path))
        raw = await stack.enter_async_context(peer(where))
        a, b = (socket_id for _, socket_id in await clients(stack, where, 2))
        error = await raw.fail("rooms.join", sockets=[b], rooms=["r", a])
        assert error["data"] == {"parameter": "rooms"}
        assert (await raw.call("rooms.list"))["total"] == 0
        assert (await raw.call("emit", event="x", sockets=[a]))["reached"] == 1


@pytest.mark.req("CONTROL-04")
@trio_test
async def test_joining_too_many_rooms_changes_nothing(tmp_path: Path) -> None:
    server = Server(ServerOptions(max_rooms_per_socket=2))
    async with AsyncExitStack() as stack:
        where = await stack.enter_async_context(controlled(tmp_path, server))
        raw = await stack.enter_async_context(peer(where))
        a, b = (socket_id for _, socket_id in await clients(stack, where, 2))
        await raw.call("rooms.join", sockets=[b], rooms=["1"])
        error = await raw.fail("rooms.join", sockets=[a, b], rooms=["2", "3"])
        assert error["code"] == Code.INVALID_PARAMS
        assert error["data"] == {"parameter": "rooms", "sockets": [b]}
        assert (await raw.call("rooms.list"))["rooms"] == [{"room": "1", "members": 1}]
        assert (await raw.call("rooms.join", sockets=[a, b], rooms=["1", "2"]))["done"] == 2


# -- namespaces


@trio_test
async def test_namespaces_are_listed(tmp_path: Path) -> None:
    server = Server()
    server.of("/b")

    async def accept(name: str, auth: Any) -> bool:
        return name.startswith("/dynamic")

    server.of(accept)
    async with (
        controlled(tmp_path, server) as where,
        where.client("/dynamic-1"),
        peer(where) as raw,
    ):
        assert await all_pages(raw, "namespaces.list", "namespaces", limit=2) == [
            {"namespace": name, "sockets": count, "joining": 0, "rooms": 0, "dynamic": bool(count)}
            for name, count in {"/": 0, "/b": 0, "/dynamic-1": 1}.items()
        ]
        assert (await raw.call("emit", event="e", namespace="dynamic-1", all=True))["reached"] == 1


@pytest.mark.req("CONTROL-18")
@pytest.mark.parametrize("after", ["garbage", "", "2", "\n" * 20, "x" * 21])
@trio_test
async def test_a_page_begins_behind_something_that_can_be_in_the_list(
    tmp_path: Path, after: str
) -> None:
    async with controlled(tmp_path) as where, where.client() as (_, me), peer(where) as raw:
        await raw.call("rooms.join", sockets=[me], rooms=["tea"])
        for method, params, what in (
            ("sockets.list", {}, "which is the public id of a socket"),
            ("rooms.members", {"room": "tea"}, "which is the public id of a socket"),
            ("namespaces.list", {}, "which is the name of a namespace"),
        ):
            error = await raw.fail(method, after=after, **params)
            assert error["code"] == Code.INVALID_PARAMS
            assert error["data"] == {"parameter": "after"}
            told = (
                f"after: expected the value of next from the previous page, {what}, not {after!r}"
            )
            assert error["message"] == told
        assert await raw.call("sockets.list", after="-" * 20)
        assert await raw.call("rooms.list", after=after)  # any text may be the name of a room
        assert await raw.call("namespaces.list", after="/")
