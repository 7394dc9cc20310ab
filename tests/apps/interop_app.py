"""The app of tests/interop: what the official clients need to prove that both sides agree.

Every event of "/" has one purpose; where an answer is possible it is the acknowledgement.

    trio-socketio serve --app tests/apps/interop_app.py:create
"""

import re
from typing import Any

import trio

from trio_socketio import (
    AckTimeout,
    ConnectRefused,
    EventRefused,
    Server,
    ServerOptions,
    Session,
    SessionClosed,
)

LOBBY = "lobby"


def create(options: ServerOptions) -> Server:
    """Build the server with all its namespaces."""
    sio = Server(options)
    _add_connection(sio)
    _add_payloads(sio)
    _add_acks(sio)
    _add_rooms(sio)
    _add_disconnects(sio)
    _add_streams(sio)
    _add_chat(sio)
    _add_admin(sio)
    _add_surface(sio)
    _add_volatile(sio)
    watchers: dict[str, Session] = {}
    sio.mount("/engine/", lambda session: Echo(session, watchers))
    return sio


class Echo:
    """Bare Engine.IO: every message comes back; a few do something beside.

    Args:
        session: whose messages they are.
        watchers: sid -> the session that is told when it ends.
    """

    def __init__(self, session: Session, watchers: dict[str, Session]) -> None:
        self.session = session
        self.watchers = watchers

    def receive_text(self, packet: bytes) -> None:
        self.session.send_text(packet[1:])
        match packet[1:].decode().split():
            case ["close"]:
                self.session.close()
            case ["watch", sid]:
                self.watchers[sid] = self.session

    def receive_binary(self, data: bytes) -> None:
        self.session.send_binary(data)

    def session_closed(self, reason: str) -> None:
        watcher = self.watchers.pop(self.session.sid, None)
        if watcher is not None:
            watcher.send_text(f"{self.session.sid} {reason}".encode())

    def next_deadline(self) -> float:
        return float("inf")

    def expire(self, now: float) -> None:
        pass


def watchers_of(socket_id: str) -> str:
    """Return the room of those who want to know what becomes of a socket."""
    return f"watchers of {socket_id}"


def describe(value: Any) -> Any:
    """Say what the server received, in JSON: binary shows as its length and hexadecimal text."""
    match value:
        case bytes():
            return {"binary": value.hex(), "length": len(value)}
        case list() | tuple():
            return [describe(item) for item in value]
        case dict():
            return {key: describe(item) for key, item in value.items()}
        case _:
            return value


def _add_connection(sio: Server) -> None:
    @sio.use
    def refuse_revoked_tokens(socket: Any) -> None:
        if socket.handshake.auth.get("token") == "revoked":
            raise ConnectRefused("token revoked", data={"code": 4011, "retry": False})
        socket.data["checked"] = True

    @sio.on("connection")
    def connected(socket: Any) -> None:
        # Emitted before anything else: the first packet after the CONNECT answer.
        socket.emit("welcome", socket.handshake.auth)

    @sio.on("whoami")
    def whoami(socket: Any) -> dict[str, Any]:
        return {
            "id": socket.id,
            "auth": socket.handshake.auth,
            "color": socket.handshake.query.get("color"),
            "rooms": sorted(socket.rooms),
            "checked": socket.data["checked"],
        }


def _add_payloads(sio: Server) -> None:
    @sio.on("echo")
    def echo(socket: Any, *args: Any) -> tuple[Any, ...]:
        return args

    @sio.on("say")
    def say(socket: Any, *args: Any) -> None:
        socket.emit("said", *args)

    @sio.on("describe")
    def described(socket: Any, *args: Any) -> Any:
        return describe(args)

    @sio.on("make_binary")
    def make_binary(socket: Any, sizes: list[int]) -> None:
        parts = [bytes(index % 256 for index in range(size)) for size in sizes]
        socket.emit("binary", {"parts": parts, "deep": [{"first": parts[0]}, None]}, parts[-1])


def _add_acks(sio: Server) -> None:
    @sio.on("ask")
    async def ask(socket: Any, question: Any, timeout_s: float) -> dict[str, Any]:
        try:
            answer = await socket.emit_with_ack("question", question, timeout_s=timeout_s)
        except AckTimeout:
            return {"error": "timeout"}
        return {"answer": answer}

    @sio.on("ask_and_announce", concurrent=True)
    async def ask_and_announce(socket: Any, question: Any, timeout_s: float) -> None:
        # For a client that goes away meanwhile: others learn how the wait ended.
        try:
            await socket.emit_with_ack("question", question, timeout_s=timeout_s)
            outcome = "answered"
        except AckTimeout:
            outcome = "timeout"
        except SessionClosed:
            outcome = "closed"
        sio.to(watchers_of(socket.id)).emit("ask_ended", outcome)

    @sio.on("slow")
    async def slow(socket: Any, delay_s: float) -> str:
        await trio.sleep(delay_s)
        return "late"


def _add_rooms(sio: Server) -> None:
    @sio.on("join")
    def join(socket: Any, room: str) -> list[str]:
        socket.join(room)
        return sorted(socket.rooms - {socket.id})

    @sio.on("leave")
    def leave(socket: Any, room: str) -> list[str]:
        socket.leave(room)
        return sorted(socket.rooms - {socket.id})

    @sio.on("to_others")
    def to_others(socket: Any, room: str, *args: Any) -> bool:
        socket.to(room).emit("room", *args)
        return True

    @sio.on("to_others_by_exception")
    def to_others_by_exception(socket: Any, room: str, *args: Any) -> bool:
        sio.to(room).except_(socket.id).emit("room", *args)
        return True

    @sio.on("to_room")
    def to_room(socket: Any, room: str, *args: Any) -> bool:
        sio.in_(room).emit("room", *args)
        return True

    @sio.on("to_everybody")
    def to_everybody(socket: Any, *args: Any) -> bool:
        sio.emit("everybody", *args)
        return True


def _add_disconnects(sio: Server) -> None:
    @sio.on("watch")
    def watch(socket: Any, socket_id: str) -> bool:
        socket.join(watchers_of(socket_id))
        return True

    @sio.on("kick_me")
    def kick_me(socket: Any, close: bool) -> None:
        socket.disconnect(close=close)

    @sio.on("disconnecting")
    def disconnecting(socket: Any, reason: str) -> None:
        rooms = sorted(socket.rooms - {socket.id})
        sio.to(watchers_of(socket.id)).emit("leaving", reason, rooms)

    @sio.on("disconnect")
    def disconnect(socket: Any, reason: str) -> None:
        sio.to(watchers_of(socket.id)).emit("gone", reason)


def _add_streams(sio: Server) -> None:
    @sio.on("burst")
    def burst(socket: Any, count: int) -> None:
        for number in range(count):
            socket.emit("burst", number)

    @sio.on("ticks", concurrent=True)
    async def ticks(socket: Any, count: int, interval_s: float) -> int:
        for number in range(count):
            socket.emit("tick", number)
            await trio.sleep(interval_s)
        return count


def _add_chat(sio: Server) -> None:
    chat = sio.of("/chat")

    @chat.on("connection")
    def connected(socket: Any) -> None:
        socket.join(LOBBY)

    @chat.on("name")
    def name(socket: Any) -> dict[str, Any]:
        return {"namespace": "/chat", "id": socket.id, "auth": socket.handshake.auth}

    @chat.on("message")
    def message(socket: Any, text: str) -> str:
        chat.to(LOBBY).except_(socket.id).emit("message", text)
        return "ok"


def _add_admin(sio: Server) -> None:
    admin = sio.of("/admin")

    @admin.use
    async def only_admins(socket: Any) -> None:
        await trio.sleep(0.01)  # the answer comes from somewhere else
        if socket.handshake.auth.get("role") != "admin":
            raise ConnectRefused("admins only", data={"needed": ["admin"], "seen": None})

    @admin.on("name")
    def name(socket: Any) -> dict[str, Any]:
        return {"namespace": "/admin", "id": socket.id}


def _add_surface(sio: Server) -> None:
    rooms = sio.of(re.compile(r"/room-\d+"))
    rooms.on("where")(lambda socket: socket.namespace.name)

    @rooms.on("to all rooms")
    def to_all_rooms(socket: Any, text: str) -> bool:
        rooms.emit("all", text)
        return True

    def check(packet: list[Any]) -> None:
        if packet == ["say", "forbidden"]:
            raise EventRefused
        packet[1] += ", checked"

    guarded = sio.of("/guarded")
    guarded.on("connection")(lambda socket: socket.use(check))
    guarded.on("say")(lambda _, text: text)

    @sio.on("poll", concurrent=True)
    async def poll(socket: Any, room: str, question: str, timeout_s: float) -> dict[str, Any]:
        try:
            answers = await sio.to(room).timeout(timeout_s).emit_with_ack("question", question)
        except AckTimeout as error:
            return {"answers": error.responses, "missing": True}
        return {"answers": answers, "missing": False}


def _add_volatile(sio: Server) -> None:
    @sio.on("say_volatile")
    def say_volatile(socket: Any, *args: Any) -> bool:
        socket.volatile.emit("said", *args)
        return True

    @sio.on("to_room_volatile")
    def to_room_volatile(socket: Any, room: str, *args: Any) -> bool:
        sio.to(room).volatile.emit("room", *args)
        return True

    @sio.on("flood", concurrent=True)
    async def flood(socket: Any, count: int, size: int) -> int:
        for number in range(count):
            socket.volatile.emit("flood", number, "x" * size)
            await trio.sleep(0.001)
        return count
