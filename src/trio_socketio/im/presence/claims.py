"""The claims of one node, on their way into the store and out of it."""

from typing import TYPE_CHECKING, Final

import trio

from trio_socketio.protocol.claim_life import Input, State, advance
from trio_socketio.protocol.presence_claims import ClaimRef, ClaimRequest

if TYPE_CHECKING:
    from trio_socketio.engine.session import Session
    from trio_socketio.im.presence.seat_options import SeatOptions
    from trio_socketio.protocol.presence_cursor import Cursor
    from trio_socketio.socketio.socket import Socket

REPLACED_EVENT: Final = "session/replaced"
"""Tells a client why it is put out of the namespace; the DISCONNECT follows."""

LEASE_ENDED: Final = "lease ended"
"""The reason of the end of claims that have ended together with the lease of their node."""

_KEPT: Final = frozenset((State.HELD, State.SEATED, State.LINGERING))


class Claim:
    """A client's claim of a seat. The table of its states is in protocol/claim_life.py.

    It has 16 attributes, because it is all that a node knows of a client: who it is, by which rules
    it has its seat, how far it has come, and why and until when the seat is held.

    Args:
        socket: of the client.
        user: who the client is.
        attempt: a number that the node uses for no other claim, under whatever boot.
        options: of the seat, as they are now.
        recovers: whether the client goes on with a socket that it has lost.

    Attributes:
        attempt: see above.
        awaits: claims that others have yet to confirm as put out before the client may enter.
        ended_by: why others have ended it; empty if they have not.
        id: the public id of the socket.
        is_unsure: whether the store may know it by another token than this one, because it was
            asked to take it anew and has not answered.
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
        "_options",
        "_recovers",
        "_scope",
        "attempt",
        "awaits",
        "ended_by",
        "id",
        "is_unsure",
        "left_by",
        "place",
        "saved_until",
        "socket",
        "state",
        "token",
        "until",
    )

    def __init__(
        self,
        socket: "Socket",
        user: str,
        attempt: int,
        options: "SeatOptions",
        *,
        recovers: bool = False,
    ) -> None:
        self.attempt = attempt
        self.awaits: tuple[Cursor, ...] = ()
        self.place = socket.namespace.name, user
        self.id = socket.public_id
        self.socket: Socket | None = socket
        self.state = State.ASKING
        self.token: Cursor | None = None
        self.ended_by = ""
        self.is_unsure = False
        self.left_by = ""
        self.until = 0.0
        self.saved_until = 0.0
        self._options = options
        self._recovers = recovers
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

    @property
    def is_kept(self) -> bool:
        """Whether its client stays if the lease of the node ends in the mode "available"."""
        return not self._in_step and self.state in _KEPT

    @property
    def holds_seat(self) -> bool:
        """Whether the store has given a seat that is still wanted."""
        return self.state in _KEPT

    def request(self, node: str, boot: str) -> ClaimRequest:
        """Ask the store for the seat, for the first time or again.

        Args:
            node: the name of the node.
            boot: that has its lease now.
        """
        return ClaimRequest(
            namespace=self.namespace,
            user=self.user,
            id=self.id,
            node=node,
            boot=boot,
            attempt=self.attempt,
            policy=self._options.policy,
            maximum=self._options.maximum,
            takeover=self._options.takeover,
            recovers=self._recovers,
        )

    def refer(self, boot: str) -> ClaimRef:
        """Name it to the store."""
        return ClaimRef(
            namespace=self.namespace,
            user=self.user,
            boot=boot,
            attempt=self.attempt,
            token=None if self.is_unsure else self.token,  # LEASE-16
        )

    def open_wait(self, deadline: float, *, shield: bool = False) -> trio.CancelScope:
        """Return the scope of what its step of joining waits for; `interrupt` cancels it.

        Args:
            deadline: of the scope, on trio's clock.
            shield: whether nothing else cancels it.
        """
        self._scope = trio.CancelScope(deadline=deadline, shield=shield)
        return self._scope

    def leave_step(self) -> None:
        """Note that its step of joining is over."""
        self._in_step = False
        self._scope = None

    def interrupt(self) -> None:
        """Have its step of joining wait no longer, if it is at work."""
        if self._scope is not None:
            self._scope.cancel()

    def fence(self) -> "Session | None":
        """End it, because the lease of its node has ended (LEASE-10).

        Returns:
            The session to be closed; None if the client is refused, or has left.
        """
        is_entering = self.state is State.HELD and not self._in_step
        self.move(Input.FENCED)
        self.ended_by = LEASE_ENDED
        socket, self.socket = self.socket, None
        if self._in_step:
            self.interrupt()
            return None
        if socket is None:
            return None
        if is_entering:  # in a later step, which could let it in before the session has ended
            socket.disconnect()
        return socket.session

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
            if before is not State.ASKING:
                self.interrupt()
        elif socket is not None:
            try:
                socket.emit(REPLACED_EVENT, {"reason": reason})
            finally:
                socket.disconnect()  # a client that has not entered yet is refused by this
