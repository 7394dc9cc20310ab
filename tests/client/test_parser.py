"""Clients that speak another parser than JSON, against our server."""

from typing import Any

import pytest
import trio
from tests.client.serving import QUICK, connected, create_server
from tests.client.test_client import VALUES
from tests.socketio.serving import serving, the_socket, until
from trio.testing import trio_test

from trio_socketio import (
    ClientOptions,
    ConfigurationError,
    ConnectFailed,
    ConnectRefused,
    Outgoing,
    Packet,
    PacketType,
    RemoteProtocolError,
    Server,
    ServerOptions,
    Socket,
    open_client,
)
from trio_socketio.codec.parsers import PARSERS, EncodeArguments

Transports = tuple[str, ...]
MSGPACK = ServerOptions(parser="msgpack")


@pytest.mark.req("CLI-17")
@trio_test
async def test_values_go_both_ways(transports: Transports) -> None:
    server = create_server(MSGPACK)
    async with connected(server, transports, parser="msgpack") as client:

        @client.on("question")
        def question(*arguments: Any) -> Any:
            return arguments

        with client.events() as events:
            for arguments in VALUES:
                given = arguments[0] if len(arguments) == 1 else tuple(arguments) or None
                assert await client.emit_with_ack("echo", *arguments) == given
                event = await events.receive()
                assert (event.name, event.arguments) == ("echo", arguments)
                assert await client.emit_with_ack("ask me", *arguments) == given
                assert (await events.receive()).name == "question"


@trio_test
async def test_namespaces_are_joined_refused_and_left(transports: Transports) -> None:
    server = create_server(MSGPACK)

    @server.of("/private").use
    def refuse(socket: Socket) -> None:
        if socket.handshake.auth != {"token": "t"}:
            raise ConnectRefused("no", data={"code": 7})

    async with serving(server) as port:
        url = f"http://127.0.0.1:{port}"
        with pytest.raises(ConnectRefused, match="no") as caught:
            async with open_client(
                url, namespaces="/private", transports=transports, options=QUICK, parser="msgpack"
            ):
                raise AssertionError
        assert caught.value.data == {"code": 7}
        async with open_client(
            url,
            namespaces=["/", "/private"],
            auth={"token": "t"},
            transports=transports,
            options=QUICK,
            parser="msgpack",
        ) as client:
            client.of("/private").disconnect()
            await until(lambda: not server.of("/private").sockets)
            await client.of("/private").connect()
            client.emit("put me out", False)
            assert await client.wait_closed() == "io server disconnect"


@trio_test
async def test_a_lost_connection_is_gone_on_with(transports: Transports) -> None:
    server = create_server(ServerOptions(parser="msgpack", state_recovery=True))
    async with connected(server, transports, parser="msgpack") as client:
        with client.events() as events:
            socket = the_socket(server)
            server.emit("first")
            assert (await events.receive()).name == "first"
            socket.session.lose("transport error")
            await until(lambda: client.joined_count == 2)
            assert client.recovered
            assert client.id == socket.id


@pytest.mark.req("CLI-17")
@pytest.mark.parametrize(("server", "client"), [("json", "msgpack"), ("msgpack", "json")])
@trio_test
async def test_who_speaks_another_is_not_let_in(
    transports: Transports, server: str, client: str
) -> None:
    options = ClientOptions(connect_timeout_s=0.5)
    async with serving(create_server(ServerOptions(parser=server))) as port:
        with trio.fail_after(5), pytest.raises(ConnectFailed):
            async with open_client(
                f"http://127.0.0.1:{port}", transports=transports, options=options, parser=client
            ):
                raise AssertionError


class TaggedParser:
    """MessagePack with a byte before it; can be told to announce attachments."""

    def __init__(self) -> None:
        self.announces = False
        self._inner = PARSERS["msgpack"]

    def encode_packet(self, packet: Packet) -> Outgoing:
        return self._tag(self._inner.encode_packet(packet))

    def arguments_encoder(self, packet_type: PacketType, namespace: str) -> EncodeArguments:
        encode = self._inner.arguments_encoder(packet_type, namespace)
        return lambda arguments, ack_id: self._tag(encode(arguments, ack_id))

    def decode_text(self, text: bytes) -> Packet:
        raise RemoteProtocolError("text")

    def decode_binary(self, data: bytes) -> Packet:
        packet = self._inner.decode_binary(data[1:])
        if self.announces:
            packet.attachments = 1
        return packet

    @staticmethod
    def _tag(packet: Outgoing) -> Outgoing:
        return Outgoing(packet.text, tuple(b"!" + data for data in packet.attachments))


@trio_test
async def test_a_parser_of_ones_own(transports: Transports) -> None:
    server = Server(parser=TaggedParser())
    server.on("echo")(lambda _, value: value)
    ours = TaggedParser()
    async with connected(server, transports, parser=ours) as client:
        assert await client.emit_with_ack("echo", b"abc") == b"abc"
        ours.announces = True
        reasons: list[str] = []
        client.on("disconnect")(reasons.append)
        server.emit("news")
        await until(lambda: reasons == ["parse error"])


@trio_test
async def test_there_is_no_such_parser() -> None:
    with pytest.raises(
        ConfigurationError, match="expected 'json', 'msgpack' or a Parser, not 'yaml'"
    ):
        async with open_client("http://127.0.0.1:9", parser="yaml"):
            raise AssertionError
