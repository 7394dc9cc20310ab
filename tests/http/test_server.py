"""How many connections a server takes, and that it counts them back."""

import errno
import socket
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
import trio
from tests.net.harness import Peer, settle
from trio.testing import trio_test

from trio_socketio.http.options import HttpOptions
from trio_socketio.http.request import Request
from trio_socketio.http.server import open_http_connections
from trio_socketio.runtime.connections import Connections
from trio_socketio.runtime.deadlines import Deadlines
from trio_socketio.runtime.options import ConnectionLimits
from trio_socketio.runtime.readiness import create_poller

GET = b"GET / HTTP/1.1\r\nHost: x\r\n\r\n"


def answer(request: Request) -> None:
    if request.path != "/wait":
        request.respond(200, [], b"ok")


class Clients:
    def __init__(self, server: Connections) -> None:
        self.server = server
        self.peers: list[Peer] = []

    def connect(self, address: str) -> Peer:
        ours, theirs = socket.socketpair()
        ours.setblocking(False)
        peer = Peer(theirs)
        self.peers.append(peer)
        self.server.accept(ours, address, None)
        return peer


@asynccontextmanager
async def open_http(limits: ConnectionLimits) -> AsyncIterator[Clients]:
    poller, deadlines = create_poller(), Deadlines(0.001)
    clients = Clients(open_http_connections(poller, deadlines, limits, HttpOptions(), answer))
    try:
        async with poller.running(), trio.open_nursery() as nursery:
            nursery.start_soon(deadlines.run)
            try:
                yield clients
            finally:
                clients.server.abort_all()
                nursery.cancel_scope.cancel()
        assert len(clients.server) == 0
        assert clients.server._per_address == {}
    finally:
        for peer in clients.peers:
            peer.close()


def is_refused(peer: Peer) -> bool:
    received = peer.read_nowait()
    if not received:
        return False
    assert received.startswith(b"HTTP/1.1 503 Service Unavailable\r\n")
    head, _, body = received.partition(b"\r\n\r\n")
    assert f"Content-Length: {len(body)}\r\n".encode() in head + b"\r\n"
    assert b"Retry-After: " in head
    assert b"Connection: close" in head
    assert peer.eof
    return True


class TestBounds:
    @pytest.mark.req("HTTP-27")
    @trio_test
    async def test_more_than_the_server_takes_are_answered_503(self) -> None:
        async with open_http(ConnectionLimits(max_connections=3)) as clients:
            peers = [clients.connect(f"10.0.0.{n}") for n in range(5)]
            assert [is_refused(peer) for peer in peers] == [False, False, False, True, True]
            assert len(clients.server) == 3
            assert clients.server.refused == 2
            peers[0].close()
            await settle()
            assert len(clients.server) == 2
            late = clients.connect("10.0.0.9")
            await late.send(GET)
            assert late.read_nowait().startswith(b"HTTP/1.1 200 ")

    @pytest.mark.req("HTTP-27")
    @trio_test
    async def test_more_than_one_address_may_have_are_answered_503(self) -> None:
        async with open_http(ConnectionLimits(max_connections_per_address=2)) as clients:
            mine = [clients.connect("10.0.0.1") for _ in range(3)]
            other = clients.connect("10.0.0.2")
            assert [is_refused(peer) for peer in mine] == [False, False, True]
            await other.send(GET)
            assert other.read_nowait().startswith(b"HTTP/1.1 200 ")
            mine[1].close()
            await settle()
            again = clients.connect("10.0.0.1")
            assert not is_refused(again)
            assert is_refused(clients.connect("10.0.0.1"))

    @trio_test
    async def test_unix_clients_have_no_address_to_bound(self) -> None:
        async with open_http(ConnectionLimits(max_connections_per_address=1)) as clients:
            assert not any(is_refused(clients.connect("")) for _ in range(5))


class TestFailures:
    @pytest.mark.req("SYS-02")
    @trio_test
    async def test_a_connection_that_cannot_be_watched_is_closed_and_forgotten(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        async with open_http(ConnectionLimits(max_connections=3)) as clients:
            poller = clients.server.poller
            before = clients.connect("10.0.0.1")
            with monkeypatch.context() as patched:
                for error in (OSError(errno.ENOSPC, "no watch"), MemoryError()):

                    def fail(_: object, error: Exception = error, **__: object) -> None:
                        raise error

                    patched.setattr(poller, "register", fail)
                    with pytest.raises(type(error)):
                        clients.connect("10.0.0.1")
                    await settle()
                    assert clients.peers[-1].read_nowait() == b""
                    assert clients.peers[-1].eof
            assert len(clients.server) == 1
            assert clients.server._per_address == {"10.0.0.1": 1}
            after = clients.connect("10.0.0.1")
            for peer in (before, after):
                await peer.send(GET)
                assert peer.read_nowait().startswith(b"HTTP/1.1 200 ")
            assert poller.failures == 0

    @pytest.mark.req("SYS-02")
    @trio_test
    async def test_a_connection_that_tls_cannot_take_is_closed(self) -> None:
        class Failing(ssl.SSLContext):
            def wrap_bio(self, *_: Any, **__: Any) -> Any:
                raise ssl.SSLError("no memory for another connection")

        async with open_http(ConnectionLimits()) as clients:
            ours, theirs = socket.socketpair()
            clients.peers.append(Peer(theirs))
            with pytest.raises(ssl.SSLError):
                clients.server.accept(ours, "10.0.0.1", Failing(ssl.PROTOCOL_TLS_SERVER))
            assert clients.peers[-1].read_nowait() == b""
            assert clients.peers[-1].eof
            assert len(clients.server) == 0
            assert clients.server._per_address == {}


class TestCounts:
    @trio_test
    async def test_they_return_to_zero_however_connections_end(self) -> None:
        async with open_http(ConnectionLimits()) as clients:
            server = clients.server
            ends = [
                b"",
                GET,
                b"GET / HTTP/1.0\r\n\r\n",
                b"nonsense\r\n\r\n",
                b"GET /wait HTTP/1.1\r\nHost: x\r\n\r\n",
                b"GET / HT",
            ]
            for _ in range(3):
                peers = [clients.connect("10.0.0.1") for _ in ends]
                for peer, sent in zip(peers, ends, strict=True):
                    if sent:
                        peer.send_nowait(sent)
                await settle()
                for peer in peers:
                    peer.close()
                with trio.fail_after(5):
                    await server.wait_empty()
                assert len(server) == 0
                assert server._per_address == {}
            assert server.poller.failures == 0

    @trio_test
    async def test_waiting_for_none_ends_at_once_when_there_is_none(self) -> None:
        async with open_http(ConnectionLimits()) as clients:
            with trio.fail_after(1):
                await clients.server.wait_empty()

    @trio_test
    async def test_finishing_all_sends_what_was_written(self) -> None:
        async with open_http(ConnectionLimits()) as clients:
            peer = clients.connect("10.0.0.1")
            peer.send_nowait(GET)
            await settle()
            clients.server.finish_all()
            assert (await peer.read()).endswith(b"\r\n\r\nok")
            assert peer.eof
            peer.close()
            with trio.fail_after(5):
                await clients.server.wait_empty()

    @trio_test
    async def test_aborting_all_closes_them(self) -> None:
        async with open_http(ConnectionLimits()) as clients:
            peers = [clients.connect("10.0.0.1") for _ in range(3)]
            clients.server.abort_all()
            with trio.fail_after(5):
                await clients.server.wait_empty()
            await settle()
            for peer in peers:
                assert peer.read_nowait() == b""
                assert peer.eof
