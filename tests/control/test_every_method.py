"""Backends in Python and in Node drive every method over Unix, TCP and HTTP, with one outcome."""

import json
import re
import shutil
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any, Final

import pytest
import trio
from tests.control.serving import SECRET, Controlled, controlled, write_token
from tests.control.test_http import JSON, admin, post
from tests.control.test_openrpc import METHODS
from tests.wire import HttpClient, SocketIOClient
from trio.testing import trio_test

from trio_socketio import Server
from trio_socketio.control import (
    BackendOptions,
    ControlClient,
    ControlError,
    ControlToken,
    ForwardedEvents,
    open_control,
)
from trio_socketio.im.identity.options import IdentityOptions, NamespaceIdentity
from trio_socketio.im.presence import Presence

NODE: Final = Path(__file__).resolve().parents[1] / "interop" / "control_backend.mjs"
CHAT: Final = "/chat"
Steps = list[tuple[str, dict[str, Any]]]
Drive = Callable[[Controlled, int, Steps], Awaitable[list[Any]]]


def steps_for(socket_id: str) -> Steps:
    """Calls of every method, most of them once; the events that "ask" ends with come back."""
    mine = {"sockets": [socket_id]}
    return [
        ("auth", {"token": SECRET}),
        ("auth.revoke", {"user": "nobody"}),
        ("auth.unrevoke", {"user": "nobody"}),
        ("rpc.discover", {}),
        ("backend.register", {}),
        ("system.info", {}),
        ("system.nodes", {}),
        ("system.stats", {}),
        ("system.reload", {}),
        ("namespaces.list", {}),
        ("namespaces.create", {"namespace": "/new"}),
        ("namespaces.update", {"namespace": "/new"}),
        ("namespaces.remove", {"namespace": "/new"}),
        ("rooms.join", {**mine, "rooms": ["a", "b"]}),
        ("rooms.list", {}),
        ("rooms.members", {"room": "a"}),
        ("emit", {"event": "e", "args": [{"$bytes": "AAE="}, 1.5], "rooms": ["a"]}),
        ("emit_with_ack", {"event": "ask", **mine, "timeout_s": 10}),
        ("rooms.leave", {**mine, "rooms": ["a"]}),
        ("rooms.clear", {"rooms": ["b", "none"]}),
        ("sockets.list", {}),
        ("sockets.get", {"socket": socket_id}),
        ("emit", {"event": "e"}),
        ("users.get", {"users": ["nobody", 7]}),
        ("users.list", {}),
        ("users.kick", {"users": ["nobody"]}),
        ("presence.get", {"users": ["ann"], "namespace": CHAT}),
        ("presence.count", {"namespace": CHAT}),
        ("presence.list", {"namespace": CHAT}),
        ("presence.snapshot", {"namespace": CHAT}),
        ("presence.log", {"namespace": CHAT}),
        ("presence.subscribe", {"namespace": CHAT}),
        ("presence.ack", {"subscription": 1, "cursor": "1-0"}),
        ("presence.unsubscribe", {"subscription": 1}),
        ("sockets.disconnect", mine),
        ("sockets.departed", {"limit": 1}),
        ("presence.legacy_list", {"limit": 1}),
        ("deliver", {"event": "e", "args": [{"id": "1"}], "users": ["nobody"]}),
        ("deliveries.get", {"id": "1"}),
        ("deliveries.list", {}),
        ("workers.list", {}),
        ("workers.restart", {}),
        ("system.drain", {}),
    ]


def with_presence() -> Server:
    """A server that keeps who is online in /chat."""
    server = Server()
    Presence(server).seat(CHAT)
    return server


async def play(client: SocketIOClient, sends: bool) -> list[str]:
    """Be a client: answer what is asked, after asking a backend oneself; return all that came."""
    seen: list[str] = []
    while True:
        text, attachments = await client.receive()
        seen += [text, *map(repr, attachments)]
        asked = re.match(r"2(\d+)\[", text)
        if text == "1":
            return seen
        if asked and sends:
            await client.emit("order", 7, ack_id=5)
            seen.append((await client.receive())[0])
        if asked:
            await client.send(f'3{asked[1]}["yes"]')


async def by_trio(address: str, steps: Steps) -> list[Any]:
    async with open_control(address, token=SECRET) as control:
        answers = []
        for method, params in steps:
            if method == "backend.register":
                answers.append(await control.register(lambda e: {"event": e.event, "args": e.args}))
                continue
            try:
                answers.append(await control.call(method, undo(params)))
            except ControlError as error:
                answers.append({"code": error.code, "message": error.message, "data": error.data})
        return answers


def by_thread(address: str, steps: Steps) -> list[Any]:
    with ControlClient(address, token=SECRET) as control:
        return [
            {"code": one.code, "message": one.message, "data": one.data}
            if isinstance(one, ControlError)
            else one
            for method, params in steps
            for one in control.batch([(method, undo(params))])
        ]


def undo(params: dict[str, Any]) -> dict[str, Any]:
    """Clients in Python are given bytes, and not how they are written."""
    return {**params, "args": [b"\0\1", 1.5]} if "args" in params else params


async def in_node(kind: str, where: str, steps: Steps) -> list[Any]:
    node = shutil.which("node")
    assert node is not None, "node is missing: install Node 18+"
    command = [node, str(NODE), kind, where, SECRET]
    done = await trio.run_process(
        command, stdin=json.dumps(steps).encode(), capture_stdout=True, check=False
    )
    assert done.returncode == 0, done
    results: list[Any] = json.loads(done.stdout)
    return results


async def over_http(port: int, steps: Steps) -> list[Any]:
    http = HttpClient(port)
    results = []
    for method, params in steps:
        request = {"jsonrpc": "2.0", "id": 1, "method": method, "params": params}
        response = await post(http, request, JSON, ("Authorization", f"Bearer {SECRET}"))
        answer = response.json()
        results.append(answer.get("error") or answer["result"])
    await http.aclose()
    return results


DRIVERS: Final[dict[str, Drive]] = {
    "trio, unix": lambda where, _, steps: by_trio(where.address, steps),
    "trio, tcp": lambda where, _, steps: by_trio(f"tcp:127.0.0.1:{where.tcp_port}", steps),
    "thread, unix": lambda where, _, steps: trio.to_thread.run_sync(
        by_thread, where.address, steps
    ),
    "thread, tcp": lambda where, _, steps: trio.to_thread.run_sync(
        by_thread, f"tcp:127.0.0.1:{where.tcp_port}", steps
    ),
    "Python, http": lambda _, port, steps: over_http(port, steps),
    "Node, unix": lambda where, _, steps: in_node("unix", where.unix, steps),
    "Node, tcp": lambda where, _, steps: in_node("tcp", str(where.tcp_port), steps),
    "Node, http": lambda _, port, steps: in_node("http", str(port), steps),
}


@pytest.mark.parametrize("name", DRIVERS)
@trio_test
async def test_every_method_over_every_way(tmp_path: Path, name: str) -> None:
    token = ControlToken(name="all", file=write_token(tmp_path))
    unix = f"unix:{tmp_path / 'c.sock'}"
    async with (
        controlled(
            tmp_path,
            with_presence(),
            listen=(unix, "tcp:127.0.0.1:0"),
            tokens=(token,),
            backends=BackendOptions(forward=(ForwardedEvents(events=("order",)),)),
            identity=IdentityOptions(
                backend=True, namespaces=(NamespaceIdentity(name="/", methods=()),)
            ),
        ) as where,
        admin(where.runtime, where.service) as port,
        where.client() as (client, socket_id),
    ):
        calls_back = name not in ("Python, http", "Node, http", "thread, unix", "thread, tcp")
        steps = steps_for(socket_id)
        seen: list[str] = []
        results: list[Any] = []
        with trio.fail_after(30):
            async with trio.open_nursery() as nursery:

                async def be_a_client() -> None:
                    seen.extend(await play(client, calls_back))

                nursery.start_soon(be_a_client)
                results = await DRIVERS[name](where, port, steps)
    assert {method for method, _ in steps} == set(METHODS)
    by_method = {method: result for (method, _), result in zip(steps, results, strict=True)}
    assert by_method["auth.revoke"]["done"] == 0
    assert by_method["auth.revoke"]["until_s"] > time.time()
    assert by_method["auth.unrevoke"] == {"done": True}
    assert by_method["auth"] == {"name": "all", "methods": ["*"]}
    assert [one["name"] for one in by_method["rpc.discover"]["methods"]] == METHODS
    if name.endswith("http"):
        assert by_method["backend.register"]["code"] == -32600
    else:
        assert by_method["backend.register"]["missing"] == []
    assert by_method["system.info"]["node"] == "n0de"
    assert [one["name"] for one in by_method["system.nodes"]["nodes"]] == ["n0de"]
    assert by_method["system.stats"]["control"] == {"peers": 1}
    assert by_method["system.reload"]["changed"] == ["log.level"]
    assert by_method["namespaces.list"]["namespaces"][0]["sockets"] == 1
    assert by_method["rooms.join"] == {"done": 1, "missing": {}}
    assert by_method["rooms.list"]["total"] == 2
    assert by_method["rooms.members"]["members"] == [socket_id]
    assert by_method["namespaces.create"]["code"] == by_method["namespaces.remove"]["code"] == 1013
    assert by_method["namespaces.update"]["code"] == 1003
    assert results[16] == {"reached": 1, "missing": {}}
    assert by_method["emit_with_ack"]["answers"] == [{"socket": socket_id, "answer": "yes"}]
    assert by_method["rooms.leave"] == {"done": 1, "missing": {}}
    assert by_method["rooms.clear"] == {"done": 1, "missing": {"rooms": ["none"]}}
    assert by_method["sockets.list"]["sockets"][0]["id"] == socket_id
    assert by_method["sockets.get"]["rooms"] == []
    assert by_method["emit"]["data"]["parameter"] == "all"
    assert by_method["users.get"] == {"users": [], "missing": {"users": ["nobody", "7"]}}
    assert by_method["users.list"] == {"users": [], "total": 0, "next": None}
    assert by_method["users.kick"] == {"done": 0, "missing": {"users": ["nobody"]}}
    assert by_method["presence.get"]["users"] == []
    assert by_method["presence.count"]["users"] == 0
    assert by_method["presence.list"]["next"] is None
    assert by_method["presence.snapshot"]["exact_at"] == by_method["presence.count"]["cursor"]
    if name.endswith("http"):
        for method in ("presence.subscribe", "presence.ack", "presence.unsubscribe"):
            assert by_method[method]["code"] == -32600
    else:
        assert by_method["presence.subscribe"]["active"]
        assert by_method["presence.ack"]["data"] == {"parameter": "cursor"}
        assert by_method["presence.unsubscribe"] == {"done": True}
    assert by_method["sockets.disconnect"] == {"done": 1, "missing": {}}
    assert by_method["presence.legacy_list"]["code"] == 1013
    assert by_method["system.drain"] == {"state": "draining"}
    expected = ['51-["e",{"_placeholder":true,"num":0},1.5]', repr(b"\0\1"), '20["ask"]']
    if calls_back:
        expected.append('35[{"event":"order","args":[7]}]')
    assert seen == [*expected, "1"]
