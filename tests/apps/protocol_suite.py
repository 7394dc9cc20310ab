"""The app of the published protocol test suites."""

from typing import Any

from trio_socketio import Server, ServerOptions, Session, Socket


class Echo:
    """Bare Engine.IO: every message comes back."""

    def __init__(self, session: Session) -> None:
        self.session = session

    def receive_text(self, packet: bytes) -> None:
        self.session.send_text(packet[1:])

    def receive_binary(self, data: bytes) -> None:
        self.session.send_binary(data)

    def session_closed(self, reason: str) -> None:
        pass

    def next_deadline(self) -> float:
        return float("inf")

    def expire(self, now: float) -> None:
        pass


def create(options: ServerOptions) -> Server:
    sio = Server(options)
    sio.mount("/engine.io/", Echo)
    for namespace in (sio.of("/"), sio.of("/custom")):

        @namespace.on("connection")
        def connected(socket: Socket) -> None:
            socket.emit("auth", socket.handshake.auth)

        @namespace.on("message")
        def message(socket: Socket, *arguments: Any) -> None:
            socket.emit("message-back", *arguments)

        @namespace.on("message-with-ack")
        def message_with_ack(_: Socket, *arguments: Any) -> tuple[Any, ...]:
            return arguments

    return sio
