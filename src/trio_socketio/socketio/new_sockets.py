"""Makes the socket of a client that is joining."""

from typing import TYPE_CHECKING, Any

from trio_socketio.socketio.revisions import name_socket
from trio_socketio.socketio.socket import Socket

if TYPE_CHECKING:
    from trio_socketio.socketio.entrance import Candidate, Hall
    from trio_socketio.socketio.saved_session import SavedSession


def create_socket(
    client: "Candidate", namespace: "Hall", auth: dict[str, Any], restored: "SavedSession | None"
) -> Socket:
    """Return a socket that is in no room yet."""
    if restored is not None:
        socket_id = restored.id  # JOIN-18
    elif client.revision.names_sockets:
        socket_id = name_socket(namespace.name, client.session.sid)
    else:
        socket_id = client.host.draw_id()  # SIO5-04, SIO5-34
    return Socket(namespace, client, socket_id, auth, restored)
