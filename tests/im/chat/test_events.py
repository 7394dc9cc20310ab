"""What clients may do with chat events, and what they and others are told."""

import gc
import re
from collections.abc import Sequence
from typing import Any, NamedTuple
from uuid import UUID
from weakref import ref

import pytest
from tests.im.chat.scene import (
    AT_MS,
    DEMO,
    MESSAGE_KEYS,
    OK,
    Scene,
    ask,
    emit,
    events_of,
    message,
    told,
)
from tests.socketio.in_process import session_of
from trio.testing import trio_test

from trio_socketio import LocalProtocolError, Server, ServerOptions, Socket
from trio_socketio.im.rules.options import Rate, RulesOptions
from trio_socketio.im.rules.service import Rules as RulesService

UUID4 = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}")


def delivered(event: str, sender: str | None = "ann", **more: Any) -> list[Any]:
    return [event, {**message(**more), "from": sender, "at": AT_MS}]


# --- which namespaces ----------------------------------------------------------------------------


@pytest.mark.req("CHAT-01")
@trio_test
async def test_the_namespaces_of_the_options_have_chat_and_the_main_one_never() -> None:
    scene = Scene(namespaces=("/demo", "/room-*", "/*"))
    for name in ("/demo", "/room-1", "/other"):
        assert ask(scene.enter(namespace=name), "leave", {"rooms": [{"roomId": "x"}]})["errcode"]
    main = scene.enter(namespace="/")
    assert emit(main, "join", {"rooms": [{"roomId": "r"}]}) == []
    assert main.rooms == {main.id, "user:ann"}
    assert not scene.chat.serves("/")
    with pytest.raises(LocalProtocolError, match="no chat"):
        scene.chat.serve("/")


@pytest.mark.req("CHAT-02")
@trio_test
async def test_the_handlers_of_the_app_win() -> None:
    def prepare(server: Server) -> None:
        server.of(DEMO).on("join")(lambda socket, *_: "of the app")

    scene = Scene(before=prepare)
    socket = scene.enter()
    assert ask(socket, "join", {"rooms": [{"roomId": "r"}]}) == "of the app"
    assert ask(socket, "chat/broadcast", {"msg": message()})["errcode"] == 0


@pytest.mark.req("CHAT-02")
@pytest.mark.parametrize("is_guarded", [False, True])
@trio_test
async def test_the_handlers_that_the_app_registers_later_win(is_guarded: bool) -> None:
    scene = Scene(namespaces=("/room-*",))
    if is_guarded:
        RulesService(scene.server, RulesOptions(user=Rate(per_s=1000.0)))
    namespace = scene.server.of("/room-1")
    socket = scene.enter(namespace="/room-1")
    assert ask(socket, "leave", {"rooms": [{"roomId": "x"}]})["errcode"] == 2
    namespace.on("leave")(lambda socket, *_: "of the app")
    assert ask(socket, "leave", {"rooms": [{"roomId": "x"}]}) == "of the app"
    with pytest.raises(LocalProtocolError, match="has a handler of 'leave' already"):
        namespace.on("leave")(lambda socket, *_: "another")
    scene.chat.serve("/room-1", confirm=False)  # which renews what chat has there
    assert ask(socket, "leave", {"rooms": [{"roomId": "x"}]}) == "of the app"
    parent = scene.server.of(re.compile("/family-.*"))
    scene.chat.serve("/family-1")
    child = scene.enter(namespace="/family-1")
    parent.on("join")(lambda socket, *_: "of the parent")
    assert ask(child, "join", {"rooms": [{"roomId": "x"}]}) == "of the parent"


@pytest.mark.req("CHAT-24")
@trio_test
async def test_a_namespace_gets_chat_at_run_time_and_loses_it() -> None:
    scene = Scene(namespaces=())
    scene.chat.serve("later")
    socket = scene.enter(namespace="/later")
    present = scene.enter(namespace=DEMO)
    assert emit(present, "join", {"rooms": [{"roomId": "r"}]}) == []
    scene.chat.serve("demo")
    for one in (socket, present):
        assert ask(one, "join", {"rooms": [{"roomId": "r"}]})["errcode"] == 0
        assert len(events_of(one)) == 1
    assert scene.chat.statistics().namespaces == 2
    for name in ("/later", "nowhere", "/demo"):
        scene.chat.cease(name)
    scene.chat.serve("/demo")
    assert emit(socket, "join", {"rooms": [{"roomId": "q"}]}) == []
    assert "q" not in socket.rooms
    assert scene.chat.statistics().namespaces == 1
    scene.chat.serve("/later")
    assert ask(socket, "join", {"rooms": [{"roomId": "q"}]})["errcode"] == 0


@pytest.mark.req("CHAT-24")
@trio_test
async def test_what_the_options_say_holds_behind_what_was_given_at_run_time() -> None:
    scene = Scene(namespaces=("/room-*",))
    socket = scene.enter(namespace="/room-1")
    scene.chat.serve("/room-1", confirm=True)
    scene.chat.cease("/room-1")
    assert ask(socket, "join", {"rooms": [{"roomId": "q"}]})["errcode"] == 0


@pytest.mark.req("CHAT-24")
@trio_test
async def test_nothing_holds_a_namespace_that_was_removed() -> None:
    scene = Scene(namespaces=())
    scene.chat.serve("/later")
    namespace = ref(scene.server.of("/later"))
    await scene.server.remove("/later")
    gc.collect()
    assert namespace() is None
    scene.chat.cease("/later")
    assert not scene.chat.serves("/later")


# --- rooms ---------------------------------------------------------------------------------------


@pytest.mark.req("CHAT-10")
@pytest.mark.parametrize("old", [False, True])
@trio_test
async def test_join_is_answered_and_puts_the_client_into_the_adapters_rooms(old: bool) -> None:
    scene = Scene()
    socket = scene.enter(old=old)
    reply = {
        **OK,
        "rooms": [{"roomId": "r1"}, {"roomId": "Zimmer\u00a02 \U0001f469\u200d\U0001f467"}],
    }
    given = {"rooms": [{"roomId": "r1"}, {"roomId": "Zimmer\u00a02 \U0001f469\u200d\U0001f467"}]}
    assert emit(socket, "join", given) == [["join/reply", reply]]
    assert socket in scene.server.of(DEMO).rooms.members("r1")
    assert socket in scene.server.of(DEMO).rooms.members("Zimmer\u00a02 \U0001f469\u200d\U0001f467")
    assert ask(socket, "join", given) == reply
    assert events_of(socket) == [["join/reply", reply]]


@pytest.mark.req("CHAT-10", "CHAT-11", "CHAT-12")
@pytest.mark.parametrize(
    ("room", "reason"),
    [
        ("", "the name of a room cannot be empty"),
        ("x" * 257, "the name of a room has at most 256 bytes"),
        ("é" * 129, "the name of a room has at most 256 bytes"),
        ("a\nb", "the name of a room cannot have the character U+000A"),
        ("user:bob", "is reserved"),
        ("x" * 20, "is reserved"),
        ("/demo#somebody", "is reserved"),
        (7, "expected text, not a whole number"),
        (None, "expected text, not null"),
    ],
)
@trio_test
async def test_a_room_that_cannot_be_joined_keeps_the_client_out_of_the_others_too(
    room: Any, reason: str
) -> None:
    scene = Scene()
    socket = scene.enter()
    before = socket.rooms
    ((event, reply),) = emit(socket, "join", {"rooms": [{"roomId": "good"}, {"roomId": room}]})
    assert event == "join/reply"
    assert reply["errcode"] == 2
    assert reply["errmsg"].startswith("rooms[1].roomId: ")
    assert reason in reply["errmsg"]
    assert socket.rooms == before


@pytest.mark.req("CHAT-10")
@trio_test
async def test_too_many_rooms_are_refused() -> None:
    scene = Scene(options=ServerOptions(max_rooms_per_socket=4, allow_eio3=True), max_targets=3)
    socket = scene.enter()
    rooms = [{"roomId": str(number)} for number in range(4)]
    ((_, reply),) = emit(socket, "join", {"rooms": rooms})
    assert reply == {"errcode": 2, "errmsg": "rooms: expected 1 to 3 of them, not 4"}
    ((_, reply),) = emit(socket, "join", {"rooms": []})
    assert reply["errcode"] == 2
    assert emit(socket, "join", {"rooms": rooms[:3]})[0][1]["errcode"] == 0
    ((_, reply),) = emit(socket, "join", {"rooms": rooms[3:]})
    assert reply["errcode"] == 2
    assert "more than 4 rooms" in reply["errmsg"]
    assert "3" not in socket.rooms


@pytest.mark.req("CHAT-13")
@trio_test
async def test_a_client_leaves_rooms_and_is_told_in_which_it_was_not() -> None:
    scene = Scene()
    socket = scene.member()
    assert emit(socket, "leave", {"rooms": [{"roomId": "r1"}]}) == []
    assert "r1" not in socket.rooms
    socket.join("r2")
    given = {"rooms": [{"roomId": "r1"}, {"roomId": "r2"}]}
    answer = ask(socket, "leave", given)
    reason = "leave: rooms[0].roomId: you are not in the room 'r1'"
    assert answer == {"errcode": 2, "errmsg": reason, "rooms": [{"roomId": "r2"}]}
    assert events_of(socket) == told(reason)
    assert "r2" not in socket.rooms
    assert emit(socket, "leave", {"rooms": [{"roomId": "user:ann"}]})[0][1]["errcode"] == 2
    assert "user:ann" in socket.rooms
    assert emit(socket, "leave")[0][1] == {
        "errcode": 2,
        "errmsg": "leave: expected one argument, not 0",
    }


# --- sending to rooms ----------------------------------------------------------------------------


@pytest.mark.req("CHAT-03", "CHAT-07", "CHAT-15")
@pytest.mark.parametrize("name", ["demo", "/demo", None])
@trio_test
async def test_a_message_to_a_room_reaches_its_clients_and_comes_back(name: str | None) -> None:
    scene = Scene()
    sender, other = scene.member("ann"), scene.member("bob", old=True)
    outside = scene.enter("7")
    entry = {"roomId": "r1", "msg": message()} | ({} if name is None else {"nspName": name})
    assert ask(sender, "chat/rooms", [entry]) == {**OK, "ids": ["m1"]}
    for one in (sender, other):
        ((event, got),) = events_of(one)
        assert [event, got] == delivered("chat/rooms")
        assert list(got) == MESSAGE_KEYS
    assert events_of(outside) == []


@pytest.mark.req("CHAT-07")
@pytest.mark.parametrize("meta", ['{"a": 1}', "no JSON", {"a": [1, None]}, None])
@trio_test
async def test_meta_is_passed_on_as_it_was_sent(meta: Any) -> None:
    socket = Scene().member()
    ((_, got),) = emit(socket, "chat/rooms", {"roomId": "r1", "msg": message(meta=meta)})
    assert got["meta"] == meta


@pytest.mark.req("CHAT-07")
@trio_test
async def test_meta_may_hold_bytes() -> None:
    scene = Scene()
    socket = scene.member()
    entry = {"roomId": "r1", "msg": message(meta={"picture": b"\0\1"})}
    socket._open_events().receive(socket, ["chat/rooms", entry], None)
    (packet,) = session_of(socket).sent
    assert packet.attachments == (b"\0\1",)


@pytest.mark.req("CHAT-09")
@pytest.mark.parametrize("msg", [{}, {"id": "", "ver": "1.0.0"}])
@trio_test
async def test_what_a_message_leaves_out_is_filled_in(msg: dict[str, Any]) -> None:
    socket = Scene().member()
    answer = ask(socket, "chat/rooms", [{"roomId": "r1", "msg": msg}])
    ((_, got),) = events_of(socket)
    (made,) = answer["ids"]
    assert UUID4.fullmatch(made)
    assert got == {
        "ver": "1.0.0", "meta": None, "evt": "chat/rooms", "id": made, "from": "ann", "at": AT_MS,
    }  # fmt: skip


@pytest.mark.req("CHAT-08")
@pytest.mark.parametrize("claimed", ["bob", 7, ""])
@trio_test
async def test_nobody_sends_in_the_name_of_another(claimed: Any) -> None:
    scene = Scene()
    sender, other = scene.member("ann"), scene.member("bob")
    entry = {"roomId": "r1", "msg": message(**{"from": claimed})}
    (error,) = emit(sender, "chat/rooms", [entry])
    reason = "chat/rooms: [0]: msg.from: names another user; leave it out, as the server adds it"
    assert [error] == told(reason)
    assert events_of(other) == []
    assert emit(sender, "chat/rooms", {"roomId": "r1", "msg": message(**{"from": "ann"})}) == [
        delivered("chat/rooms")
    ]
    seven = scene.member("7")
    ((_, got),) = emit(seven, "chat/rooms", {"roomId": "r1", "msg": message(**{"from": 7})})
    assert got["from"] == "7"


@pytest.mark.req("DELIV-49")
@trio_test
async def test_nobody_sends_with_an_id_of_the_backend() -> None:
    scene = Scene()
    sender, other = scene.member("ann"), scene.member("bob")
    entry = {"roomId": "r1", "msg": message(id="backend:invoice-17")}
    assert emit(sender, "chat/rooms", [entry]) == told(
        "chat/rooms: [0]: msg.id: begins with 'backend:', as ids of backends do"
    )
    assert events_of(other) == []


@pytest.mark.req("CHAT-08")
@trio_test
async def test_without_identity_a_message_has_no_sender() -> None:
    scene = Scene(asks=False)
    socket = scene.enter(None)
    socket.join("r1")
    ((_, got),) = emit(socket, "chat/rooms", {"roomId": "r1", "msg": message()})
    assert got["from"] is None
    spoofed = {"roomId": "r1", "msg": message(**{"from": "ann"})}
    assert emit(socket, "chat/rooms", spoofed)[0][0] == "logic/error"


@pytest.mark.req("CHAT-12", "CHAT-15")
@pytest.mark.parametrize("room", ["r2", "nobody", "user:ann", "user:bob", "x" * 20, "", "y" * 9999])
@trio_test
async def test_only_those_in_a_room_send_to_it(room: str) -> None:
    scene = Scene()
    sender, other = scene.member("ann"), scene.member("bob", "r2")
    entries = [{"roomId": "r1", "msg": message()}, {"roomId": room, "msg": message()}]
    (error,) = emit(sender, "chat/rooms", entries)
    reason = f"chat/rooms: [1]: roomId: you are not in the room {room[:256]!r}"
    assert [error] == told(reason)  # CHAT-06: nor was the first one sent
    assert events_of(other) == []


@pytest.mark.req("CHAT-12")
@trio_test
async def test_the_room_of_a_socket_is_none_of_a_clients() -> None:
    scene = Scene()
    sender, old = scene.enter("ann"), scene.enter("bob", old=True)
    for room in (sender.id, old.id, old.public_id):
        assert emit(sender, "chat/rooms", {"roomId": room, "msg": message()})[0][0] == "logic/error"
        reply = emit(sender, "join", {"rooms": [{"roomId": room}]})[0][1]
        assert reply["errcode"] == 2
    assert events_of(old) == []


@pytest.mark.req("CHAT-15")
@trio_test
async def test_whoever_is_put_out_of_a_room_can_no_longer_send_to_it() -> None:
    scene = Scene()
    sender, other = scene.member("ann"), scene.member("bob")
    scene.server.of(DEMO).in_("user:ann").sockets_leave("r1")
    assert emit(sender, "chat/rooms", {"roomId": "r1", "msg": message()})[0][0] == "logic/error"
    assert events_of(other) == []


@pytest.mark.req("CHAT-15")
@trio_test
async def test_what_a_client_had_sent_before_it_left_is_sent() -> None:
    scene = Scene()
    sender, other = scene.member("ann"), scene.member("bob")
    sender.disconnect()
    session_of(sender).sent.clear()
    emit(sender, "chat/rooms", {"roomId": "r1", "msg": message()})
    assert events_of(other) == [delivered("chat/rooms")]


@pytest.mark.req("CHAT-16")
@pytest.mark.parametrize("event", ["chat/rooms", "chat/users", "chat/broadcast", "signal/room"])
@trio_test
async def test_a_socket_sends_in_its_own_namespace_only(event: str) -> None:
    scene = Scene(namespaces=("/demo", "/other"))
    sender, there = scene.member("ann"), scene.enter("ann", namespace="/other")
    there.join("r1")
    entry: dict[str, Any] = {"nspName": "other", "msg": message()}
    if "room" in event:
        entry["roomId"] = "r1"
    elif "user" in event:
        entry["userId"] = "ann"
    (error,) = emit(sender, event, [entry])
    assert [error] == told(
        f"{event}: [0]: nspName: this socket is in /demo, and can send only there; to send in "
        "'other', connect to it"
    )
    assert events_of(there) == []


# --- sending to users and everybody --------------------------------------------------------------


@pytest.mark.req("CHAT-17")
@trio_test
async def test_a_message_to_a_user_reaches_all_clients_of_it() -> None:
    scene = Scene()
    sender, one, two = scene.enter("ann"), scene.enter("7"), scene.enter("7", old=True)
    for user in (7, "7"):
        entry = {"nspName": "demo", "userId": user, "msg": message()}
        assert ask(sender, "chat/users", [entry]) == {**OK, "ids": ["m1"]}
        for receiver in (one, two):
            assert events_of(receiver) == [delivered("chat/users")]
    assert events_of(sender) == []


@pytest.mark.req("CHAT-17")
@pytest.mark.parametrize(
    ("user", "reason"),
    [
        ("", "the id of a user cannot be empty"),
        ("x" * 257, "the id of a user has at most 256 bytes"),
        ("a\0", "the id of a user cannot have the character U+0000"),
        (10**20, "an integer of more than 20 digits"),
        (1.5, "expected a whole number or text, not a fraction"),
        (True, "not true or false"),
    ],
)
@trio_test
async def test_what_cannot_be_a_user_is_refused(user: Any, reason: str) -> None:
    ((_, error),) = emit(Scene().enter(), "chat/users", {"userId": user, "msg": message()})
    assert error["errcode"] == 2
    assert "userId" in error["errmsg"]
    assert reason in error["errmsg"]


@pytest.mark.req("CHAT-35")
@trio_test
async def test_what_may_be_left_out_may_be_null() -> None:
    socket = Scene().member()
    nothing = dict.fromkeys(("ver", "meta", "evt", "id", "from"))
    ((event, got),) = emit(socket, "chat/rooms", {"nspName": None, "roomId": "r1", "msg": nothing})
    assert (event, got["ver"], got["evt"], got["from"]) == ("chat/rooms", "1.0.0", event, "ann")
    assert UUID(got["id"]).version == 4


@pytest.mark.req("CHAT-18", "CHAT-34")
@trio_test
async def test_the_sender_is_told_that_nobody_is_connected_as_a_user() -> None:
    scene = Scene()
    sender, other = scene.enter("ann"), scene.enter("bob")
    entries = [{"userId": user, "msg": message(id=user)} for user in ("nobody", "bob", "no one")]
    answer = ask(sender, "chat/users", entries)
    nobody = "chat/users: nobody is connected as 'nobody' or 'no one' in /demo"
    error = {
        "errcode": 2,
        "errmsg": f"{nobody}; the other messages were sent",
        "absent": ["nobody", "no one"],
    }
    assert answer == {**error, "ids": ["bob"]}
    assert events_of(sender) == [["logic/error", error]]
    assert events_of(other) == [delivered("chat/users", id="bob")]
    many = [{"userId": f"u{number}", "msg": message()} for number in range(7)]
    ((_, error),) = emit(sender, "chat/users", many)
    assert error["errmsg"].endswith("'u4' and 2 more in /demo")


@pytest.mark.req("CHAT-18")
@trio_test
async def test_somebody_who_listens_in_does_not_make_a_user_be_there() -> None:
    scene = Scene()
    sender, listener = scene.enter("ann"), scene.enter("bob")
    listener.join("user:7")
    assert emit(sender, "chat/users", {"userId": 7, "msg": message()})[0][0] == "logic/error"
    assert len(events_of(listener)) == 1


@pytest.mark.req("CHAT-23")
@trio_test
async def test_everybody_in_the_namespace_gets_a_broadcast() -> None:
    scene = Scene(namespaces=("/demo", "/other"))
    sender, other, elsewhere = scene.enter(), scene.enter("bob"), scene.enter(namespace="/other")
    assert ask(sender, "chat/broadcast", {"nspName": "demo", "msg": message()})["errcode"] == 0
    for one in (sender, other):
        assert events_of(one) == [delivered("chat/broadcast")]
    assert events_of(elsewhere) == []


@pytest.mark.req("CHAT-26")
@trio_test
async def test_signals_go_to_the_others() -> None:
    scene = Scene()
    sender, own, other = scene.member("ann"), scene.member("ann"), scene.member("bob")
    assert ask(sender, "signal/room", [{"roomId": "r1", "msg": message()}])["errcode"] == 0
    assert ask(sender, "signal/broadcast", [{"msg": message()}])["errcode"] == 0
    assert ask(sender, "signal/user", [{"userId": "ann", "msg": message()}])["errcode"] == 0
    assert events_of(sender) == []
    there = ["signal/room", "signal/broadcast"]
    assert [event for event, _ in events_of(own)] == [*there, "signal/user"]
    assert [event for event, _ in events_of(other)] == there
    assert emit(sender, "signal/user", [{"userId": "7", "msg": message()}])[0][0] == "logic/error"
    assert emit(sender, "signal/room", [{"roomId": "q", "msg": message()}])[0][0] == "logic/error"


# --- shapes and bounds ---------------------------------------------------------------------------


@pytest.mark.req("CHAT-04", "CHAT-05", "CHAT-06")
@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        ((), "expected one argument, not 0"),
        (([], "more"), "expected one argument, not 2"),
        (([],), "the list is empty, so there is nothing to send"),
        (("text",), "expected an object, not text"),
        (([7],), "[0]: expected an object, not a whole number"),
        (({"msg": {}},), "roomId: is missing"),
        (([{"roomId": "r1"}],), "[0].msg: is missing"),
        (
            ({"roomId": "r1", "msg": {"ver": 1}},),
            "msg.ver: expected text or null, not a whole number",
        ),
        (({"roomId": "r1", "msg": {"at": 1}},), "msg.at: is not expected here; leave it out"),
        (({"roomId": "r1", "msg": {}, "x" * 200: 1},), f"{'x' * 100}: is not expected here"),
        (({"roomId": "r1", "msg": {"meta": 7}},), "msg.meta: expected text or an object"),
        (
            ({"roomId": "r1", "msg": {"id": "x" * 65}},),
            "msg.id: expected text whose length is at most 64",
        ),
        (
            ({"roomId": "r1", "msg": {"evt": "x" * 65}},),
            "msg.evt: expected text whose length is at most 64",
        ),
        (([{"roomId": "r1", "msg": {}}] * 51,), "the list has 51 entries, and 50 are allowed"),
    ],
)
@trio_test
async def test_wrong_shapes_are_refused_with_a_reason(
    arguments: tuple[Any, ...], reason: str
) -> None:
    scene = Scene()
    sender, other = scene.member("ann"), scene.member("bob")
    answer = ask(sender, "chat/rooms", *arguments)
    ((event, error),) = events_of(sender)
    assert event == "logic/error"
    assert answer == {**error, "ids": []}
    assert error["errcode"] == 2
    assert error["errmsg"].startswith(f"chat/rooms: {reason}")
    assert events_of(other) == []
    assert scene.server.statistics().handler_failures == 0


@pytest.mark.req("CHAT-06")
@pytest.mark.parametrize(
    "meta",
    [
        {"n": 2**70},  # which MessagePack has no room for, so other nodes would not get it
        {"files": [b"x"] * 11},  # more than official clients accept
    ],
)
@trio_test
async def test_a_message_that_cannot_be_sent_keeps_the_others_back(meta: dict[str, Any]) -> None:
    scene = Scene()
    sender, other = scene.member("ann"), scene.member("bob")
    entries = [
        {"roomId": "r1", "msg": message(id="first")},
        {"roomId": "r1", "msg": message(id="second", meta=meta)},
    ]
    answer = ask(sender, "chat/rooms", entries)
    assert (answer["errcode"], answer["ids"]) == (2, [])
    assert answer["errmsg"].startswith("chat/rooms: [1]: a message cannot be sent: ")
    assert events_of(other) == []


@pytest.mark.req("CHAT-06")
@trio_test
async def test_fifty_entries_are_sent() -> None:
    socket = Scene().member()
    entries = [{"roomId": "r1", "msg": message(id=str(number))} for number in range(50)]
    assert [got["id"] for _, got in emit(socket, "chat/rooms", entries)] == [
        str(number) for number in range(50)
    ]


# --- permission and counts -----------------------------------------------------------------------


class Denied(NamedTuple):
    reason: str
    message: str
    retry_after_s: float | None = None
    number: int | None = None


class Rules:
    """Denies everything about one name."""

    def __init__(self, name: str) -> None:
        self._name = name

    def _check(self, _: Socket, event: str, names: Sequence[str]) -> Denied | None:
        if self._name not in names:
            return None
        message, retry_after_s = f"{self._name!r} is not for you", None
        if self._name == "bob":
            retry_after_s = 2.5
        return Denied("forbidden", message, retry_after_s, names.index(self._name))

    may_join = may_send = may_send_to_users = _check


@pytest.mark.req("CHAT-14")
@trio_test
async def test_what_is_not_permitted_is_refused() -> None:
    scene = Scene(permits=Rules("r1"))
    socket = scene.member()
    reply = {"errcode": 2, "errmsg": "rooms[1].roomId: 'r1' is not for you", "reason": "forbidden"}
    rooms = {"rooms": [{"roomId": "q"}, {"roomId": "r1"}]}
    assert emit(socket, "join", rooms) == [["join/reply", reply]]
    ((_, error),) = emit(socket, "chat/rooms", {"roomId": "r1", "msg": message()})
    assert error == {
        "errcode": 2, "errmsg": "chat/rooms: 'r1' is not for you", "reason": "forbidden",
    }  # fmt: skip
    scene = Scene(permits=Rules("bob"))
    socket, bob = scene.member(), scene.enter("bob")
    answer = ask(socket, "chat/users", [{"userId": "bob", "msg": message()}])
    ((_, error),) = events_of(socket)
    assert error == {
        "errcode": 2, "errmsg": "chat/users: [0]: 'bob' is not for you", "reason": "forbidden",
        "retry_after_s": 2.5,
    }  # fmt: skip
    assert answer == {**error, "ids": []}
    assert events_of(bob) == []
    assert emit(socket, "chat/rooms", {"roomId": "r1", "msg": message()})[0][0] == "chat/rooms"


@pytest.mark.req("CHAT-25", "RULE-22")
@trio_test
async def test_events_are_counted_and_refusals_logged(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO", "trio_socketio.im.chat.answers")
    scene = Scene()
    socket = scene.member(old=True)
    emit(socket, "chat/rooms", {"roomId": "r1", "msg": message()})
    emit(socket, "chat/rooms", {"roomId": "q", "msg": message()})
    assert scene.chat.statistics().events == {
        ("chat/rooms", "accepted"): 1,
        ("chat/rooms", "not_in_room"): 1,
    }
    assert scene.chat.statistics().namespaces == 1
    answers = [one for one in caplog.records if one.name.endswith("answers")]
    (line,) = [one.getMessage() for one in answers]
    reason = "refused: roomId: you are not in the room 'q'"
    client = f"socket {socket.public_id} of user 'ann'"
    assert line == f"chat/rooms of {client} in /demo {reason}"
    assert "secret" not in line
