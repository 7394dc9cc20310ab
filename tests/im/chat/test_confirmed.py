"""Messages that are handed to confirmed delivery."""

import json
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import pytest
import trio
from tests.im.chat.scene import AT_MS, DEMO, OK, Scene, emit, message, told
from tests.im.identity.identified import ANN, STATIC, identified
from tests.wire import SocketIOClient
from trio.testing import trio_test

from trio_socketio import Server
from trio_socketio.control.failures import invalid, overloaded
from trio_socketio.im.chat import Chat, ChatOptions, ToConfirm

if TYPE_CHECKING:
    from trio_socketio.errors import ControlError


class Deliveries:
    """Accepts messages, a moment later."""

    def __init__(self) -> None:
        self.accepted: list[ToConfirm] = []
        self.fault: ControlError | None = None

    async def confirm(self, orders: Sequence[ToConfirm], ids: list[str]) -> None:
        await trio.sleep(0.01)
        if self.fault is not None:
            raise self.fault
        self.accepted += orders
        ids.extend(order.message["id"] for order in orders)


async def read_ack(client: SocketIOClient) -> Any:
    """Return the acknowledgement that is the next packet."""
    text, _ = await client.receive()
    prefix = f"3{DEMO},5"
    assert text.startswith(prefix), text
    (answer,) = json.loads(text[len(prefix) :])
    return answer


@pytest.mark.req("CHAT-21")
@trio_test
async def test_messages_to_users_and_rooms_are_handed_over() -> None:
    deliveries = Deliveries()
    server = Server()
    server.of(DEMO)
    options = ChatOptions(namespaces=(DEMO,), confirm=(DEMO,))
    chat = Chat(server, options, confirm=deliveries.confirm, clock=lambda: AT_MS / 1000)
    async with identified(server, tokens=STATIC) as here, here.client() as client:
        await client.connect(DEMO, {"token": ANN})
        await client.emit("join", {"rooms": [{"roomId": "r1"}]}, namespace=DEMO)
        assert (await client.receive_event(DEMO))[0] == "join/reply"
        entries: list[dict[str, Any]] = [{"roomId": "r1", "msg": message()}]
        await client.emit("chat/rooms", entries, namespace=DEMO, ack_id=5)
        assert await read_ack(client) == {**OK, "ids": ["m1"]}
        entries = [{"userId": 7, "msg": message()}, {"userId": "eve", "msg": message(id="m2")}]
        await client.emit("chat/users", entries, namespace=DEMO, ack_id=5)
        assert await read_ack(client) == {**OK, "ids": ["m1", "m2"]}
        whole = {**message(), "from": "ann", "at": AT_MS}
        assert deliveries.accepted == [
            ToConfirm(DEMO, "chat/rooms", whole, (), ("r1",), "ann"),
            ToConfirm(DEMO, "chat/users", whole, ("7",), (), "ann"),
            ToConfirm(DEMO, "chat/users", {**whole, "id": "m2"}, ("eve",), (), "ann"),
        ]
        # A message to several rooms or users is one delivery, because it has one id.
        entries = [{"userId": user, "msg": message(id="m3")} for user in (7, 8)]
        await client.emit("chat/users", entries, namespace=DEMO, ack_id=5)
        assert await read_ack(client) == {**OK, "ids": ["m3"]}
        assert deliveries.accepted.pop().users == ("7", "8")
        entries[1] = {"userId": 8, "msg": message(id="m3", ver="2")}
        await client.emit("chat/users", entries, namespace=DEMO)
        reason = "chat/users: two messages have the id 'm3'"
        assert [await client.receive_event(DEMO)] == told(reason)
        # Signals, and what is for everybody, are not confirmed.
        await client.emit("chat/broadcast", {"msg": message()}, namespace=DEMO)
        assert (await client.receive_event(DEMO))[0] == "chat/broadcast"
        # What cannot be sent is refused before.
        entries = [{"roomId": "r2", "msg": message()}]
        await client.emit("chat/rooms", entries, namespace=DEMO)
        reason = "chat/rooms: [0]: roomId: you are not in the room 'r2'"
        assert [await client.receive_event(DEMO)] == told(reason)
        for fault, errcode in ((overloaded("too many wait"), 1), (invalid("id", "is taken"), 2)):
            deliveries.fault = fault
            await client.emit("chat/users", {"userId": 7, "msg": message()}, namespace=DEMO)
            reason = f"chat/users: the message 'm1' was not accepted: {fault.message}"
            assert [await client.receive_event(DEMO)] == told(reason, errcode)
        assert len(deliveries.accepted) == 3
        results = chat.statistics().events
        for label in ("not_accepted", "rejected"):  # by the server's fault, and by the client's
            assert results["chat/users", label] == 1


@pytest.mark.req("CHAT-21")
@trio_test
async def test_nothing_is_handed_over_elsewhere() -> None:
    deliveries = Deliveries()
    scene = Scene(confirm=deliveries.confirm)
    assert emit(scene.member(), "chat/rooms", {"roomId": "r1", "msg": message()})[0][0] == (
        "chat/rooms"
    )
    scene.chat.serve(DEMO, confirm=True)
    socket = scene.member()
    assert emit(socket, "signal/room", {"roomId": "r1", "msg": message()}) == []
