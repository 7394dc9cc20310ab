"""One session for each user in /chat; users are who they say they are."""

from trio_socketio import Joining, JoiningState, Server, ServerOptions, Socket, Step
from trio_socketio.im.presence import Presence


def create(options: ServerOptions) -> Server:
    """See trio_socketio.app."""
    sio = Server(options)
    chat = sio.of("/chat")

    def identify(joining: Joining) -> None:
        joining.identify(joining.auth["user"])

    @chat.on("census")
    async def census(socket: Socket) -> list[int]:
        online = await presence.store.count("/chat")
        return [len(socket.namespace.sockets), online.users]

    chat.add_steps([Step(JoiningState.AUTHENTICATING, identify)])
    presence = Presence(sio)
    presence.seat("/chat", policy="newest")
    return sio
