"""Chat events over nodes: messages, and what the sender is told of users who are nowhere."""

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
import trio
from tests.cluster.cluster import Cluster, Node, open_cluster
from tests.im.chat.scene import AT_MS, DEMO, OK, events_of, message, told
from tests.socketio.in_process import enter, session_of
from trio.testing import MockClock, trio_test

from trio_socketio import Joining, JoiningState, Socket, Step
from trio_socketio.im.chat import Chat, ChatOptions
from trio_socketio.im.chat import inquiries as module
from trio_socketio.socketio.revisions import REVISION_4

PREFIX = f"43{DEMO},5".encode()


def identify(joining: Joining) -> None:
    joining.identify(joining.auth["user"])


class ChatNodes:
    """Nodes whose namespace has chat events, and their clients."""

    def __init__(self, cluster: Cluster) -> None:
        self.cluster = cluster
        self.chats: dict[str, Chat] = {}

    def furnish(self, node: Node, nursery: trio.Nursery, *, asks: bool = True) -> None:
        node.server.of(DEMO)
        node.server.add_steps([Step(JoiningState.AUTHENTICATING, identify)])
        chat = self.chats[node.name] = Chat(
            node.server,
            ChatOptions(namespaces=(DEMO,)),
            nodes=node.nodes if asks else None,
            clock=lambda: AT_MS / 1000,
        )
        if chat._inquiries is not None:
            nursery.start_soon(chat._inquiries.run)

    def __getitem__(self, name: str) -> Node:
        return self.cluster.nodes[name]

    def come(self, name: str, user: str, *, old: bool = False) -> Socket:
        namespace = self[name].server.of(DEMO)
        auth = {"user": user}
        return (
            enter(namespace, auth=auth, revision=REVISION_4) if old else enter(namespace, auth=auth)
        )


@asynccontextmanager
async def chatting(*names: str, without: tuple[str, ...] = ()) -> AsyncIterator[ChatNodes]:
    async with open_cluster(*names) as cluster, trio.open_nursery() as nursery:
        nodes = ChatNodes(cluster)
        for name in names:
            if name not in without:
                nodes.furnish(cluster.nodes[name], nursery)
        yield nodes
        nursery.cancel_scope.cancel()


def emit(socket: Socket, event: str, *arguments: Any, ack_id: int | None = None) -> None:
    socket._open_events().receive(socket, [event, *arguments], ack_id)


def to_users(*users: str) -> list[dict[str, Any]]:
    return [{"userId": user, "msg": message(id=user)} for user in users]


def take_ack(socket: Socket) -> Any:
    """Return the acknowledgement that a client was sent; None if there is none."""
    sent = session_of(socket).sent
    found = [one for one in sent if one.text.startswith(PREFIX)]
    if not found:
        return None
    sent.remove(found[0])
    (answer,) = json.loads(found[0].text[len(PREFIX) :])
    return answer


@pytest.mark.req("CHAT-15", "CHAT-17", "CHAT-23", "CHAT-26", "CHAT-27")
@trio_test
async def test_messages_reach_clients_of_all_nodes(autojump_clock: MockClock) -> None:
    async with chatting("a", "b", "c") as nodes:
        sender = nodes.come("a", "ann", old=True)
        others = [nodes.come(name, "bob") for name in "abc"]
        for one in (sender, *others):
            one.join("r1")
        sent = [
            ("chat/rooms", {"roomId": "r1", "msg": message()}, True),
            ("chat/users", {"userId": "bob", "msg": message()}, False),
            ("chat/broadcast", {"msg": message()}, True),
            ("signal/room", {"roomId": "r1", "msg": message()}, False),
            ("signal/user", {"userId": "bob", "msg": message()}, False),
            ("signal/broadcast", {"msg": message()}, False),
        ]
        for event, entry, comes_back in sent:
            emit(sender, event, [entry])
            await trio.sleep(0.1)
            expected = [[event, {**message(), "from": "ann", "at": AT_MS}]]
            assert all(events_of(one) == expected for one in others), event
            assert events_of(sender) == (expected if comes_back else [])
        everything = b"".join(payload for _, payload in nodes.cluster.bus.log)
        assert b"the-secret-of-a-session" not in everything


@pytest.mark.req("CHAT-19", "CHAT-34")
@trio_test
async def test_the_answer_waits_for_the_other_nodes_and_later_events_do_not(
    autojump_clock: MockClock,
) -> None:
    async with chatting("a", "b", "c") as nodes:
        sender, receiver = nodes.come("a", "ann"), nodes.come("c", "bob")
        sender.join("r1")
        emit(sender, "chat/users", to_users("bob"), ack_id=5)
        assert take_ack(sender) is None
        emit(sender, "chat/rooms", {"roomId": "r1", "msg": message()})
        assert len(events_of(sender)) == 1
        await trio.sleep(0.1)
        assert take_ack(sender) == {**OK, "ids": ["bob"]}
        assert len(events_of(receiver)) == 1
        emit(sender, "chat/users", to_users("bob", "eve", "ann"), ack_id=5)
        assert len(events_of(sender)) == 1  # its own, for ann
        await trio.sleep(0.1)
        reason = "chat/users: nobody is connected as 'eve' in /demo; the other messages were sent"
        error = {"errcode": 2, "errmsg": reason, "absent": ["eve"]}
        assert take_ack(sender) == {**error, "ids": ["bob", "ann"]}
        assert events_of(sender) == [["logic/error", error]]
        assert len(events_of(receiver)) == 1


@pytest.mark.req("CHAT-19")
@trio_test
async def test_users_are_asked_about_together(autojump_clock: MockClock) -> None:
    async with chatting("a", "b") as nodes:
        sender = nodes.come("a", "ann")
        nodes.come("b", "bob")
        asked = nodes["a"].nodes.statistics().asked
        for number in range(200):
            emit(sender, "chat/users", to_users("bob" if number % 2 else f"u{number}"))
        await trio.sleep(1)
        assert nodes["a"].nodes.statistics().asked - asked <= 2
        errors = events_of(sender)
        assert len(errors) == 100
        reason = "chat/users: nobody is connected as 'u198' in /demo"
        assert errors[-1][1] == {"errcode": 2, "errmsg": reason, "absent": ["u198"]}
        tally = nodes.chats["a"].statistics().events
        assert tally == {("chat/users", "accepted"): 100, ("chat/users", "unknown_user"): 100}


@pytest.mark.req("CHAT-28")
@trio_test
async def test_a_node_that_does_not_answer_is_named(autojump_clock: MockClock) -> None:
    async with chatting("a", "b", "c", without=("c",)) as nodes:
        sender = nodes.come("a", "ann")
        nodes.come("b", "bob")
        emit(sender, "chat/users", to_users("bob"), ack_id=5)
        emit(sender, "chat/users", to_users("eve"))
        await trio.sleep(module.ANSWER_S + 0.1)
        assert take_ack(sender) == {**OK, "ids": ["bob"]}
        reason = (
            "chat/users: sent, but nobody knows whether 'eve' has got it: not all nodes have "
            "answered: c"
        )
        assert events_of(sender) == told(reason, 1)


@pytest.mark.req("CHAT-28")
@trio_test
async def test_too_many_users_are_not_looked_for(
    autojump_clock: MockClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "MAX_WAITING", 2)
    async with chatting("a", "b") as nodes:
        sender = nodes.come("a", "ann")
        emit(sender, "chat/users", to_users("u1", "u2"))
        emit(sender, "chat/users", to_users("u3"), ack_id=5)
        answer = take_ack(sender)
        assert answer["errcode"] == 1
        assert "users are being looked for already" in answer["errmsg"]
        await trio.sleep(0.1)
        emit(sender, "chat/users", to_users("u4"), ack_id=5)
        await trio.sleep(0.1)
        assert take_ack(sender)["errcode"] == 2


@pytest.mark.req("CHAT-20")
@trio_test
async def test_the_sender_is_told_that_other_nodes_have_not_got_it(
    autojump_clock: MockClock,
) -> None:
    async with chatting("a", "b") as nodes:
        sender = nodes.come("a", "ann")
        sender.join("r1")
        nodes["a"].redis.cut()
        emit(sender, "chat/rooms", {"roomId": "r1", "msg": message()}, ack_id=5)
        answer = take_ack(sender)
        assert answer["errcode"] == 1
        assert "Redis cannot be reached" in answer["errmsg"]
        assert [event for event, _ in events_of(sender)] == ["chat/rooms", "logic/error"]
        emit(sender, "chat/users", to_users("bob"), ack_id=5)
        assert take_ack(sender)["errcode"] == 1


@pytest.mark.req("CHAT-22")
@trio_test
async def test_nobody_is_called_absent_who_may_be_with_another_program(
    autojump_clock: MockClock,
) -> None:
    async with chatting("a", "b") as nodes:
        sender = nodes.come("a", "ann")
        nodes.cluster.bus.foreign = 1
        emit(sender, "chat/users", to_users("eve"), ack_id=5)
        await trio.sleep(0.1)
        assert take_ack(sender) == {**OK, "ids": ["eve"]}
        assert events_of(sender) == []


@pytest.mark.req("CHAT-19")
@trio_test
async def test_a_sender_that_has_left_is_told_nothing(autojump_clock: MockClock) -> None:
    async with chatting("a", "b") as nodes:
        sender = nodes.come("a", "ann")
        emit(sender, "chat/users", to_users("eve"), ack_id=5)
        sender.disconnect()
        session_of(sender).sent.clear()
        await trio.sleep(0.1)
        assert session_of(sender).sent == []
        assert nodes["a"].server.statistics().handler_failures == 0


@pytest.mark.req("CHAT-19")
@trio_test
async def test_without_nodes_that_can_be_asked_nobody_is_called_absent(
    autojump_clock: MockClock,
) -> None:
    async with open_cluster("a", "b") as cluster, trio.open_nursery() as nursery:
        nodes = ChatNodes(cluster)
        nodes.furnish(cluster.nodes["a"], nursery, asks=False)
        sender = nodes.come("a", "ann")
        emit(sender, "chat/users", to_users("eve"), ack_id=5)
        assert take_ack(sender) == {**OK, "ids": ["eve"]}
