"""The claims of one node, on their way into the store and out of it."""

from typing import TYPE_CHECKING, Final

import trio

from trio_socketio.protocol.claim_life import Input, State, advance
from trio_socketio.protocol.presence_claims import ClaimRef

if TYPE_CHECKING:
    from trio_socketio.protocol.presence_cursor import Cursor
    from trio_socketio.socketio.socket import Socket

REPLACED_EVENT: Final = "session/replaced"
"""Tells a client why it is put out of the namespace; the DISCONNECT follows."""


class Claim:
    """A client's claim of a seat. The table of its states is in protocol/claim_life.py.

    Args:
        socket: of the client.
        user: who the client is.
        attempt: a number that the node uses for no other claim.

    Attributes:
        attempt: see above.
        ended_by: why others have ended it; empty if they have not.
        id: the public id of the socket.
        left_by: why the client was lost, or is put out; empty otherwise.
        place: the name of the namespace, and the user.
        saved_until: when the session of its client expires, if that was lost, on trio's clock.
        socket: None once the client has left.
        state: changed by this object alone.
        token: as the store gave it; None before.
        until: when its time to linger ends, on trio's clock.
    """

    __slots__ = (
        "_in_step",
        "_scope",
        "attempt",
        "ended_by",
        "id",
        "left_by",
        "place",
        "saved_until",
        "socket",
        "state",
        "token",
        "until",
    )

    def __init__(self, socket: "Socket", user: str, attempt: int) -> None:
        self.attempt = attempt
        self.place = socket.namespace.name, user
        self.id = socket.public_id
        self.socket: Socket | None = socket
        self.state = State.ASKING
        self.token: Cursor | None = None
        self.ended_by = ""
        self.left_by = ""
        self.until = 0.0
        self.saved_until = 0.0
        self._in_step = True  # the step of joining that has made it is at work
        self._scope: trio.CancelScope | None = None  # of what the step waits for

    def __repr__(self) -> str:
        return f"<Claim of {self.user!r} in {self.namespace}, {self.state.name}>"

    @property
    def namespace(self) -> str:
        """The name of the namespace."""
        return self.place[0]

    @property
    def user(self) -> str:
        """The user of the client."""
        return self.place[1]

    def move(self, event: Input) -> None:
        """Apply an input of the table."""
        self.state = advance(self.state, event)

    def refer(self, boot: str) -> ClaimRef:
        """Name it to the store."""
        return ClaimRef(
            namespace=self.namespace,
            user=self.user,
            boot=boot,
            attempt=self.attempt,
            token=self.token,
        )

    def open_wait(self, deadline: float) -> trio.CancelScope:
        """Return the scope of what its step of joining waits for; eviction cancels it.

        Args:
            deadline: of the scope, on trio's clock.
        """
        self._scope = trio.CancelScope(deadline=deadline)
        return self._scope

    def leave_step(self) -> None:
        """Note that its step of joining is over."""
        self._in_step = False
        self._scope = None

    def evict(self, reason: str) -> None:
        """Put the client out, here and now: others have ended the claim (PRES-53).

        Args:
            reason: for the client.
        """
        before = self.state
        self.move(Input.EVICTED)
        if self.state is not State.OVER or before is State.OVER:
            return
        self.ended_by = reason
        socket, self.socket = self.socket, None
        if self._in_step:  # PRES-54: the step looks at the state before it lets the client pass
            if self._scope is not None:
                self._scope.cancel()
        elif socket is not None:
            try:
                socket.emit(REPLACED_EVENT, {"reason": reason})
            finally:
                socket.disconnect()  # a client that has not entered yet is refused by this
