"""A binary packet and its attachments travel as one: nothing comes between."""

import pytest
from tests.socketio.serving import joined, serving
from trio.testing import trio_test

from trio_socketio import Server, ServerOptions, Socket
from trio_socketio.codec.engine_packet import PING

PACKETS = 40


@pytest.mark.req("SIO5-50")
@pytest.mark.parametrize("transport", ["websocket", "polling"])
@trio_test
async def test_attachments_follow_their_text_at_once(transport: str) -> None:
    sio = Server(ServerOptions())

    @sio.on("send")
    def send(socket: Socket) -> None:
        for number in range(PACKETS):
            socket.emit("files", number, b"first", [b"second", {"deep": b"third"}])
            socket.session.send(PING)  # as a heartbeat that is due just now
            socket.emit("text", number)

    async with serving(sio) as port, joined(port, transport) as (client, _):
        await client.emit("send")
        seen: list[str | bytes] = []
        while len(seen) < PACKETS * 6:
            packet = await client.engine.receive()
            if packet != "6":
                seen.append(packet)
        for number in range(PACKETS):
            files, *attachments = seen[number * 6 : number * 6 + 4]
            assert isinstance(files, str)
            assert files.startswith(f'453-["files",{number},')
            assert attachments == [b"first", b"second", b"third"]
            assert seen[number * 6 + 4 : number * 6 + 6] == ["2", f'42["text",{number}]']


@pytest.mark.req("SIO5-50")
@trio_test
async def test_attachments_of_two_rooms_are_not_mixed() -> None:
    sio = Server(ServerOptions())

    @sio.on("connection")
    def connected(socket: Socket) -> None:
        socket.join(["a", "b"])

    @sio.on("send")
    def send(_: Socket) -> None:
        sio.to("a").emit("a", b"1", b"2")
        sio.to("b").emit("b", b"3")
        sio.to(["a", "b"]).emit("c", b"4", b"5")

    async with serving(sio) as port, joined(port, "polling") as (client, _):
        await client.emit("send")
        received = [await client.receive() for _ in range(3)]
    assert [attachments for _, attachments in received] == [[b"1", b"2"], [b"3"], [b"4", b"5"]]
