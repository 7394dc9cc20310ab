"""Programs of the README do what the text beside them says."""

import re
from pathlib import Path
from typing import Any, Final

import pytest
import trio
from trio.testing import trio_test

from tests.control.serving import controlled
from tests.socketio.serving import serving, until
from trio_socketio import ConnectRefused, JoiningState, Server, Step, open_client
from trio_socketio.control import BackendOptions, ForwardedEvents

README: Final = Path(__file__).resolve().parents[1] / "README.md"


def program(part: str) -> str:
    """The program of the README that has this part in it."""
    (found,) = [
        code
        for code in re.findall(r"```python\n(.*?)```", README.read_text(), re.DOTALL)
        if part in code
    ]
    return str(found)


@trio_test
async def test_a_seat_is_given_back() -> None:
    sio = Server()
    names: dict[str, Any] = {"sio": sio}
    exec(program("take_seat"), names)
    free: dict[str, int] = names["free"]
    async with serving(sio) as port:
        url = f"http://127.0.0.1:{port}"
        async with open_client(url, namespaces="/table"):
            assert free == {"/table": 3}
            async with (
                open_client(url, namespaces="/table"),
                open_client(url, namespaces="/table"),
                open_client(url, namespaces="/table"),
            ):
                with pytest.raises(ConnectRefused, match="the table is full"):
                    async with open_client(url, namespaces="/table"):
                        raise AssertionError
                assert free == {"/table": 0}
            await until(lambda: free == {"/table": 3})

        async def refuse(_: Any) -> None:
            assert free == {"/table": 3}  # the step before has taken a seat
            raise ConnectRefused("not today")

        await until(lambda: free == {"/table": 4})
        sio.of("/table").add_steps([Step(JoiningState.SEAT, refuse)])
        with pytest.raises(ConnectRefused, match="not today"):
            async with open_client(url, namespaces="/table"):
                raise AssertionError
        assert free == {"/table": 4}


@trio_test
async def test_the_backends_of_the_control_socket(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    forward = BackendOptions(forward=(ForwardedEvents(),))
    async with controlled(tmp_path, backends=forward) as where, where.client() as (client, _):
        await trio.to_thread.run_sync(run_at, "ControlClient", where.address)
        assert "0 clients were reached; there is no {'rooms': ['lobby']}" in capsys.readouterr().out
        names = run_at("await control.register", where.address)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(names["main"])
            await until(lambda: len(where.service._backends) == 1)
            await client.emit("order", 7, ack_id=1)
            assert (await client.receive())[0] == '31["ok"]'
            assert " in /: [7]" in capsys.readouterr().out
            for peer in tuple(where.service._hub.peers):
                peer.close("for the test")
        assert "has ended: the server has closed the connection" in capsys.readouterr().out


def run_at(part: str, address: str) -> dict[str, Any]:
    """Run a program of the README with another address; what it has defined."""
    names: dict[str, Any] = {}
    exec(program(part).replace("unix:/run/chat/control.sock", address), names)
    return names
