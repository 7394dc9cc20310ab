"""Ports and paths that are taken, and an accept loop that runs out of descriptors."""

import errno
import re
import socket
import subprocess
import sys
import textwrap
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import Any

import pytest
import trio
from tests.net.harness import Passes
from trio.testing import MockClock, trio_test

from trio_socketio.errors import ConfigurationError
from trio_socketio.runtime import listeners
from trio_socketio.runtime.listeners import (
    TELL_S,
    accept_forever,
    open_tcp_listeners,
    open_unix_listener,
)
from trio_socketio.runtime.poller import TURN_S


class TestTcp:
    @trio_test
    async def test_a_taken_port_is_an_error(self) -> None:
        (first,) = await open_tcp_listeners("127.0.0.1", 0)
        with first:
            port = first.getsockname()[1]
            with pytest.raises(ConfigurationError) as caught:
                await open_tcp_listeners("127.0.0.1", port)
        assert str(caught.value) == (
            f"cannot listen on 127.0.0.1:{port}: another program has it; end that one, or choose "
            "another port"
        )

    @trio_test
    async def test_a_port_is_free_again_after_its_connections(self) -> None:
        (listener,) = await open_tcp_listeners("127.0.0.1", 0)
        address = listener.getsockname()
        with socket.create_connection(address):
            listener.setblocking(True)
            listener.accept()[0].close()  # leaves TIME_WAIT behind
        listener.close()
        (listener,) = await open_tcp_listeners(*address)
        listener.close()

    @trio_test
    async def test_every_address_of_a_name_has_the_same_port(self) -> None:
        listeners = await open_tcp_listeners("localhost", 0)
        assert len({listener.getsockname()[1] for listener in listeners}) == 1
        for listener in listeners:
            listener.close()

    @pytest.mark.parametrize("host", ["no.such.host.invalid", "a" * 300, "\u20ac..x"])
    def test_a_host_that_is_none_is_an_error(self, host: str) -> None:
        with pytest.raises(ConfigurationError, match="cannot listen on"):
            trio.run(open_tcp_listeners, host, 0)


class TestUnix:
    def test_a_stale_socket_is_replaced(self, tmp_path: Path) -> None:
        path = tmp_path / "s"
        open_unix_listener(path).close()
        assert path.exists()
        with open_unix_listener(path, mode=0o600), socket.socket(socket.AF_UNIX) as client:
            client.connect(str(path))
            assert path.stat().st_mode & 0o777 == 0o600

    def test_a_live_socket_is_refused_and_left_alone(self, tmp_path: Path) -> None:
        path = tmp_path / "s"
        with open_unix_listener(path):
            with pytest.raises(ConfigurationError, match="another program has it"):
                open_unix_listener(path)
            with socket.socket(socket.AF_UNIX) as client:
                client.connect(str(path))

    def test_a_live_socket_whose_backlog_is_full_is_refused_at_once(self, tmp_path: Path) -> None:
        path = tmp_path / "s"
        with socket.socket(socket.AF_UNIX) as busy, ExitStack() as waiting:
            busy.bind(str(path))
            busy.listen(0)
            for _ in range(3):
                client = waiting.enter_context(socket.socket(socket.AF_UNIX))
                client.setblocking(False)
                with suppress(BlockingIOError):
                    client.connect(str(path))
            with pytest.raises(ConfigurationError, match="another program has it"):
                open_unix_listener(path)
            assert path.exists()

    def test_a_regular_file_is_refused_and_left_alone(self, tmp_path: Path) -> None:
        path = tmp_path / "s"
        path.write_text("precious")
        with pytest.raises(ConfigurationError, match="not a socket"):
            open_unix_listener(path)
        assert path.read_text() == "precious"

    @pytest.mark.parametrize("name", ["missing/s", "x" * 200, "x" * 5000, "nul\0"])
    def test_a_path_that_cannot_be_is_an_error(self, tmp_path: Path, name: str) -> None:
        with pytest.raises(ConfigurationError, match="cannot listen on"):
            open_unix_listener(tmp_path / name)


class TestAccepting:
    @trio_test
    async def test_connections_come_ready_with_the_peers_address(self) -> None:
        (listener,) = await open_tcp_listeners("127.0.0.1", 0)
        accepted: list[tuple[socket.socket, str]] = []
        seen = trio.Event()

        def on_accept(sock: socket.socket, address: str) -> None:
            accepted.append((sock, address))
            if len(accepted) == 100:
                seen.set()

        with listener:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(accept_forever, listener, on_accept)
                clients = [socket.create_connection(listener.getsockname()) for _ in range(100)]
                with trio.fail_after(5):
                    await seen.wait()
                nursery.cancel_scope.cancel()
        for client in clients:
            client.close()
        for sock, address in accepted:
            assert address == "127.0.0.1"
            assert not sock.getblocking()
            assert sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)
            sock.close()

    @pytest.mark.req("RUN-54")
    @trio_test
    async def test_others_run_after_a_turn_of_accepting(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Many connections wait, and to take each of them takes more than half a turn."""
        (listener,) = await open_tcp_listeners("127.0.0.1", 0)
        now = 0.0
        passes: list[int] = []
        counted = Passes()
        seen = trio.Event()

        def on_accept(sock: socket.socket, _: str) -> None:
            nonlocal now
            now += 0.6 * TURN_S
            passes.append(counted.passes)
            sock.close()
            if len(passes) == 20:
                seen.set()

        monkeypatch.setattr(listeners, "perf_counter", lambda: now)
        with listener, ExitStack() as clients:
            for _ in range(20):
                clients.enter_context(socket.create_connection(listener.getsockname()))
            trio.lowlevel.add_instrument(counted)
            async with trio.open_nursery() as nursery:
                nursery.start_soon(accept_forever, listener, on_accept)
                with trio.fail_after(5):
                    await seen.wait()
                nursery.cancel_scope.cancel()
        assert max(passes.count(one) for one in passes) == 2

    @trio_test
    async def test_a_unix_peer_has_no_address(self, tmp_path: Path) -> None:
        accepted: list[str] = []
        seen = trio.Event()

        def on_accept(sock: socket.socket, address: str) -> None:
            accepted.append(address)
            sock.close()
            seen.set()

        with open_unix_listener(tmp_path / "s") as listener:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(accept_forever, listener, on_accept)
                with socket.socket(socket.AF_UNIX) as client:
                    client.connect(str(tmp_path / "s"))
                    with trio.fail_after(5):
                        await seen.wait()
                nursery.cancel_scope.cancel()
        assert accepted == [""]

    @pytest.mark.req("SYS-02")
    @trio_test
    async def test_whatever_fails_costs_that_connection_alone(
        self, monkeypatch: pytest.MonkeyPatch, mock_clock: MockClock
    ) -> None:
        mock_clock.autojump_threshold = 0.01
        (listener,) = await open_tcp_listeners("127.0.0.1", 0)
        accept, setsockopt = socket.socket.accept, socket.socket.setsockopt
        wait_readable = trio.lowlevel.wait_readable
        faults: dict[str, list[BaseException]] = {
            "wait": [OSError(errno.ENOSPC, "no watch"), OSError(errno.ENOMEM, "no memory")],
            "accept": [
                *(OSError(number, "x") for number in (errno.ENOMEM, errno.ENOBUFS, errno.EMFILE)),
                *(OSError(number, "x") for number in (errno.ECONNABORTED, errno.EPROTO)),
                OSError(errno.EINVAL, "who knows"),
                MemoryError(),
            ],
            "option": [OSError(errno.EINVAL, "reset"), OSError(errno.ENOBUFS, "no memory")],
            "taken": [OSError(errno.ENOSPC, "no watch"), MemoryError(), ValueError("TLS")],
        }
        wanted = 20 + len(faults["option"]) + len(faults["taken"])
        taken: list[socket.socket] = []
        all_taken = trio.Event()

        def fail(what: str) -> None:
            if faults[what]:
                raise faults[what].pop(0)

        async def failing_wait(sock: socket.socket) -> None:
            fail("wait")
            await wait_readable(sock)

        def failing_accept(sock: socket.socket) -> tuple[socket.socket, Any]:
            if sock is listener:
                fail("accept")
            return accept(sock)

        def failing_option(sock: socket.socket, *arguments: Any) -> None:
            if arguments[1] == socket.TCP_NODELAY:
                fail("option")
            setsockopt(sock, *arguments)

        def on_accept(sock: socket.socket, _: str) -> None:
            try:
                fail("taken")
            except BaseException:
                sock.close()
                raise
            taken.append(sock)
            if len(taken) == 20:
                all_taken.set()

        clients = [socket.create_connection(listener.getsockname()) for _ in range(wanted)]
        with monkeypatch.context() as patched, listener:
            patched.setattr(trio.lowlevel, "wait_readable", failing_wait)
            patched.setattr(socket.socket, "accept", failing_accept)
            patched.setattr(socket.socket, "setsockopt", failing_option)
            async with trio.open_nursery() as nursery:
                nursery.start_soon(accept_forever, listener, on_accept)
                with trio.fail_after(60):
                    await all_taken.wait()
                nursery.cancel_scope.cancel()
        assert not any(faults.values())
        ended = 0
        for client in clients:
            client.setblocking(False)
            with suppress(BlockingIOError), client:
                ended += client.recv(1) == b""
        assert ended == 5  # closed, not left open
        for sock in taken:
            sock.close()

    @pytest.mark.req("SYS-03")
    @trio_test
    async def test_failures_are_told_seldom_and_counted(
        self,
        caplog: pytest.LogCaptureFixture,
        monkeypatch: pytest.MonkeyPatch,
        mock_clock: MockClock,
    ) -> None:
        mock_clock.autojump_threshold = 0.01
        (listener,) = await open_tcp_listeners("127.0.0.1", 0)
        accept = socket.socket.accept

        def failing_accept(sock: socket.socket) -> tuple[socket.socket, Any]:
            if sock is listener:
                raise OSError(errno.ENOBUFS, "No buffer space available")
            return accept(sock)

        with listener, socket.create_connection(listener.getsockname()):
            monkeypatch.setattr(socket.socket, "accept", failing_accept)
            with trio.move_on_after(2.5 * TELL_S):
                await accept_forever(listener, lambda *_: None)
        told = [
            re.sub(r"\(1\d\d times", "(many times", record.getMessage())
            for record in caplog.records
        ]
        assert told == [
            "cannot accept connections: No buffer space available; trying again",
            *["cannot accept connections: No buffer space available; trying again"
              " (many times since the last line)"] * 2,
        ]  # fmt: skip

    def test_without_descriptors_it_waits_and_recovers(self) -> None:
        """In a process of its own, whose limit is lowered; clients are there before it runs out."""
        pytest.importorskip("resource")
        program = textwrap.dedent("""
            import os, resource, socket, time
            import trio
            from trio_socketio.runtime.listeners import accept_forever, open_tcp_listeners

            async def main():
                (listener,) = await open_tcp_listeners("127.0.0.1", 0)
                accepted = []
                clients = [socket.create_connection(listener.getsockname()) for _ in range(20)]
                taken = [os.dup(0) for _ in range(5)]
                highest = max(taken)
                for number in taken[1:]:
                    os.close(number)  # four are left below the limit
                resource.setrlimit(resource.RLIMIT_NOFILE, (highest + 1, 4096))
                async with trio.open_nursery() as nursery:
                    nursery.start_soon(
                        accept_forever, listener, lambda sock, _: accepted.append(sock)
                    )
                    await trio.sleep(0.3)
                    before, cpu = len(accepted), time.process_time()
                    assert 0 < before < 20, before
                    await trio.sleep(1)
                    assert len(accepted) == before
                    spent = time.process_time() - cpu
                    assert spent < 0.25, f"it spins: {spent} s"
                    resource.setrlimit(resource.RLIMIT_NOFILE, (256, 4096))
                    with trio.fail_after(5):
                        while len(accepted) < 20:
                            await trio.sleep(0.01)
                    nursery.cancel_scope.cancel()

            trio.run(main)
            print("recovered")
        """)
        result = subprocess.run(
            [sys.executable, "-c", program], capture_output=True, text=True, timeout=30, check=False
        )
        assert result.stdout == "recovered\n", result.stderr
        assert result.stderr.count("cannot accept connections") == 1
