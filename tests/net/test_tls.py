"""TLS on the poller: handshakes, large transfers, ends, and certificates that are none."""

import ssl
from collections.abc import Callable
from pathlib import Path

import pytest
import trio
import trustme
from tests.net.harness import HANDSHAKE_S, CountingSocket, Net, Recorder, open_net, settle
from trio.testing import MockClock, trio_test

from trio_socketio.errors import ConfigurationError
from trio_socketio.http.exchange import HttpReceiver
from trio_socketio.http.request import Request
from trio_socketio.net.connection import DRAIN_S
from trio_socketio.net.frames import FrameReceiver
from trio_socketio.net.shared_output import SharedOutput
from trio_socketio.net.tls import TlsConnection, create_context

HOST = "example.org"


class Certificates:
    def __init__(self, folder: Path) -> None:
        authority = trustme.CA()
        issued = authority.issue_cert(HOST)
        self.certfile = folder / "cert.pem"
        self.keyfile = folder / "key.pem"
        self.bundle = folder / "bundle.pem"
        issued.private_key_pem.write_to_path(self.keyfile)
        for blob in issued.cert_chain_pems:
            blob.write_to_path(self.certfile, append=True)
        issued.private_key_and_cert_chain_pem.write_to_path(self.bundle)
        self.other_key = folder / "other.pem"
        authority.issue_cert(HOST).private_key_pem.write_to_path(self.other_key)
        self.server = create_context(self.certfile, self.keyfile)
        self.client = ssl.create_default_context()
        authority.configure_trust(self.client)


@pytest.fixture(scope="module")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Certificates:
    return Certificates(tmp_path_factory.mktemp("certificates"))


class TlsEnd:
    """A TLS connection under test and the raw other end."""

    def __init__(self, net: Net, certificates: Certificates) -> None:
        plain, sock, self.peer = net.pair()
        net.connections.remove(plain)
        self.sock: CountingSocket = sock
        self.context = certificates.client
        self.connection = TlsConnection(net, sock, "", certificates.server)
        self.received = Recorder()
        self.connection.set_receiver(self.received)
        net.connections.append(self.connection)
        net.poller.register(self.connection)

    def client(self) -> trio.SSLStream[trio.SocketStream]:
        sock = trio.socket.from_stdlib_socket(self.peer.sock.dup())
        return trio.SSLStream(trio.SocketStream(sock), self.context, server_hostname=HOST)


async def read(stream: trio.SSLStream[trio.SocketStream], size: int) -> bytes:
    data = b""
    with trio.fail_after(10):
        while len(data) < size:
            part = await stream.receive_some(65536)
            if not part:
                break
            data += part
    return data


class TestTransfer:
    @pytest.mark.req("RUN-45")
    @trio_test
    async def test_shared_output(self, certificates: Certificates) -> None:
        async with open_net() as net:
            end = TlsEnd(net, certificates)
            async with end.client() as client:
                await client.do_handshake()
                await settle()
                shared = SharedOutput(b"a", lambda: None)
                end.connection.write(b"<")
                assert shared.attach(end.connection)
                assert shared.add(b"b")
                assert await read(client, 3) == b"<ab"
                assert end.connection.traffic.packets_out == 3

    @trio_test
    async def test_echo(self, certificates: Certificates) -> None:
        async with open_net() as net:
            end = TlsEnd(net, certificates)
            end.received.on_data = end.connection.write
            async with end.client() as client:
                for number in range(10):
                    await client.send_all(b"ping %d" % number)
                    assert await read(client, 6) == b"ping %d" % number
            assert end.connection.secure
            assert net.poller.failures == 0

    @pytest.mark.req("LEASE-46")
    @trio_test
    async def test_a_websocket_that_is_cut_off_is_sent_a_close_alone(
        self, certificates: Certificates
    ) -> None:
        async with open_net() as net:
            end = TlsEnd(net, certificates)

            def cut_off(_: bytes) -> None:
                frames = FrameReceiver(end.connection, 1000, print, print, print)
                end.connection.write(b"gathered")
                assert frames.sever(1012) == 1

            end.received.on_data = lambda _: end.connection.write(b"hello")
            async with end.client() as client:
                await client.send_all(b"ping")
                assert await read(client, 5) == b"hello"
                end.received.on_data = cut_off
                await client.send_all(b"go")
                assert await read(client, 100) == b"\x88\x02\x03\xf4"
            assert net.poller.failures == 0

    @pytest.mark.req("BND-11")
    @trio_test
    async def test_output_of_one_turn_is_bounded(self, certificates: Certificates) -> None:
        async with open_net(output_bound_bytes=1000) as net:
            end = TlsEnd(net, certificates)
            size = 8_000_000  # far more than the kernel takes
            kept: list[int] = []

            def write(_: bytes) -> None:
                for _turn in range(4):
                    end.connection.write(bytes(size))
                kept.append(end.connection.waiting_bytes)

            end.received.on_data = write
            async with end.client() as client:
                await client.send_all(b"go")
                await settle()
                assert 0 < kept[0] < size * 1.01
                assert net.writes_dropped == 3
                assert end.received.lost == ["slow client"]
                end.peer.close()
            assert net.poller.failures == 0

    @trio_test
    async def test_large_transfers_both_ways_at_once(self, certificates: Certificates) -> None:
        async with open_net(output_bound_bytes=1 << 24) as net:
            end = TlsEnd(net, certificates)
            upward = bytes(range(256)) * 12_000
            downward = upward[::-1]
            async with end.client() as client:
                await client.do_handshake()
                end.connection.write(downward)
                async with trio.open_nursery() as nursery:
                    nursery.start_soon(client.send_all, upward)
                    assert await read(client, len(downward)) == downward
                await settle()
                assert end.received.data == upward
            assert net.poller.failures == 0

    @trio_test
    async def test_output_of_one_turn_leaves_with_one_send(
        self, certificates: Certificates
    ) -> None:
        async with open_net() as net:
            end = TlsEnd(net, certificates)

            def answer(_: bytes) -> None:
                for number in range(10):
                    end.connection.write(b"%d" % number)

            end.received.on_data = answer
            async with end.client() as client:
                await client.do_handshake()
                await settle()
                before = len(end.sock.sent)
                await client.send_all(b"go")
                assert await read(client, 10) == b"0123456789"
                assert len(end.sock.sent) == before + 1

    @trio_test
    async def test_requests_come_over_it(self, certificates: Certificates) -> None:
        async with open_net() as net:
            end = TlsEnd(net, certificates)
            secure: list[bool] = []

            def answer(request: Request) -> None:
                secure.append(request.secure)
                request.respond(200, [], b"ok")

            end.connection.set_receiver(HttpReceiver(end.connection, answer, 10, 65))
            async with end.client() as client:
                for _ in range(3):
                    await client.send_all(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
                    assert (await read(client, 40)).endswith(b"\r\n\r\nok")
            assert secure == [True] * 3


class TestHandshakes:
    @pytest.mark.parametrize(
        "garbage", [b"GET / HTTP/1.1\r\nHost: x\r\n\r\n", bytes(100), b"\x16\x03\x01\x00\x05hello"]
    )
    def test_garbage_closes_only_that_one(self, certificates: Certificates, garbage: bytes) -> None:
        async def main() -> None:
            async with open_net() as net:
                broken, fine = TlsEnd(net, certificates), TlsEnd(net, certificates)
                fine.received.on_data = fine.connection.write
                async with fine.client() as client:
                    await client.do_handshake()
                    await broken.peer.send(garbage)
                    assert broken.received.lost == ["transport error"]
                    assert broken.connection.fileno() == -1
                    await client.send_all(b"still here")
                    assert await read(client, 10) == b"still here"
                assert net.poller.failures == 0

        trio.run(main)

    @trio_test
    async def test_garbage_after_the_handshake(self, certificates: Certificates) -> None:
        async with open_net() as net:
            end = TlsEnd(net, certificates)
            client = end.client()
            await client.do_handshake()
            await client.send_all(b"good")
            await end.peer.send(b"\x17\x03\x03\x00\x20" + bytes(32))
            assert end.received.data == b"good"
            assert end.received.lost == ["transport error"]
            await trio.aclose_forcefully(client)
            assert net.poller.failures == 0

    @pytest.mark.parametrize("steps", range(6))
    @trio_test
    async def test_a_greeting_waits_for_the_handshake(
        self, certificates: Certificates, steps: int
    ) -> None:
        async with open_net() as net:
            end = TlsEnd(net, certificates)
            async with end.client() as client, trio.open_nursery() as nursery:
                nursery.start_soon(client.do_handshake)
                for _ in range(steps):  # it is written at any time of the handshake
                    await trio.lowlevel.checkpoint()
                end.connection.write(b"hello, ")
                end.connection.write(b"who is there?")
                assert await read(client, 20) == b"hello, who is there?"
            assert net.poller.failures == 0

    @trio_test
    async def test_a_stalled_handshake_is_closed(
        self, mock_clock: MockClock, certificates: Certificates
    ) -> None:
        async with open_net() as net:
            hello = make_hello(certificates)
            for sent in (b"", hello[:20], hello):
                end = TlsEnd(net, certificates)
                HttpReceiver(end.connection, lambda _: None, HANDSHAKE_S, 65)
                if sent:
                    await end.peer.send(sent)
                await settle()
                mock_clock.jump(HANDSHAKE_S * 0.9)
                await settle()
                assert end.received.lost == []
                mock_clock.jump(HANDSHAKE_S * 0.2)
                await settle()
                assert end.received.lost == ["timeout"]
                assert end.connection.fileno() == -1

    @trio_test
    async def test_finishing_before_the_handshake_is_no_defect(
        self, certificates: Certificates
    ) -> None:
        """A server that stops may want to say something to a client that never spoke."""
        async with open_net() as net:
            end = TlsEnd(net, certificates)
            end.connection.finish()
            await settle()
            assert net.poller.failures == 0

    @trio_test
    async def test_a_client_that_does_not_trust_us(self, certificates: Certificates) -> None:
        async with open_net() as net:
            end = TlsEnd(net, certificates)
            end.context = ssl.create_default_context()
            client = end.client()
            with pytest.raises(trio.BrokenResourceError):
                await client.do_handshake()
            await trio.aclose_forcefully(client)
            end.peer.close()
            await settle()
            assert end.received.lost[0] in ("transport error", "transport close")
            assert end.connection.fileno() == -1
            assert net.poller.failures == 0


def make_hello(certificates: Certificates) -> bytes:
    outgoing = ssl.MemoryBIO()
    client = certificates.client.wrap_bio(ssl.MemoryBIO(), outgoing, server_hostname=HOST)
    with pytest.raises(ssl.SSLWantReadError):
        client.do_handshake()
    return outgoing.read()


class TestEnds:
    @trio_test
    async def test_the_peers_close_notify_is_its_end(self, certificates: Certificates) -> None:
        async with open_net() as net:
            end = TlsEnd(net, certificates)
            client = end.client()
            await client.send_all(b"bye")
            await settle()
            await client.aclose()
            await settle()
            assert end.received.data == b"bye"
            assert end.received.lost == ["transport close"]
            assert end.connection.fileno() == -1

    @trio_test
    async def test_a_hang_up_without_close_notify(self, certificates: Certificates) -> None:
        async with open_net() as net:
            end = TlsEnd(net, certificates)
            client = end.client()
            await client.send_all(b"bye")
            await trio.aclose_forcefully(client)
            end.peer.close()  # session tickets may be unread: then it is a reset
            await settle()
            assert end.received.lost in (["transport close"], ["transport error"])
            assert net.poller.failures == 0

    @trio_test
    async def test_finishing_sends_all_and_close_notify(self, certificates: Certificates) -> None:
        async with open_net() as net:
            end = TlsEnd(net, certificates)
            client = end.client()
            await client.do_handshake()
            end.connection.write(b"the end")
            end.connection.finish()
            assert await read(client, 100) == b"the end"  # a truncated stream would raise
            await client.aclose()
            end.peer.close()
            await settle()
            assert end.received.lost == []
            assert end.connection.fileno() == -1

    @trio_test
    async def test_finishing_a_blocked_connection_sends_all_and_close_notify(
        self, certificates: Certificates
    ) -> None:
        async with open_net() as net:
            end = TlsEnd(net, certificates)
            client = end.client()
            await client.do_handshake()
            end.connection.write(bytes(1 << 21))
            await settle()
            assert end.connection.is_blocked
            end.connection.write(b"the end")
            end.connection.finish()
            data = await read(client, 1 << 22)
            assert len(data) == (1 << 21) + 7
            assert data.endswith(b"the end")
            await trio.aclose_forcefully(client)
            assert net.poller.failures == 0

    @trio_test
    async def test_who_was_finished_is_released_in_the_end(
        self, mock_clock: MockClock, certificates: Certificates
    ) -> None:
        async with open_net() as net:
            end = TlsEnd(net, certificates)
            client = end.client()
            await client.do_handshake()
            await settle()
            end.connection.write(b"no more")
            end.connection.finish()
            for _ in range(20):  # drained, not reset
                await client.send_all(bytes(50_000))
            await settle()
            assert end.received.data == b""
            assert await read(client, 100) == b"no more"
            mock_clock.jump(DRAIN_S * 1.1)
            await settle()
            assert end.connection.fileno() == -1
            await trio.aclose_forcefully(client)


class TestCertificates:
    def test_certificate_and_key_may_be_one_file(self, certificates: Certificates) -> None:
        create_context(certificates.bundle, None)

    @pytest.mark.parametrize(
        ("choose", "says"),
        [
            (lambda c: (c.certfile.with_name("none.pem"), c.keyfile), "not found"),
            (lambda c: (c.certfile, c.keyfile.with_name("none.pem")), "not found"),
            (lambda c: (c.certfile.parent, None), "not found"),
            (lambda c: (c.keyfile, c.keyfile), "cannot use certificate"),
            (lambda c: (c.certfile, c.certfile), "cannot use certificate"),
            (lambda c: (c.certfile, None), "cannot use certificate"),
            (lambda c: (c.certfile, c.other_key), "cannot use certificate"),
        ],
    )
    def test_wrong_files_are_one_clear_line(
        self,
        certificates: Certificates,
        choose: Callable[[Certificates], tuple[Path, Path | None]],
        says: str,
    ) -> None:
        certfile, keyfile = choose(certificates)
        with pytest.raises(ConfigurationError, match=says) as caught:
            create_context(certfile, keyfile)
        message = str(caught.value)
        assert "\n" not in message
        assert str(certfile) in message or str(keyfile) in message

    def test_files_that_are_no_pem(self, tmp_path: Path) -> None:
        for number, content in enumerate([b"", b"not a certificate", bytes(range(256))]):
            path = tmp_path / f"{number}.pem"
            path.write_bytes(content)
            with pytest.raises(ConfigurationError, match="cannot use certificate"):
                create_context(path, path)


@trio_test
async def test_cleartext_never_leaves(certificates: Certificates) -> None:
    async with open_net() as net:
        end = TlsEnd(net, certificates)
        client = end.client()
        await client.do_handshake()
        end.connection.write(b"secret")
        received = await end.peer.read()
        assert len(received) > len(b"secret")
        assert b"secret" not in received
        await trio.aclose_forcefully(client)
