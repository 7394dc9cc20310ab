"""Every row of the original contract, by its own clients, new ones, and a backend.

Each test is run on one node, and on two that share a Redis, on which old clients are at one node
and new ones at the other. The requirements IM-nn of spec/im_contract.toml are the rows.
"""

import json
import re
import time
from collections.abc import Iterator
from functools import partial
from typing import Any
from urllib.request import Request, urlopen
from uuid import UUID

import pytest
from tests.cli_process import run_cli
from tests.im.contract_scene import (
    ADMIN_SECRET,
    AUTH_S,
    KINDS,
    LEASE_S,
    ORIGIN,
    RETRY_S,
    SURE,
    Client,
    Kind,
    Scene,
    open_scene,
    until,
)
from tests.im.identity.test_des_tokens import des_token
from tests.interop.server_process import HOST
from tests.redis_server import running_redis

from trio_socketio.codec.json_rpc import Code
from trio_socketio.control import ControlClient
from trio_socketio.errors import ControlError

pytestmark = [pytest.mark.time_limit(120), pytest.mark.in_background]

EACH = pytest.mark.parametrize("kind", KINDS)


@pytest.fixture(scope="module", params=["one-node", "two-nodes"])
def scene(request: pytest.FixtureRequest) -> Iterator[Scene]:
    redis = running_redis() if request.param == "two-nodes" else None
    with open_scene(redis) as opened:
        yield opened


def message(text: str, **more: object) -> dict[str, object]:
    """A message as old clients make it."""
    return {"ver": "1.0.0", "meta": json.dumps({"text": text}), "evt": "chat", "id": "", **more}


def refusal(scene: Scene, method: str, **params: object) -> int:
    """The code of the error of a call."""
    with pytest.raises(ControlError) as caught:
        scene.call(method, **params)
    return int(caught.value.code)


# --- what business servers call


@pytest.mark.req("IM-01")
def test_rpc_nsp_broadcast(scene: Scene) -> None:
    payload = {"ver": "1", "meta": {"text": "all"}, "evt": "notice", "id": "m1"}
    with scene.pair() as clients:
        for namespace in ("demo", "/demo"):
            sent = scene.call("emit", namespace=namespace, all=True, event="notice", args=[payload])
            assert sent["reached"] == 2
            for client in clients:
                assert client.wait("notice") == payload
    assert refusal(scene, "emit", namespace="nowhere", all=True, event="e") == Code.NOT_FOUND


@pytest.mark.req("IM-02")
def test_rpc_nsp_rooms_broadcast(scene: Scene) -> None:
    room, other = scene.new_room(), scene.new_room()
    with scene.pair() as (old, new):
        old.join(room)
        new.join(other)
        calls = [
            ("emit", {"namespace": "demo", "rooms": [name], "event": "notice", "args": [name]})
            for name in (room, other, "nowhere")
        ]
        one, two, none = scene.backend.batch(calls)
        assert [one["reached"], two["reached"]] == [1, 1]
        assert none["missing"]["rooms"] == ["nowhere"]
        assert [old.wait("notice"), new.wait("notice")] == [room, other]
        assert old.is_quiet("notice")
        assert new.is_quiet("notice")


@pytest.mark.req("IM-03")
def test_rpc_nsp_users_broadcast(scene: Scene) -> None:
    with scene.pair() as (old, new):
        users = [old.user, str(new.user), "nobody"]
        sent = scene.call("emit", namespace="demo", users=users, event="notice", args=["for you"])
        assert sent["reached"] == 2
        assert sent["missing"]["users"] == ["nobody"]
        for client in (old, new):
            assert client.wait("notice") == "for you"


@pytest.mark.req("IM-04", "IM-32")
@EACH
def test_rpc_disconnect(scene: Scene, kind: Kind) -> None:
    client = scene.enter(kind)
    main = scene.enter(kind, namespace=SURE)
    kicked = scene.call("users.kick", namespace="demo", users=[client.user, "nobody"])
    assert kicked["done"] == 1
    assert kicked["missing"]["users"] == ["nobody"]
    assert client.wait("session/replaced") == {"reason": "kicked"}
    assert client.wait("disconnect") == "io server disconnect"
    assert main.is_quiet("disconnect")
    assert len(sockets_of(scene, main.user, SURE)) == 1
    client.close()
    main.close()


def sockets_of(scene: Scene, user: int | None, namespace: str = "demo") -> list[dict[str, str]]:
    """What is shown of the sockets of a user."""
    found = scene.call("users.get", users=[user], namespace=namespace)["users"]
    return [socket for one in found for socket in one["sockets"]]


@pytest.mark.req("IM-05")
@EACH
def test_rpc_knockout_from_room(scene: Scene, kind: Kind) -> None:
    room = scene.new_room()
    with scene.pair() as clients:
        client, other = clients if kind == "old" else clients[::-1]
        for one in clients:
            one.join(room)
        left = scene.call("rooms.leave", namespace="demo", users=[client.user], rooms=[room])
        assert left["done"] == 1
        scene.call("emit", namespace="demo", rooms=[room], event="notice", args=["in the room"])
        assert other.wait("notice") == "in the room"
        assert client.is_quiet("notice")
        client.emit("chat/rooms", [{"nspName": "demo", "roomId": room, "msg": message("hello")}])
        assert client.wait("logic/error")["errcode"] == 2
        assert other.is_quiet("chat/rooms")


@pytest.mark.req("IM-06")
def test_rpc_clear_rooms(scene: Scene) -> None:
    room = scene.new_room()
    with scene.pair() as clients:
        for client in clients:
            client.join(room)
        cleared = scene.call("rooms.clear", namespace="demo", rooms=[room, "nowhere"])
        assert cleared["done"] == 2
        assert cleared["missing"]["rooms"] == ["nowhere"]
        for client in clients:
            client.emit("chat/rooms", [{"roomId": room, "msg": message("hello")}])
            assert client.wait("logic/error")["errcode"] == 2


@pytest.mark.req("IM-07")
def test_rpc_answers_and_access(scene: Scene) -> None:
    assert refusal(scene, "users.kick", namespace="nowhere", users=[1]) == Code.NOT_FOUND
    assert refusal(scene, "users.kick", namespace="demo", users=[""]) == Code.INVALID_PARAMS
    assert refusal(scene, "users.throw", users=[1]) == Code.METHOD_NOT_FOUND
    body = {"jsonrpc": "2.0", "id": 1, "method": "system.info"}
    assert scene.ask_http("POST", "/rpc", body, secret="")[0] == 401
    assert scene.ask_http("POST", "/rpc", body, secret="x" * 32)[0] == 401
    status, answer = scene.ask_http("POST", "/rpc", body)
    assert status == 200
    assert json.loads(answer)["result"]["state"] == "serving"


@pytest.mark.req("IM-08")
def test_rpc_reaches_the_nodes_that_have_the_targets(scene: Scene) -> None:
    with scene.pair() as clients:
        for server in scene.servers:
            with ControlClient(server.control) as backend:
                for client in clients:
                    sent = backend.call(
                        "emit", {"namespace": "demo", "users": [client.user], "event": "notice"}
                    )
                    assert sent["reached"] == 1
                    client.wait("notice")


# --- identity


@pytest.mark.req("IM-09", "IM-24", "IM-29")
def test_auth_and_auth_reply(scene: Scene) -> None:
    user = scene.new_user()
    client = scene.open("old")
    client.emit("auth", scene.des(user))
    client.emit("join", {"rooms": [{"roomId": "r1"}]})  # in one burst, as the original does
    assert client.wait("auth/reply") == {"errcode": 0, "errmsg": "ok"}
    assert client.wait("join/reply")["errcode"] == 0
    client.emit("auth", scene.des(user))  # again, which is no other login
    assert client.wait("auth/reply")["errcode"] == 0
    client.emit("auth", scene.des(user + 1))
    assert client.wait("auth/reply")["errcode"] == 3
    assert client.is_quiet("disconnect")
    client.close()


@pytest.mark.req("IM-09", "IM-16", "IM-24")
@pytest.mark.parametrize(
    ("payload", "errcode"),
    [
        ({"userId": 7, "meta": {"a": 1}, "token": des_token({"a": 2})}, 3),
        ({"userId": 7, "meta": {"a": 1}}, 5),
        ({"userId": [], "meta": {"a": 1}, "token": des_token({"a": 1})}, 2),
        ({"userId": 7, "meta": {"a": 1}, "token": 7}, 2),
        ("hello", 2),
    ],
    ids=["other-meta", "no-token", "no-user", "token-no-text", "no-object"],
)
def test_auth_that_fails_is_told_and_put_out(scene: Scene, payload: object, errcode: int) -> None:
    client = scene.open("old")
    client.emit("auth", payload)
    assert client.wait("auth/reply")["errcode"] == errcode
    assert client.wait("logic/error")["errcode"] == errcode
    client.wait("disconnect")
    client.close()


@pytest.mark.req("IM-09")
def test_a_new_client_is_refused_by_connect_error(scene: Scene) -> None:
    client = scene.open("new", options={"auth": {"token": "no-token"}})
    assert client.wait("connect_error")["data"]["errcode"] == 3
    client.close()


@pytest.mark.req("IM-10", "IM-16", "IM-23")
@EACH
def test_the_auth_deadline(scene: Scene, kind: Kind) -> None:
    client = scene.open(kind)
    main = scene.open(kind, "/")
    began = time.monotonic()
    assert client.wait("logic/error")["errcode"] == 4
    client.wait("disconnect")
    assert time.monotonic() - began < AUTH_S + 5
    main.wait("connect")
    assert main.is_quiet("disconnect", "logic/error")  # as it has no deadline
    client.close()
    main.close()


@pytest.mark.req("IM-16")
def test_events_before_auth_are_refused(scene: Scene) -> None:
    client = scene.open("old")
    client.emit("join", {"rooms": [{"roomId": "r1"}]})
    assert client.wait("logic/error")["errcode"] == 5
    client.close()


@pytest.mark.req("IM-24")
def test_des_tokens(scene: Scene) -> None:
    for meta in ({}, {"b": 1, "a": {"x": [1.0, None, "\u00e9"]}}, "text", 7):
        user = scene.new_user()
        client = scene.open("old")
        client.emit("auth", scene.des(user, meta))
        assert client.wait("auth/reply")["errcode"] == 0
        client.close()


# --- rooms and messages


@pytest.mark.req("IM-11")
@EACH
def test_join_and_join_reply(scene: Scene, kind: Kind) -> None:
    room = scene.new_room()
    client = scene.enter(kind)
    client.emit("join", {"rooms": [{"roomId": room}]})
    reply = client.wait("join/reply")
    assert (reply["errcode"], reply["rooms"]) == (0, [{"roomId": room}])
    members = scene.call("rooms.members", namespace="demo", room=room)["members"]
    assert len(members) == 1
    wrong: tuple[object, ...] = (
        None, "r1", {}, {"rooms": "r1"}, {"rooms": [{}]}, {"rooms": [{"roomId": 7}]},
    )  # fmt: skip
    for payload in wrong:
        client.emit("join", payload)
        assert client.wait("join/reply")["errcode"] == 2
    for reserved in ("", f"user:{client.user}", "x" * 20, "r" * 300):
        client.emit("join", {"rooms": [{"roomId": reserved}]})
        assert client.wait("join/reply")["errcode"] == 2
    client.close()


@pytest.mark.req("IM-12", "IM-14", "IM-30", "IM-31")
@EACH
def test_a_message_to_a_room(scene: Scene, kind: Kind) -> None:
    room = scene.new_room()
    with scene.pair() as clients:
        sender = clients[KINDS.index(kind)]
        for client in clients:
            client.join(room)
        for name in ("demo", "/demo"):
            before_ms = time.time() * 1000
            sent = message("hello", id="" if name == "demo" else "id-of-mine")
            sender.emit("chat/rooms", [{"nspName": name, "roomId": room, "msg": sent}])
            for client in clients:  # the sender, too
                got = client.wait("chat/rooms")
                assert got["from"] == str(sender.user)
                assert before_ms - 5000 < got["at"] < time.time() * 1000 + 5000
                assert (got["ver"], got["evt"]) == (sent["ver"], sent["evt"])
                assert got["meta"] == sent["meta"]  # relayed as it was sent
                if sent["id"]:
                    assert got["id"] == sent["id"]
                else:
                    assert UUID(got["id"]).version == 4
        spoofed = message("hello", **{"from": "9"})
        sender.emit("chat/rooms", [{"nspName": "demo", "roomId": room, "msg": spoofed}])
        assert sender.wait("logic/error")["errcode"] == 2
        for client in clients:
            assert client.is_quiet("chat/rooms")


@pytest.mark.req("IM-13")
@EACH
def test_a_message_to_a_user(scene: Scene, kind: Kind) -> None:
    with scene.pair() as clients:
        sender, receiver = clients if kind == "old" else clients[::-1]
        to = [{"nspName": "demo", "userId": receiver.user, "msg": message("for you")}]
        sender.emit("chat/users", to)
        got = receiver.wait("chat/users")
        assert got["from"] == str(sender.user)
        assert json.loads(got["meta"]) == {"text": "for you"}
        assert sender.is_quiet("chat/users")
        to[0]["userId"] = 999_999
        sender.emit("chat/users", to)
        error = sender.wait("logic/error")
        assert error["errcode"] == 2
        assert "999999" in error["errmsg"]
        to[0]["nspName"] = "elsewhere"
        sender.emit("chat/users", to)
        assert sender.wait("logic/error")["errcode"] == 2


@pytest.mark.req("IM-15")
@EACH
def test_leave_broadcasts_and_signals(scene: Scene, kind: Kind) -> None:
    room = scene.new_room()
    with scene.pair() as clients:
        sender, other = clients if kind == "old" else clients[::-1]
        for client in clients:
            client.join(room)
        sender.emit("chat/broadcast", [{"nspName": "demo", "msg": message("all")}])
        for client in clients:
            assert client.wait("chat/broadcast")["from"] == str(sender.user)
        for event, target in (
            ("signal/user", {"userId": other.user}),
            ("signal/room", {"roomId": room}),
            ("signal/broadcast", {}),
        ):
            sender.emit(event, [{"nspName": "demo", **target, "msg": message("typing")}])
            assert other.wait(event)["from"] == str(sender.user)
            assert sender.is_quiet(event)
        sender.emit("leave", {"rooms": [{"roomId": room}]})
        sender.emit("chat/rooms", [{"nspName": "demo", "roomId": room, "msg": message("hello")}])
        assert sender.wait("logic/error")["errcode"] == 2
        sender.emit("leave", {"rooms": [{"roomId": room}]})
        assert sender.wait("logic/error")["errcode"] == 2


@pytest.mark.req("IM-17")
def test_a_room_message_is_sent_until_it_is_acknowledged(scene: Scene) -> None:
    room, name = scene.new_room(), "id-" + scene.new_room()
    silent = scene.enter("old", namespace=SURE)  # as the original's clients are
    confirming = scene.enter("new", namespace=SURE, confirms=True)
    for client in (silent, confirming):
        client.join(room)
    body = message("sure", id=name)
    confirming.emit("chat/rooms", [{"nspName": "sure", "roomId": room, "msg": body}])
    got = [silent.wait("chat/rooms") for _ in range(1 + len(RETRY_S))]
    assert {one["id"] for one in got} == {name}
    assert confirming.wait("chat/rooms")["id"] == name
    assert confirming.is_quiet("chat/rooms")

    def has_ended() -> bool:
        report = scene.call("deliveries.get", namespace="sure", id=name)
        return bool(report["state"] == "expired")

    until(has_ended, "the delivery ends")
    report = scene.call("deliveries.get", namespace="sure", id=name)
    assert [one["user"] for one in report["confirmed"]] == [str(confirming.user)]
    assert report["unconfirmed"] == [str(silent.user)]
    sent = scene.call(
        "deliver", namespace="sure", event="chat/users", args=[{"id": name + "-2"}],
        users=[confirming.user],
    )  # fmt: skip
    assert sent["id"] == name + "-2"
    assert confirming.wait("chat/users")["id"] == name + "-2"
    silent.close()
    confirming.close()


@pytest.mark.req("IM-17")
@EACH
def test_a_message_waits_for_a_user_who_is_away(scene: Scene, kind: Kind) -> None:
    user, name = scene.new_user(), "id-" + scene.new_room()
    here = scene.enter(kind, user, namespace=SURE)
    here.close()
    order = {"event": "chat/users", "args": [{"id": name}], "users": [user], "expires_s": 30.0}
    accepted = scene.call("deliver", namespace="sure", schedule_s=[20.0], **order)
    assert (accepted["targets"], accepted["confirmed"]) == (1, 0)
    other: Kind = "new" if kind == "old" else "old"
    back = scene.enter(other, user, namespace=SURE, confirms=True)  # at the other node
    assert back.wait("chat/users")["id"] == name

    def is_confirmed() -> bool:
        report = scene.call("deliveries.get", namespace="sure", id=name)
        return bool(report["state"] == "confirmed")

    until(is_confirmed, "the delivery is confirmed")
    again = scene.call("deliver", namespace="sure", schedule_s=[20.0], **order)
    assert again["is_new"] is False
    assert back.is_quiet("chat/users")
    back.close()


# --- sessions and presence


@pytest.mark.req("IM-18")
@EACH
def test_a_user_is_in_a_namespace_once(scene: Scene, kind: Kind) -> None:
    user = scene.new_user()
    first = scene.enter(kind, user)
    first.join("r1")
    other: Kind = "new" if kind == "old" else "old"
    elsewhere = scene.enter(kind, user, namespace=SURE)
    second = scene.enter(other, user)  # on the other node, if there are two
    assert first.wait("session/replaced") == {"reason": "replaced"}
    first.wait("disconnect")
    assert len(sockets_of(scene, user)) == 1
    assert scene.call("presence.get", namespace="demo", users=[user])["users"]
    first.close()  # late, which harms nobody
    sent = scene.call("emit", namespace="demo", users=[user], event="notice", args=["still here"])
    assert sent["reached"] == 1
    assert second.wait("notice") == "still here"
    assert elsewhere.is_quiet("disconnect")
    second.close()
    elsewhere.close()


@pytest.mark.req("IM-19", "IM-20", "IM-31")
@EACH
def test_presence_and_its_records(scene: Scene, kind: Kind) -> None:
    began_ms = time.time() * 1000
    cursor = scene.call("presence.count", namespace="demo")["cursor"]
    before = scene.call("presence.count", namespace="demo")["users"]
    client = scene.enter(kind)
    secret = str(client.order("id"))
    assert scene.call("presence.count", namespace="demo")["users"] == before + 1
    client.order("cut")

    def is_gone() -> bool:
        return bool(scene.call("presence.count", namespace="demo")["users"] == before)

    until(is_gone, "the client is offline")
    found = scene.call("presence.legacy_list", namespace="demo", limit=1000)
    own = [one for one in found["records"] if one["meta"]["userId"] == str(client.user)]
    assert [one["evtTyp"] for one in own] == ["connect", "disconnect"]
    assert all(began_ms - 5000 < one["evtTimestamp"] < time.time() * 1000 + 5000 for one in own)
    assert own[0]["socketId"] == own[1]["socketId"]
    assert "token" not in own[0]
    if kind == "old":
        assert own[0]["socketId"] not in secret
    assert cursor
    client.close()


# --- namespaces at run time


@pytest.mark.req("IM-21", "IM-22", "IM-30")
def test_namespaces_are_made_and_removed(scene: Scene) -> None:
    name = f"made-{scene.new_room()}"
    unknown = scene.open("new", f"/{name}")
    assert unknown.wait("connect_error")["message"] == "Invalid namespace"
    unknown.close()
    old = scene.open("old", f"/{name}")
    assert old.wait("error") == "Invalid namespace"
    old.close()
    rules = {"events": ["auth", "join", "chat/rooms"]}
    methods = ["jwt", "des"]
    scene.call("namespaces.create", namespace=name, chat=True, rules=rules, identity=methods)
    assert refusal(scene, "namespaces.create", namespace=name) == Code.EXISTS
    listed = scene.call("namespaces.list", limit=1000)["namespaces"]
    assert f"/{name}" in [one["namespace"] for one in listed]
    with scene.pair(f"/{name}") as clients:
        for client in clients:
            client.join("r1")
            client.emit("chat/broadcast", [{"msg": message("not allowed here")}])
            assert client.wait("logic/error")["errcode"] == 2
        clients[0].emit("chat/rooms", [{"nspName": name, "roomId": "r1", "msg": message("hi")}])
        for client in clients:
            client.wait("chat/rooms")
        removed = scene.call("namespaces.remove", namespace=name)
        assert removed["done"] == 2
        for client in clients:
            client.wait("logic/error")
            client.wait("disconnect")
    unknown = scene.open("new", f"/{name}")
    unknown.wait("connect_error")
    unknown.close()


@pytest.mark.req("IM-25")
def test_http_routes_of_namespaces(scene: Scene) -> None:
    name = f"http-{scene.new_room()}"

    def ask(method: str, path: str, body: object = None) -> tuple[int, object]:
        status, answer = scene.ask_http(method, path, body)
        decoded = json.loads(answer)
        assert decoded["errcode"] == (0 if status == 200 else 2)
        return status, decoded["data"]

    body = {"nspName": name, "evts": ["bid"], "identity": ["jwt", "des"]}
    assert ask("POST", "/api/nsps/gen", body) == (200, None)
    shown = {"name": name, "listenEvts": ["bid"]}
    assert ask("GET", f"/api/nsps/{name}") == (200, [shown])
    status, every = ask("GET", "/api/nsps/all")
    assert status == 200
    assert isinstance(every, list)
    assert shown in every
    with scene.pair(f"/{name}") as (old, new):
        old.join("r1")
        new.join("r1")
        old.emit("chat/rooms", [{"nspName": name, "roomId": "r1", "msg": message("hi")}])
        assert new.wait("chat/rooms")["from"] == str(old.user)
        assert ask("DELETE", f"/api/nsps/{name}") == (200, {"done": 2})
        new.wait("disconnect")
    assert ask("GET", f"/api/nsps/{name}")[0] == 404
    assert scene.ask_http("GET", "/api/nsps/all", secret="")[0] == 401


@pytest.mark.req("IM-26")
def test_http_routes_of_statistics(scene: Scene) -> None:
    room = scene.new_room()
    with scene.pair() as (old, new):
        old.join(room)
        new.join(room)

        def data(path: str) -> dict[str, Any]:
            status, answer = scene.ask_http("GET", path)
            assert status == 200, answer
            found: dict[str, Any] = json.loads(answer)["data"]
            return found

        assert data("/api/statics")["socketCnt"] >= 2
        for path in ("/api/rooms", "/api/statics/rooms"):
            found = data(f"{path}?nspName=demo&roomId={room}")
            assert found["stat"] == {"id": room, "userIdsCnt": 2, "socketsCnt": 2}
            assert sorted(found["userIds"]) == sorted([str(old.user), str(new.user)])
        (shown,) = sockets_of(scene, new.user)
        found = data(f"/api/sockets?nspName=demo&socketId={shown['id']}")
        assert found["userId"] == str(new.user)


# --- what else the original has


@pytest.mark.req("IM-27")
@EACH
def test_the_client_library(scene: Scene, kind: Kind) -> None:
    room, user = scene.new_room(), scene.new_user()
    with scene.pair() as (old, new):
        client = Client(scene.player, f"wrapped-{user}", kind, user)
        url = scene.server_of(kind).url
        options = {"timeoutMs": 5000, "reconnectionDelay": 20, "reconnectionDelayMax": 50}
        client.order("wrap", kind=kind, url=url, namespace="demo", options=options)

        def call(name: str, *args: object) -> dict[str, object]:
            found: dict[str, object] = client.order("wrapped", call=name, args=args)
            return found

        credentials = scene.des(user) if kind == "old" else {"token": scene.jwt(user)}
        assert call("auth", credentials) == {"value": None}
        assert call("join", room) == {"value": None}
        old.join(room)
        sent = call("sendInRoom", room, {"text": "hi"}, "my-id")
        assert sent == {"value": "my-id"}
        assert json.loads(old.wait("chat/rooms")["meta"]) == {"text": "hi"}
        assert client.wait("chat/rooms")["meta"] == {"text": "hi"}
        to_user = call("sendToUser", new.user, {"text": "you"})["value"]
        assert new.wait("chat/users")["id"] == to_user
        assert call("sendInRoom", "not-joined", {})["errcode"] == 2
        assert call("sendToUser", 999_999, {})["errcode"] == 2
        assert call("auth", {"token": "wrong"})["errcode"] == 3
        assert "value" in call("sendToUser", new.user, {"text": "still in"})
        client.order("cut")  # it comes back by itself, and is in its room again
        back = call("sendInRoom", room, {"text": "back"})
        assert "value" in back, (back, scene.player.seen(client.name))
        client.wait("chat/rooms")
        scene.call("users.kick", namespace="demo", users=[user])
        client.wait("out")  # for good, until it says again who it is
        assert call("sendToUser", new.user, {})["errmsg"] == "the session was ended: kicked"
        assert call("auth", {"token": "wrong"})["errcode"] == 3
        assert call("auth", credentials) == {"value": None}
        assert "value" in call("sendInRoom", room, {"text": "again"})
        client.close()


@pytest.mark.req("IM-27", "NSP-41")
@EACH
def test_the_client_library_comes_back_to_a_namespace_that_was_changed(
    scene: Scene, kind: Kind
) -> None:
    user, name = scene.new_user(), f"/changing-{scene.new_user()}"
    scene.call("namespaces.create", namespace=name, identity=["jwt"], chat=True)
    client = Client(scene.player, f"changed-{user}", kind, user)
    url = scene.server_of(kind).url
    client.order("wrap", kind=kind, url=url, namespace=name)
    credentials = {"token": scene.jwt(user)}
    assert client.order("wrapped", call="auth", args=[{"token": "wrong"}])["errcode"] == 3
    for call, argument in (("auth", credentials), ("join", "r1")):
        assert client.order("wrapped", call=call, args=[argument]) == {"value": None}
    scene.call("namespaces.update", namespace=name, recovery=False)
    back = client.order("wrapped", call="sendInRoom", args=["r1", {"text": "back"}])
    assert "value" in back, (back, scene.player.seen(client.name))
    client.close()
    scene.call("namespaces.remove", namespace=name)


@pytest.mark.req("IM-27")
@EACH
def test_the_client_library_gives_up_in_time(scene: Scene, kind: Kind) -> None:
    client = Client(scene.player, f"late-{scene.new_user()}", kind)
    options = {"timeoutMs": 200, "reconnection": False}
    client.order("wrap", kind=kind, url="http://127.0.0.1:9", namespace="demo", options=options)
    for name, args in (("auth", [{"token": "t"}]), ("join", ["r1"]), ("sendInRoom", ["r1", {}])):
        found = client.order("wrapped", call=name, args=args)
        assert found["errcode"] in ("timeout", -1), found
    client.close()


@pytest.mark.req("IM-28")
def test_the_server_is_set_up_by_a_file(scene: Scene) -> None:
    server = scene.servers[0]
    ended = run_cli("check-config", str(server.folder / f"{server.name}.toml"))
    assert ended.returncode == 0, ended.stderr
    assert "[identity] des lets in whoever has the key" in ended.stderr
    for server in scene.servers:
        assert "Traceback" not in server.output()


def _uses(client: Client, transport: str) -> bool:
    return bool(client.order("transport") == transport)


@pytest.mark.req("IM-29")
@EACH
def test_transports(scene: Scene, kind: Kind) -> None:
    for transports, name in (
        (["websocket"], "websocket"),
        (["polling"], "polling"),
        (["polling", "websocket"], "websocket"),
    ):
        client = scene.enter(kind, options={"transports": transports})
        client.join("r1")
        until(partial(_uses, client, name), name)
        client.close()


@pytest.mark.req("IM-29")
def test_a_page_of_another_origin(scene: Scene) -> None:
    url = f"http://{HOST}:{scene.servers[0].port}/socket.io/?EIO=3&transport=polling&b64=1"
    with urlopen(Request(url, headers={"Origin": ORIGIN})) as response:
        assert response.headers["Access-Control-Allow-Origin"] == ORIGIN
        assert response.headers["Access-Control-Allow-Credentials"] == "true"


@pytest.mark.req("IM-29")
def test_monitoring(scene: Scene) -> None:
    with scene.pair():
        status, text = scene.ask_http("GET", "/metrics", secret="")
        assert status == 200
        for name in (
            "tsio_auth_total", "tsio_presence_users", "tsio_sessions", "tsio_rooms",
            "tsio_chat_events_total",
        ):  # fmt: skip
            assert re.search(rf"^{name}\b", text, re.MULTILINE), name
        assert ADMIN_SECRET not in text


@pytest.mark.req("IM-31")
def test_the_secret_of_an_old_client_is_nowhere(scene: Scene) -> None:
    room = scene.new_room()
    with scene.pair() as (old, new):
        old.join(room)
        new.join(room)
        sid = str(old.order("id")).partition("#")[2]
        assert len(sid) == 20
        old.emit("chat/rooms", [{"nspName": "demo", "roomId": room, "msg": message("hello")}])
        told = [
            new.wait("chat/rooms"),
            scene.call("rooms.members", namespace="demo", room=room),
            scene.call("sockets.list", namespace="demo"),
            sockets_of(scene, old.user),
            scene.call("presence.legacy_list", namespace="demo"),
            scene.call("presence.snapshot", namespace="demo"),
        ]
        assert sid not in json.dumps(told)


@pytest.mark.req("IM-19")
def test_users_of_a_killed_node_go_offline(scene: Scene) -> None:
    """The last test, because it ends a server."""
    if not scene.has_two:
        return
    client = scene.enter("new")
    staying = scene.enter("old")
    scene.server_of("new").kill()

    def online() -> list[str]:
        found = scene.call("presence.get", namespace="demo", users=[client.user, staying.user])
        return [one["user"] for one in found["users"]]

    until(lambda: online() == [str(staying.user)], f"within the lease of {LEASE_S} s")
    scene.server_of("new").start()
    back = scene.enter("new", client.user)
    assert staying.is_quiet("disconnect")
    for one in (client, back, staying):
        one.close()
