"""A namespace with chat events, and clients that only remember what they were sent."""

import json
from collections.abc import Callable
from typing import Any, Final

from tests.im.identity.identified import ANN, BOB, STATIC
from tests.socketio.in_process import enter, session_of

from trio_socketio import Server, ServerOptions, Socket
from trio_socketio.im.chat import Chat, ChatOptions, Confirm, Permits
from trio_socketio.im.identity.options import IdentityOptions, StaticToken
from trio_socketio.im.identity.service import IdentityService
from trio_socketio.socketio.revisions import REVISION_4, REVISION_5

DEMO: Final = "/demo"
AT_MS: Final = 1_700_000_000_123
SEVEN: Final = "token-of-seven"
TOKENS: Final = {"ann": ANN, "bob": BOB, "7": SEVEN}
MESSAGE_KEYS: Final = ["ver", "meta", "evt", "id", "from", "at"]
OK: Final = {"errcode": 0, "errmsg": "ok"}


def message(**more: Any) -> dict[str, Any]:
    """A message as the original client writes it."""
    return {"ver": "1.0.0", "meta": '{"text": "hello"}', "evt": "chat/rooms", "id": "m1", **more}


class Scene:
    """A server, its chat, and clients.

    Args:
        permits, confirm: as those of Chat.
        options: of the server.
        chat: options of the chat.
    """

    def __init__(
        self,
        *,
        permits: Permits | None = None,
        confirm: Confirm | None = None,
        options: ServerOptions | None = None,
        asks: bool = True,
        before: Callable[[Server], None] = lambda server: None,
        **chat: Any,
    ) -> None:
        self.server = Server(options or ServerOptions(allow_eio3=True))
        self.server.of(DEMO)
        before(self.server)
        if asks:
            tokens = (*STATIC, StaticToken(user="7", token=SEVEN))
            IdentityService(self.server, IdentityOptions(tokens=tokens))
        chat.setdefault("namespaces", (DEMO,))
        self.chat = Chat(
            self.server,
            ChatOptions(**chat),
            permits=permits,
            confirm=confirm,
            clock=lambda: AT_MS / 1000,
        )

    def enter(
        self, user: str | None = "ann", *, old: bool = False, namespace: str = DEMO
    ) -> Socket:
        """A client; an old one speaks the revision of clients 2.x."""
        auth = None if user is None else {"token": TOKENS[user]}
        revision = REVISION_4 if old else REVISION_5
        return enter(self.server.of(namespace), auth=auth, revision=revision)

    def member(self, user: str = "ann", room: str = "r1", *, old: bool = False) -> Socket:
        """A client that is in a room."""
        socket = self.enter(user, old=old)
        socket.join(room)
        return socket


def emit(socket: Socket, event: str, *arguments: Any) -> list[list[Any]]:
    """Have a client emit an event that asks for no answer; return what it is sent."""
    socket._open_events().receive(socket, [event, *arguments], None)
    return events_of(socket)


def ask(socket: Socket, event: str, *arguments: Any) -> Any:
    """Have a client emit an event; return the acknowledgement. Events that it is sent are kept."""
    socket._open_events().receive(socket, [event, *arguments], 5)
    sent = session_of(socket).sent
    prefix = f"43{socket.namespace.name},5".encode()
    (answer,) = [one for one in sent if one.text.startswith(prefix)]
    sent.remove(answer)
    (told,) = json.loads(answer.text[len(prefix) :])
    return told


def events_of(socket: Socket) -> list[list[Any]]:
    """Return the events that a client was sent since this was called last."""
    sent = session_of(socket).sent
    prefix = f"42{socket.namespace.name},".encode()
    events = [json.loads(one.text[len(prefix) :]) for one in sent if one.text.startswith(prefix)]
    assert len(events) == len(sent), [one.text for one in sent]
    sent.clear()
    return events


def told(errmsg: str, errcode: int = 2) -> list[list[Any]]:
    """What a client is sent whose event is refused."""
    return [["logic/error", {"errcode": errcode, "errmsg": errmsg}]]
