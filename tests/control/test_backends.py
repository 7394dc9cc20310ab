"""Events of clients that backends handle: order, choice, deadlines, and what clients are told."""

import json
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import trio
from tests.control.serving import Controlled, FakeSystem, RawPeer, controlled, peer
from tests.socketio.serving import until
from tests.wire import SocketIOClient
from trio.testing import trio_test

from trio_socketio import ConfigurationError, LocalProtocolError, Server, Socket
from trio_socketio.codec.json_rpc import Code
from trio_socketio.control.options import BackendOptions, ControlOptions, ForwardedEvents
from trio_socketio.control.service import ControlService
from trio_socketio.runtime.runtime import open_runtime
from trio_socketio.runtime.sampling import REFUSALS


def forwarding(*events: str, namespace: str = "/", **options: Any) -> BackendOptions:
    return BackendOptions(
        forward=(ForwardedEvents(namespace=namespace, events=events or ("*",)),), **options
    )


@asynccontextmanager
async def backend(where: Controlled, **params: Any) -> AsyncIterator[RawPeer]:
    """A peer that is registered."""
    async with peer(where) as raw:
        await raw.call("backend.register", **params)
        yield raw


@asynccontextmanager
async def client_and_backend(
    folder: Path, backends: BackendOptions | None = None, **options: Any
) -> AsyncIterator[tuple[SocketIOClient, RawPeer]]:
    """A client and a backend of a server, which forwards all events by default."""
    async with (
        controlled(folder, backends=backends or forwarding(), **options) as where,
        where.client() as (client, _),
        backend(where) as raw,
    ):
        yield client, raw


async def given(raw: RawPeer) -> tuple[int, dict[str, Any]]:
    """The next event that a backend is given, and the id of the call."""
    call = await raw.receive()
    assert call["method"] == "backend.event"
    return call["id"], call["params"]


async def answer(raw: RawPeer, number: int, result: Any) -> None:
    await raw.send({"jsonrpc": "2.0", "id": number, "result": result})


async def told(client: SocketIOClient) -> dict[str, Any]:
    """What a client is told of an event that was not handled."""
    text, _ = await client.receive()
    name, what = json.loads(text[1:])
    assert name == "backend_error"
    assert isinstance(what, dict)
    return what


@pytest.mark.req("CONTROL-30")
@trio_test
async def test_the_result_is_the_answer(tmp_path: Path) -> None:
    async with (
        controlled(tmp_path, backends=forwarding("order")) as where,
        where.client() as (client, socket_id),
        peer(where) as raw,
    ):
        assert await raw.call("backend.register") == {
            "forwarded": [{"namespace": "/", "events": ["order"]}],
            "missing": [],
            "authenticates": False,
        }
        results = {
            '"done"': '["done"]',
            "null": "[]",
            "1.50": "[1.50]",
            '{"a":[1]}': '[{"a":[1]}]',
            '{"$object":{"$bytes":1}}': '[{"$bytes":1}]',
        }
        for result, acknowledged in results.items():
            await client.emit("order", 7, "x", ack_id=3)
            number, event = await given(raw)
            assert event == {
                "namespace": "/",
                "event": "order",
                "args": [7, "x"],
                "socket": socket_id,
                "user": None,
            }
            await raw.send(f'{{"jsonrpc":"2.0","id":{number},"result":{result}}}')
            assert (await client.receive())[0] == f"33{acknowledged}"
        assert where.service.backends.handled == 5
        assert where.service.backends.failed == 0


@pytest.mark.req("RPC-20")
@trio_test
async def test_bytes_reach_the_backend_and_come_back(tmp_path: Path) -> None:
    async with client_and_backend(tmp_path) as (client, raw):
        await client.send('51-3["file",{"_placeholder":true,"num":0}]', b"\0\1")
        number, event = await given(raw)
        assert event["args"] == [{"$bytes": "AAE="}]
        await answer(raw, number, {"$bytes": "AAE="})
        text, attachments = await client.receive()
        assert text == '61-3[{"_placeholder":true,"num":0}]'
        assert attachments == [b"\0\1"]


@pytest.mark.req("CONTROL-33")
@trio_test
async def test_without_a_backend_the_client_is_told(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async with (
        controlled(tmp_path, backends=forwarding("order")) as where,
        where.client() as (client, _),
    ):
        reason = {"code": 1013, "message": "no backend is registered for this event"}
        await client.emit("order")
        assert await told(client) == {"event": "order", **reason}
        await client.emit("order", ack_id=1)
        assert await told(client) == {"event": "order", **reason}
        text, _ = await client.receive()
        assert text.startswith("31[")
        assert json.loads(text[2:]) == [{"error": reason}]
        for _ in range(20):
            await client.emit("order")
        await until(lambda: where.service.backends.failed == 22)
        lines = caplog.text.count("'order' was not handled by a backend: no backend is registered")
        assert REFUSALS.burst <= lines < 22  # not a line for each
    # LOG-20: nor is any left out of the sum.
    assert f"events that no backend has handled: {22 - lines} more in" in caplog.text


@pytest.mark.req("CONTROL-33")
@trio_test
async def test_an_error_of_the_backend_is_told(tmp_path: Path) -> None:
    async with client_and_backend(tmp_path) as (client, raw):
        for error, code in (
            ({"code": 42, "message": "sold out", "data": "ours"}, 42),
            ("nonsense", Code.INTERNAL_ERROR),
        ):
            await client.emit("order", ack_id=1)
            number, _ = await given(raw)
            await raw.send({"jsonrpc": "2.0", "id": number, "error": error})
            what = await told(client)
            assert what["code"] == code
            assert "ours" not in json.dumps(what)
            await client.receive()
        await client.emit("order")
        number, _ = await given(raw)
        await answer(raw, number, {"$bytes": "*"})
        assert (await told(client))["message"] == "the backend's result cannot be sent"


@pytest.mark.req("CONTROL-31")
@trio_test
async def test_events_of_a_socket_go_one_at_a_time(tmp_path: Path) -> None:
    async with AsyncExitStack() as stack:
        where = await stack.enter_async_context(controlled(tmp_path, backends=forwarding()))
        raw = await stack.enter_async_context(backend(where))
        a, _ = await stack.enter_async_context(where.client())
        b, _ = await stack.enter_async_context(where.client())
        await a.emit("a1")
        await a.emit("a2", ack_id=2)
        first, event = await given(raw)
        assert event["event"] == "a1"
        await b.emit("b1")
        other, event = await given(raw)  # and not a2
        assert event["event"] == "b1"
        await answer(raw, first, None)
        second, event = await given(raw)
        assert event["event"] == "a2"
        await answer(raw, second, "ok")
        assert (await a.receive())[0] == '32["ok"]'
        await answer(raw, other, None)


@pytest.mark.req("CONTROL-32")
@trio_test
async def test_a_socket_keeps_its_backend(tmp_path: Path) -> None:
    async with AsyncExitStack() as stack:
        where = await stack.enter_async_context(controlled(tmp_path, backends=forwarding()))
        one = await stack.enter_async_context(backend(where))
        gone = AsyncExitStack()
        two = await gone.enter_async_context(backend(where))
        clients = [await stack.enter_async_context(where.client()) for _ in range(3)]
        owners: dict[str, RawPeer] = {}
        for _ in range(3):
            for client, socket_id in clients:
                await client.emit("e")
                async with trio.open_nursery() as nursery:

                    async def serve(raw: RawPeer, nursery: trio.Nursery = nursery) -> None:
                        number, event = await given(raw)
                        assert owners.setdefault(event["socket"], raw) is raw
                        await answer(raw, number, None)
                        nursery.cancel_scope.cancel()

                    nursery.start_soon(serve, one)
                    nursery.start_soon(serve, two)
                assert socket_id in owners
        assert [list(owners.values()).count(raw) for raw in (one, two)] in ([2, 1], [1, 2])
        await gone.aclose()
        await until(lambda: len(where.service.backends) == 1)
        for client, socket_id in clients:
            await client.emit("e")
            number, event = await given(one)
            assert event["socket"] == socket_id
            await answer(one, number, None)


@pytest.mark.req("CONTROL-33")
@trio_test
async def test_a_backend_that_goes_away(tmp_path: Path) -> None:
    async with (
        controlled(tmp_path, backends=forwarding()) as where,
        where.client() as (client, _),
    ):
        async with backend(where) as raw, backend(where):
            await client.emit("e")
            await given(raw)
        # Not given to the other one: the first may have handled it.
        what = await told(client)
        assert (what["code"], what["message"]) == (Code.UNAVAILABLE, "the backend has gone")


@pytest.mark.req("CONTROL-33", "CONTROL-35")
@trio_test
async def test_a_backend_that_does_not_answer(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    options = forwarding(deadline_s=0.6, max_timeouts=3)
    async with client_and_backend(tmp_path, options) as (client, raw):
        for _ in range(2):
            await client.emit("e")
            number, _ = await given(raw)
            what = await told(client)
            assert what["code"] == Code.TIMEOUT
            assert "within 0.6 s" in what["message"]
        await answer(raw, number, "late")  # nobody waits for it any more
        await client.emit("e", ack_id=1)
        number, _ = await given(raw)
        await answer(raw, number, "in time")
        assert (await client.receive())[0] == '31["in time"]'
        for _ in range(3):
            await client.emit("e")
            assert (await told(client))["code"] == Code.TIMEOUT
        assert await raw.is_closed()
        assert "let 3 deadlines pass" in caplog.text
        await client.emit("e")
        assert (await told(client))["code"] == Code.UNAVAILABLE


@pytest.mark.req("CONTROL-36")
@trio_test
async def test_a_backend_has_so_much_to_do_at_most(tmp_path: Path) -> None:
    async with AsyncExitStack() as stack:
        options = forwarding(max_in_flight=2)
        where = await stack.enter_async_context(controlled(tmp_path, backends=options))
        raw = await stack.enter_async_context(backend(where))
        clients = [(await stack.enter_async_context(where.client()))[0] for _ in range(3)]
        numbers = []
        for client in clients[:2]:
            await client.emit("e", ack_id=1)
            numbers.append((await given(raw))[0])
        await clients[2].emit("e", ack_id=1)
        assert (await told(clients[2]))["code"] == Code.OVERLOADED
        await answer(raw, numbers[0], None)
        await clients[0].receive()
        await clients[2].receive()
        await clients[2].emit("e")
        number, _ = await given(raw)
        await answer(raw, number, None)


@pytest.mark.req("CONTROL-34")
@trio_test
async def test_an_event_that_does_not_fit_into_a_line(tmp_path: Path) -> None:
    async with client_and_backend(tmp_path, max_line_bytes=2000) as (client, raw):
        await client.emit("big", "x" * 3000)
        assert (await told(client))["code"] == Code.TOO_LARGE
        deep = "[" * 505 + "]" * 505
        await client.send(f'2["deep",{deep}]')
        assert (await told(client))["code"] == Code.TOO_LARGE
        await client.emit("small", ack_id=1)
        number, event = await given(raw)
        assert event["event"] == "small"
        await answer(raw, number, None)
        assert (await client.receive())[0] == "31[]"


@trio_test
async def test_backends_register_for_namespaces(tmp_path: Path) -> None:
    options = BackendOptions(
        forward=(
            ForwardedEvents(namespace="chat", events=("a", "b")),
            ForwardedEvents(namespace="/chat", events=("b", "c")),
            ForwardedEvents(events=("order",)),
        )
    )
    async with (
        controlled(tmp_path, backends=options) as where,
        where.client("/chat") as (chat, _),
        where.client() as (main, _),
        peer(where) as raw,
    ):
        assert await raw.call("backend.register", namespaces=["chat", "/none"]) == {
            "forwarded": [{"namespace": "/chat", "events": ["a", "b", "c"]}],
            "missing": ["/none"],
            "authenticates": False,
        }
        await main.emit("order")
        assert (await told(main))["code"] == Code.UNAVAILABLE
        await chat.emit("c", namespace="/chat")
        number, event = await given(raw)
        assert event["namespace"] == "/chat"
        await answer(raw, number, None)
        await chat.emit("not forwarded", namespace="/chat")
        await raw.call("backend.register")  # replaces the other
        await main.emit("order")
        number, event = await given(raw)
        assert event["namespace"] == "/"
        await answer(raw, number, None)


@trio_test
async def test_the_app_comes_before_the_backends(tmp_path: Path) -> None:
    server = Server()

    @server.on("own")
    def own(socket: Socket) -> str:
        return "of the app"

    async with (
        controlled(tmp_path, server, backends=forwarding("*")) as where,
        where.client() as (client, _),
    ):
        await client.emit("own", ack_id=1)
        assert (await client.receive())[0] == '31["of the app"]'
        await client.emit("other")
        assert (await told(client))["event"] == "other"


@trio_test
async def test_an_event_that_the_app_handles_cannot_be_forwarded() -> None:
    server = Server()
    server.on("own")(lambda _: None)
    for options, words in (
        (forwarding("own"), "/ has a handler of 'own' already"),
        (forwarding("a", namespace="/a,b"), "a namespace cannot be called"),
    ):
        service = ControlService(server, FakeSystem(), ControlOptions(backends=options))
        with pytest.raises(ConfigurationError, match=words):
            async with open_runtime() as runtime:
                await runtime.start_service("control", partial(service.run, runtime))


@trio_test
async def test_a_service_has_no_effect_on_the_server_before_it_runs_and_may_run_again() -> None:
    server = Server()
    service = ControlService(server, FakeSystem(), ControlOptions(backends=forwarding("order")))
    server.on("order")(lambda _: None)
    server = Server()
    service = ControlService(server, FakeSystem(), ControlOptions(backends=forwarding("order")))
    for _ in range(2):
        async with open_runtime() as runtime:
            await runtime.start_service("control", partial(service.run, runtime))
    with pytest.raises(LocalProtocolError, match="has a handler of 'order' already"):
        server.on("order")(lambda _: None)


@pytest.mark.req("CONTROL-72")
@trio_test
async def test_a_backend_that_registers_again_replaces_what_it_was_registered_for(
    tmp_path: Path,
) -> None:
    options = BackendOptions(forward=(ForwardedEvents(), ForwardedEvents(namespace="/b")))
    async with (
        controlled(tmp_path, backends=options) as where,
        where.client() as (client, _),
        backend(where, namespaces=["/"]) as one,
    ):
        await client.emit("first", ack_id=1)
        number, _ = await given(one)
        await answer(one, number, None)
        await client.receive()
        await one.call("backend.register", namespaces=["/b"])
        await client.emit("nobody's")
        assert (await told(client))["code"] == Code.UNAVAILABLE
        async with backend(where, namespaces=["/"]) as other:
            await client.emit("second", ack_id=2)
            number, event = await given(other)
            assert event["event"] == "second"
            await answer(other, number, "of the other")
            assert (await client.receive())[0] == '32["of the other"]'


@pytest.mark.req("CONTROL-24")
@trio_test
async def test_a_peer_that_has_gone_does_not_become_a_backend(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async with (
        controlled(tmp_path, backends=forwarding()) as where,
        where.client() as (client, socket_id),
    ):
        async with peer(where) as ghost:
            ask = partial(ghost.request, "emit_with_ack", event="q", sockets=[socket_id])
            await ghost.send(
                *(ask(timeout_s=60) for _ in range(20)),
                [
                    ghost.request("emit", event="last", all=True),
                    ghost.request("backend.register"),
                    ghost.request("auth", token="wrong"),
                ],
            )
        while (await client.receive())[0] != '2["last"]':
            pass
        await until(lambda: not where.service._peers)
        await until(lambda: where.service.statistics().methods["auth"][0] == 1)
        methods = where.service.statistics().methods
        for name in ("backend.register", "auth"):
            assert methods[name][:2] == (1, 1), name  # called, and refused
        assert "wrong token" not in caplog.text
        assert len(where.service.backends._registered) == 0
        async with backend(where) as raw:
            await client.emit("e", ack_id=1)
            number, _ = await given(raw)
            await answer(raw, number, None)
            assert (await client.receive())[0] == "31[]"


@pytest.mark.req("CONTROL-26")
@trio_test
async def test_answers_of_a_backend_do_not_wait_behind_its_own_calls(tmp_path: Path) -> None:
    async with (
        controlled(tmp_path, backends=forwarding(), max_in_flight=2) as where,
        where.client() as (client, socket_id),
        backend(where) as raw,
    ):
        ask = raw.request("emit_with_ack", event="q", sockets=[socket_id])
        await raw.send(ask, ask, raw.request("system.info"))  # the last one is not read yet
        assert [(await client.receive())[0] for _ in range(2)] == ['20["q"]', '21["q"]']
        await client.emit("e", ack_id=7)
        received = [await raw.receive() for _ in range(2)]  # the answer to system.info among them
        (number,) = [one["id"] for one in received if "method" in one]
        note = {"jsonrpc": "2.0", "method": "emit_with_ack", "params": ask["params"]}
        await raw.send(ask, [ask, 1, note], note)
        refused = await raw.receive()
        assert refused["error"]["code"] == Code.OVERLOADED
        assert refused["error"]["data"]["retryable"] is True
        several = await raw.receive()
        assert [one["error"]["code"] for one in several] == [
            Code.OVERLOADED,
            Code.INVALID_REQUEST,
        ]
        await answer(raw, number, "in time")
        assert (await client.receive())[0] == '37["in time"]'
        for ack_id in range(2):
            await client.send(f"3{ack_id}[]")
            assert (await raw.receive())["result"]["asked"] == 1
        assert (await raw.call("system.info"))["pid"] == 1


@trio_test
async def test_the_log_names_a_forwarded_event_as_the_options_do(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("trio_socketio.socketio.events.QUICK_S", -1.0)  # nothing is too quick
    forward = BackendOptions(
        forward=(ForwardedEvents(events=("order",)), ForwardedEvents(namespace="/chat"))
    )
    async with (
        controlled(tmp_path, backends=forward) as where,
        where.client() as (client, _),
        where.client("/chat") as (chat, _),
    ):
        where.server._host.workers.slow_handler_s = where.server._host.workers.note_s = 0.0
        await client.emit("order", ack_id=1)
        await client.receive_event()
        await chat.emit("any", namespace="/chat")
        await chat.receive()
        told = {line.rpartition(" blocked")[0] for line in caplog.messages if " blocked" in line}
        assert {
            "handler [control.backends] forward (/) of 'order'",
            "handler [control.backends] forward (/chat) of 'any'",
        } <= told
