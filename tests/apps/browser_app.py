"""The app of tests/browser: that of tests/interop, and what only a browser's page can prove.

trio-socketio serve --app tests/apps/browser_app.py:create
"""

from tests.apps import interop_app

from trio_socketio import Server, ServerOptions, Socket


def create(options: ServerOptions) -> Server:
    sio = interop_app.create(options)

    @sio.on("header")
    def header(socket: Socket, name: str) -> str | None:
        return socket.handshake.headers.get(name)

    @sio.on("drop_me")
    def drop_me(socket: Socket) -> None:
        # As a failing network does: the client comes back by itself.
        socket.session.close()

    return sio
