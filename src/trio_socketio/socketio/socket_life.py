"""Takes sockets into their namespaces and out of them. The table is in protocol/socket_life.py."""

import logging
from typing import TYPE_CHECKING, Final

from trio_socketio.protocol.socket_life import Life
from trio_socketio.socketio.socket_recovery import RECOVERABLE, Saving

if TYPE_CHECKING:
    from trio_socketio.socketio.socket import Socket

log = logging.getLogger(__name__)

_ASKING: Final = Life.ASKING
_JOINED: Final = Life.JOINED
_LEFT: Final = Life.LEFT

# -- coming


def accept(socket: "Socket") -> None:
    """Tell a client that it is connected before it has joined (JOIN-20).

    What is emitted to its socket alone reaches it, but the socket is in no room yet.
    """
    socket._membership.accept()
    socket._participant.accept(socket)


def enter(socket: "Socket") -> None:
    """Tell a client that it is connected, and put its socket into the namespace and early rooms.

    The CONNECT leaves first, so the client has it before anything that a handler or a broadcast
    sends (SIO5-14).

    Raises:
        Exception: whatever the adapter raises; the socket is in no room then.
    """
    membership, namespace, recovery = socket._membership, socket.namespace, socket._recovery
    if not socket._auth:
        socket._auth = None  # an empty dict would take 64 bytes for each idle socket
    if membership.life is _ASKING:
        socket._participant.accept(socket)
    early = membership.enter()
    if recovery is not None:
        # RECOVER-02: after the CONNECT, as clients drop events of namespaces that they are not in,
        # and before the socket can get anything new.
        recovery.catch_up(socket.session)
    namespace.rooms.enter(socket)
    if early:
        try:
            for room in early:
                namespace.adapter.add(socket, room)
        except BaseException:  # JOIN-15
            namespace.adapter.remove_all(socket)
            raise
    if socket._outgoing is not None:
        namespace._overheard.add(socket)
    if membership.life is _LEFT:  # a hook of a room has disconnected it
        namespace.adapter.remove_all(socket)
    elif recovery is not None:
        recovery.entered(socket.rooms)


def stay_out(socket: "Socket", reason: str) -> None:
    """Note that a socket will not join: it was refused, or its client has left."""
    socket._membership.leave(reason)
    if socket._acks is not None:
        socket._acks.fail(socket._closed())


# -- going


def put_out(socket: "Socket", reason: str) -> None:
    """Tell a client that it is disconnected, and close its socket."""
    socket.session.send(socket.namespace._packets.encode_disconnect())  # SIO5-32
    close(socket, reason)


def close(socket: "Socket", reason: str) -> None:
    """Make a socket leave every room at once, so that it receives no more broadcasts.

    The rest is done by leave_namespace when the batch is done: handlers of the client's earlier
    events are queued before those of "disconnect".
    """
    if socket._membership.life is _JOINED:
        socket._membership.leave(reason)
        # First: whatever fails from here on, the participant must forget the socket. Otherwise it
        # would defer packets for this namespace in every turn for ever.
        socket._participant.departs(socket)
        _leave_rooms(socket)


def lose(socket: "Socket", reason: str) -> None:
    """Have a socket leave whose session has ended. Called after the batch."""
    if socket._membership.life is _JOINED:
        socket._membership.leave(reason)
        _leave_rooms(socket)
        leave_namespace(socket)


def leave_namespace(socket: "Socket") -> None:
    """Fail the questions that wait for a socket, then dispatch its disconnect handlers."""
    name, reason = socket.namespace.name, socket._membership.reason
    log.debug("%s: socket %s has left %r: %s", socket.session, socket.public_id, name, reason)
    socket._participant.forget(socket)
    if socket._acks is not None:
        socket._acks.fail(socket._closed())
    for event in ("disconnecting", "disconnect"):
        handler = socket.namespace._registry.handlers.get(event)
        if handler is not None:
            socket._open_events().dispatch(handler, [socket, socket._membership.reason])
    socket.namespace._end_if_deserted()


def _leave_rooms(socket: "Socket") -> None:
    namespace = socket.namespace
    socket._membership.freeze(socket.id)
    try:
        namespace.adapter.remove_all(socket)
    except BaseException as error:  # of a program's adapter: the socket leaves all the same
        namespace.rooms.remove_all(socket)
        namespace._workers.log_failure("the adapter", socket.public_id, error)
    if socket._outgoing is not None:
        namespace._overheard.discard(socket)
    recoverable = _save(socket)
    observers = namespace._registry.observers
    if observers.all:  # JOIN-16: now, not when the handlers have ended
        observers.left(socket, socket._membership.reason, recoverable)


def _save(socket: "Socket") -> bool:
    """Save what the client needs to come back. Returns whether it may."""
    namespace, recovery = socket.namespace, socket._recovery
    if recovery is None or socket._membership.reason not in RECOVERABLE:  # RECOVER-06
        return False
    rooms = socket.rooms - {socket.id}
    session = recovery.save(socket.id, namespace.name, rooms, socket.data)
    timeout_s = socket._participant.host.options.engine.hook_timeout_s
    namespace._workers.submit(Saving(namespace.adapter, session, timeout_s))
    return True
