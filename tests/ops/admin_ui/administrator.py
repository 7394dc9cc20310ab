"""An administrator: a client in the namespace of the Admin UI that sees every packet."""

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import bcrypt
import trio
from tests import wire
from tests.wire import ConnectionEnded, SocketIOClient

from trio_socketio import Server
from trio_socketio.ops.admin_ui import AdminUI, AdminUIOptions

PASSWORD = "correct horse"
PASSWORD_HASH = bcrypt.hashpw(PASSWORD.encode(), bcrypt.gensalt(4)).decode()
LOGIN = {"username": "ops", "password": PASSWORD}


class Refused(Exception):
    """The administrator was not let in; the message says why."""


class Administrator:
    """Collects what it is told.

    Args:
        client: the client.
        namespace: that of the Admin UI.

    Attributes:
        told: the packets in their order: "CONNECT", or the name of an event and its arguments.
    """

    def __init__(self, client: SocketIOClient, namespace: str) -> None:
        self.client = client
        self.told: list[list[Any]] = []
        self.id = ""
        self._namespace = namespace
        self._read = 0

    async def _receive(self) -> list[Any]:
        text, _ = await self.client.receive()
        kind, _, body = text.partition(f"{self._namespace},")
        packet: list[Any]
        if kind == "0":
            self.id = json.loads(body)["sid"]
            packet = ["CONNECT"]
        elif kind == "4":
            raise Refused(json.loads(body)["message"])
        elif text == f"1{self._namespace},":
            raise ConnectionEnded(None)
        else:
            assert kind == "2", text
            packet = json.loads(body)
        self.told.append(packet)
        return packet

    async def wait(self, event: str) -> list[Any]:
        """Return the arguments of the next event of this name that was not returned yet."""
        with trio.fail_after(10):
            while True:
                while self._read < len(self.told):
                    self._read += 1
                    if self.told[self._read - 1][0] == event:
                        return self.told[self._read - 1][1:]
                await self._receive()

    async def wait_of(self, event: str, *first: Any) -> list[Any]:
        """Return the next such event whose arguments begin so."""
        while True:
            arguments = await self.wait(event)
            if arguments[: len(first)] == [*first]:
                return arguments

    async def send(self, *arguments: Any) -> None:
        await self.client.emit(*arguments, namespace=self._namespace)

    def names(self) -> list[str]:
        return [name for name, *_ in self.told]


@asynccontextmanager
async def open_admin(
    port: int, auth: Any = None, transport: str = "websocket", namespace: str = "/admin"
) -> AsyncIterator[Administrator]:
    """Connect, and wait until the server has let the administrator in.

    Raises:
        Refused: it has not.
    """
    async with wire.open_client(port, transport) as client:
        admin = Administrator(client, namespace)
        payload = "" if auth is None else json.dumps(auth)
        await client.send(f"0{namespace},{payload}")
        await admin.wait("CONNECT")
        yield admin


async def refusal(port: int, auth: Any) -> str:
    """Return what somebody is told who is not let in."""
    try:
        async with open_admin(port, auth):
            raise AssertionError("let in")
    except Refused as error:
        return str(error)


def instrument(server: Server, **options: Any) -> AdminUI:
    """Give a server an Admin UI that lets everybody in, unless the options say otherwise."""
    return AdminUI(server, AdminUIOptions(**{"auth": "none", **options}))


def with_password(server: Server, **options: Any) -> AdminUI:
    """Give a server an Admin UI with a password."""
    return instrument(
        server, **{"auth": "basic", "username": "ops", "password_hash": PASSWORD_HASH, **options}
    )
