"""What peers are told that send too much, or speak another protocol than is spoken there."""

from functools import partial
from pathlib import Path

import pytest
import trio
import trustme
from tests.control.serving import SECRET, controlled, peer, write_token
from trio.testing import trio_test

from trio_socketio import ConnectFailed, LocalProtocolError, TcpEndpoint
from trio_socketio.codec.json_rpc import Code
from trio_socketio.control import ControlClient, ControlToken, open_control
from trio_socketio.control.api import BackendEvent
from trio_socketio.control.options import BackendOptions, ForwardedEvents

TCP = "tcp:127.0.0.1:0"


@pytest.fixture(scope="module")
def authority() -> trustme.CA:
    return trustme.CA()


async def failure_of_both(address: str, error: type[Exception]) -> set[str]:
    """Call a method with either client; return the messages of the errors."""
    told = set()
    with pytest.raises(error) as caught:
        async with open_control(address, token=SECRET, timeout_s=5) as control:
            await control.call("system.info")
    told.add(str(caught.value))
    blocking = ControlClient(address, token=SECRET, timeout_s=5)
    with blocking, pytest.raises(error) as caught:
        await trio.to_thread.run_sync(blocking.call, "system.info")
    return told | {str(caught.value)}


def tokens(folder: Path) -> tuple[ControlToken, ...]:
    return (ControlToken(name="ops", file=write_token(folder)),)


@pytest.mark.req("CONTROL-20")
@trio_test
async def test_a_peer_is_told_how_long_a_line_may_be(tmp_path: Path) -> None:
    async with controlled(tmp_path, max_line_bytes=2000) as where:
        for end in (b"", b"\n"):
            async with peer(where) as raw:
                await raw.stream.send_all(b"x" * 500_000 + end)
                answer = await raw.receive()
                assert answer["id"] is None
                assert answer["error"]["code"] == Code.TOO_LARGE
                assert answer["error"]["message"] == "a line may have at most 2000 bytes"
                assert answer["error"]["data"] == {"retryable": False, "max_line_bytes": 2000}
                assert await raw.is_closed()


@pytest.mark.req("CONTROL-28")
@trio_test
async def test_clients_send_no_line_that_is_too_long(tmp_path: Path) -> None:
    params = {"event": "e", "args": ["x" * 3000], "all": True}
    says = r"3\d\d\d bytes, and the server accepts at most 2000 \(\[control\] max_line_bytes"
    async with (
        controlled(tmp_path, max_line_bytes=2000) as where,
        open_control(where.address) as control,
    ):
        with pytest.raises(LocalProtocolError, match=says):
            await control.call("emit", params)
        with pytest.raises(LocalProtocolError, match=says):
            await control.notify("emit", params)
        assert (await control.call("system.info"))["pid"] == 1  # the connection lives on
        with ControlClient(where.address) as blocking:

            def use() -> None:
                for _ in range(2):
                    with pytest.raises(LocalProtocolError, match=says):
                        blocking.call("emit", params)
                assert blocking.call("system.info")["pid"] == 1

            await trio.to_thread.run_sync(use)
        assert len(where.service._peers) <= 2


@pytest.mark.req("CONTROL-28")
@trio_test
async def test_a_result_of_a_backend_that_is_too_long_is_an_error(tmp_path: Path) -> None:
    def handle(event: BackendEvent) -> str:
        return "x" * 3000

    forward = BackendOptions(forward=(ForwardedEvents(),))
    async with (
        controlled(tmp_path, max_line_bytes=2000, backends=forward) as where,
        where.client() as (client, _),
        open_control(where.address) as control,
    ):
        await control.register(handle)
        await client.emit("a")
        _, told = await client.receive_event()
        assert "the server accepts at most 2000" in told["message"]
        assert (await control.call("system.info"))["pid"] == 1


@pytest.mark.req("CONTROL-52")
@trio_test
async def test_tls_where_none_is_spoken(tmp_path: Path) -> None:
    async with controlled(tmp_path, listen=(TCP,), tokens=tokens(tmp_path)) as where:
        at = f"127.0.0.1:{where.tcp_port}"
        for told in await failure_of_both(f"tls:{at}", ConnectFailed):
            assert told.startswith(f"cannot connect to tls:{at}: ")
            assert told.endswith(f"; if it does not speak TLS, write tcp:{at}")


@pytest.mark.req("CONTROL-52")
@trio_test
async def test_no_tls_where_it_is_spoken(tmp_path: Path, authority: trustme.CA) -> None:
    chain = tmp_path / "chain"
    authority.issue_cert("localhost").private_key_and_cert_chain_pem.write_to_path(str(chain))
    async with controlled(
        tmp_path,
        listen=(TCP,),
        tokens=tokens(tmp_path),
        certfile=str(chain),
        auth_timeout_s=0.5,
    ) as where:
        at = f"127.0.0.1:{where.tcp_port}"
        for told in await failure_of_both(f"tcp:{at}", ConnectFailed):
            assert told.startswith(f"tcp:{at} does not greet like a control socket: ")
            assert told.endswith(f"; if it speaks TLS, write tls:{at}")


@pytest.mark.req("CONTROL-52")
@trio_test
async def test_a_port_that_speaks_http(tmp_path: Path) -> None:
    async def answer(stream: trio.SocketStream) -> None:
        await stream.send_all(b"HTTP/1.1 408 Request Timeout\r\n\r\n")

    async with trio.open_nursery() as nursery:
        (listener,) = await nursery.start(partial(trio.serve_tcp, answer, 0, host="127.0.0.1"))
        port = listener.socket.getsockname()[1]
        for told in await failure_of_both(f"tcp:127.0.0.1:{port}", ConnectFailed):
            assert "it speaks HTTP, so it is not a control socket" in told
        nursery.cancel_scope.cancel()


@trio_test
async def test_a_port_that_says_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("trio_socketio.control.sync_client.GREETING_S", 0.2)
    async with TcpEndpoint(port=0).listen() as (listener,):
        at = f"tcp:127.0.0.1:{listener.getsockname()[1]}"
        blocking = ControlClient(at, timeout_s=60)
        with blocking, pytest.raises(ConnectFailed, match=f"{at} does not .* it has sent nothing;"):
            await trio.to_thread.run_sync(blocking.call, "system.info")
        with pytest.raises(ConnectFailed, match=r"nothing for 0\.2 s; if it speaks TLS"):
            async with open_control(at, timeout_s=0.2):
                raise AssertionError


@pytest.mark.req("CONTROL-27")
@pytest.mark.parametrize("method", ["GET", "POST"])
@trio_test
async def test_http_on_the_control_socket(
    tmp_path: Path, method: str, caplog: pytest.LogCaptureFixture
) -> None:
    async with controlled(tmp_path) as where, peer(where) as raw:
        call = '{"jsonrpc":"2.0","method":"system.drain","id":1}'
        await raw.send(f"{method} /rpc HTTP/1.1\r\nHost: a\r\n\r\n{call}")
        answer = await raw.receive()
        assert "POST /rpc on the admin port" in answer["error"]["message"]
        with pytest.raises(EOFError):
            await raw.receive()
        assert where.system.drained == 0  # what follows is not read
        assert "is disconnected: it speaks HTTP" in caplog.text
