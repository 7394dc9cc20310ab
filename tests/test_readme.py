"""Programs of the README do what the text beside them says."""

import re
from pathlib import Path
from typing import Any, Final

import pytest
from trio.testing import trio_test

from tests.socketio.serving import serving, until
from trio_socketio import ConnectRefused, JoiningState, Server, Step, open_client

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
