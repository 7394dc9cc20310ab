"""Who is at the other end of a Unix socket, and that nobody is known on other sockets."""

import os
import socket

import pytest

from trio_socketio.net.credentials import Process, read_process


def test_the_process_at_a_unix_socket_is_known(monkeypatch: pytest.MonkeyPatch) -> None:
    ours, other = socket.socketpair()
    with ours, other:
        assert read_process(ours.fileno()) == Process(os.getpid(), os.getuid())
        ours.send(b"the socket stays open")
        monkeypatch.delattr(socket, "SO_PEERCRED")
        assert read_process(ours.fileno()) == Process(
            -1, -1
        )  # it is at a Unix socket, all the same


@pytest.mark.req("CONTROL-78")
def test_nobody_is_known_at_another_socket() -> None:
    with (
        socket.create_server(("127.0.0.1", 0)) as listener,
        socket.create_connection(listener.getsockname()) as sock,
    ):
        assert read_process(sock.fileno()) is None
        assert sock.send(b"the socket stays open")
