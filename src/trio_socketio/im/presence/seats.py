"""The seats of one namespace: the last step of joining takes one, and leaving gives it back."""

from collections.abc import Iterator
from contextlib import contextmanager
from math import inf
from typing import TYPE_CHECKING, Final

import trio

from trio_socketio.errors import ConnectRefused
from trio_socketio.im.presence.claims import LEASE_ENDED, Claim
from trio_socketio.im.presence.leavers import Leaver, wait_told
from trio_socketio.im.presence.store import CLAIM_S, NamespaceUnusable, StoreUnavailable
from trio_socketio.protocol.claim_life import Input, State
from trio_socketio.protocol.joining import State as JoiningState
from trio_socketio.protocol.presence_claims import (
    KICKED,
    Claimed,
    ClaimRequest,
    Taken,
)
from trio_socketio.socketio.credentials import NOT_AUTHENTICATED, SERVER_ERROR
from trio_socketio.socketio.refusing import NotNow
from trio_socketio.socketio.registrar import Observer
from trio_socketio.socketio.steps import Awaited

if TYPE_CHECKING:
    from trio_socketio.im.presence.node_life import NodeLife
    from trio_socketio.im.presence.seat_options import SeatOptions
    from trio_socketio.protocol.presence_claims import Fenced
    from trio_socketio.socketio.joining import Joining
    from trio_socketio.socketio.socket import Socket

STORE_S: Final = CLAIM_S
"""The time in which the store has to answer a claim. After it, the outcome is unknown, and the
client is refused: within two seconds of its CONNECT, whatever has become of the store."""

FAST_S: Final = 1.0
"""The time for which a fast takeover waits for the node of the old client."""

NOT_JOINED: Final = "not joined"
"""The reason in the log of a client whose joining has failed after it got its seat."""

UNAVAILABLE: Final = "presence unavailable"
"""What a client is told when the store does not answer, or this node has lost its lease."""

_UNDEFINED: Final = -1  # the errcode of the contract for what has no code of its own


class Seats(Observer):
    """Gives the clients of one namespace, or of all children of a parent, their seats.

    Args:
        life: of the node that makes the claims.
        options: see SeatOptions.
    """

    def __init__(self, life: "NodeLife", options: "SeatOptions") -> None:
        self.options = options
        self._life = life
        self._node = life.node
        self._claims: dict[Socket, Claim] = {}

    # -- joining

    def take(self, joining: "Joining", timeout_s: float | None) -> Awaited | None:
        """Take a seat for a client: the step of the stage SEAT (PRES-51).

        Args:
            joining: of the client.
            timeout_s: how long what has to be awaited may take; None means hook_timeout_s.
        Returns:
            What has to be awaited, if the store cannot give the seat at once, or if others have to
            be put out before the client enters.
        Raises:
            ConnectRefused: it gets none.
        """
        socket, node = joining.socket, self._node
        assert socket is not None
        user = socket.user
        if user is None:  # PRES-59
            raise _refused("not authenticated", NOT_AUTHENTICATED)
        at_once = node.store.at_once
        if at_once is None or not self._life.has_turn(socket.namespace.name, user):
            return Awaited(self._take_later, (joining, socket, user), timeout_s)
        # PRES-92, PRES-93: here and now, so that a later CONNECT is a later login for the store.
        claim = self._begin(joining, socket, user)
        request = claim.request(node.name, node.boot)
        awaited = None
        try:
            leavers = self._note(claim, request, at_once.claim_now(request))
            if claim.awaits or leavers:
                awaited = Awaited(self._wait_clear, (claim, request, leavers), timeout_s)
        except StoreUnavailable as error:  # PRES-94
            raise self._explain(claim, error) from error
        finally:
            if awaited is None:
                claim.leave_step()
        return awaited

    async def _take_later(self, joining: "Joining", socket: "Socket", user: str) -> None:
        deadline = trio.current_time() + STORE_S  # of the turn and the claim together (LEASE-33)
        is_turn = False
        with trio.move_on_at(deadline):
            is_turn = await self._life.wait_turn(socket.namespace.name, user)
        if not is_turn:  # LEASE-12
            raise _unavailable()
        claim = self._begin(joining, socket, user)
        with self._in_step(claim):
            await self._claim(claim, deadline)

    async def _wait_clear(self, claim: Claim, request: ClaimRequest, leavers: list[Leaver]) -> None:
        """Let the client of a claim that was made at once enter when others are out."""
        with self._in_step(claim):
            await self._wait_others(claim, request, leavers)

    @contextmanager
    def _in_step(self, claim: Claim) -> Iterator[None]:
        """Refuse a client if the store fails in the block, or if it has lost its seat by its end.

        Raises:
            ConnectRefused: that has happened.
        """
        try:
            yield
        except StoreUnavailable as error:
            raise self._explain(claim, error) from error
        finally:
            claim.leave_step()
        if claim.ended_by == LEASE_ENDED or not self._life.may_give:  # LEASE-12
            raise _unavailable()
        if claim.state is State.OVER:  # PRES-54: others have ended the claim meanwhile
            raise _refused(KICKED if claim.ended_by == KICKED else "session replaced")

    def _explain(self, claim: Claim, error: StoreUnavailable) -> ConnectRefused:
        """Return what a client is told for which the store could not do what it was asked."""
        if isinstance(error, NamespaceUnusable):  # LEASE-32
            self._node.unusable.note(claim.namespace, error)
        return _unavailable()

    def _begin(self, joining: "Joining", socket: "Socket", user: str) -> Claim:
        """Make the claim of a client, which is undone if the client does not join.

        Raises:
            ConnectRefused: the client was kicked while it was lost.
        """
        node, recovers = self._node, socket.recovered
        lost = node.lingering.find(socket.namespace.name, socket.public_id) if recovers else None
        if lost is not None and lost.ended_by == KICKED:
            raise _refused(KICKED)  # PRES-58
        claim = node.begin_claim(socket, user, self.options, recovers=recovers)
        self._claims[socket] = claim

        def undo() -> None:
            self._undo(claim, socket, lost, joining.state)

        joining.undo(undo)  # before the store is asked, as its answer may be lost
        return claim

    async def _claim(self, claim: Claim, deadline: float) -> None:
        node, losses = self._node, self._life.losses
        request = claim.request(node.name, node.boot)
        leavers = self._note(claim, request, await self._ask(claim, request, deadline))
        if self._life.losses != losses:  # LEASE-15: what the store has answered may be lost
            self._life.reassert_later(claim)
        await self._wait_others(claim, request, leavers)

    async def _wait_others(
        self, claim: Claim, request: ClaimRequest, leavers: list[Leaver]
    ) -> None:
        """Wait until the older clients of the user are out (PRES-55).

        Those on this node are out by now, but have to be told before this one is told that it is in
        (PRES-96). Within a turn the output of two connections leaves in either order.

        Raises:
            StoreUnavailable: it cannot be known whether those on other nodes are out.
        """
        node = self._node
        # Whatever has ended the claim before this began to wait has had no wait to interrupt.
        if leavers and claim.state is State.HELD and self._life.may_give:
            with claim.open_wait(inf):
                await wait_told(leavers)
        if self._life.may_give and not node.is_clear(claim):
            wait_s = FAST_S if request.takeover == "fast" else inf
            with claim.open_wait(trio.current_time() + wait_s):
                await node.wait_clear(claim)
        is_interrupted = claim.state is State.HELD and not node.is_clear(claim)
        if is_interrupted and request.takeover == "strict":  # LEASE-12
            raise StoreUnavailable("the lease did not count any more while others were waited for")

    def _note(
        self, claim: Claim, request: ClaimRequest, outcome: "Claimed | Taken | Fenced"
    ) -> list[Leaver]:
        """Note what the store has answered.

        Returns:
            The clients on this node that are out because of it, and may not have been told yet.
        Raises:
            ConnectRefused: the client gets no seat.
        """
        if isinstance(outcome, Claimed):
            return self._node.note_claimed(claim, outcome)
        self._node.note_refused(claim)
        if isinstance(outcome, Taken):
            raise _refused(outcome.reason)
        self._life.note_fenced(request.boot)
        raise _unavailable()

    async def _ask(
        self, claim: Claim, request: ClaimRequest, deadline: float
    ) -> "Claimed | Taken | Fenced":
        # Shielded, because a claim is made once it is asked for: if a client that leaves cancelled
        # this, its token would be lost.
        with claim.open_wait(deadline, shield=True):
            return await self._node.store.claim(request)
        if trio.current_time() < deadline:
            raise StoreUnavailable("the lease did not count any more while a claim was asked for")
        raise StoreUnavailable(f"no answer to a claim within {STORE_S} s")

    def _undo(
        self, claim: Claim, socket: "Socket", lost: Claim | None, state: JoiningState
    ) -> None:
        """Give the seat back, once, as the client has not joined (PRES-57)."""
        self._claims.pop(socket, None)
        is_back_to_lost = (
            lost is not None
            and state is JoiningState.ABANDONED
            and claim.state is State.HELD
            and lost.until > trio.current_time()
        )
        if lost is not None and is_back_to_lost:
            self._node.linger(claim, lost.left_by, lost.until, lost.saved_until)
        else:
            self._node.release(claim, claim.left_by or NOT_JOINED)

    # -- the sockets of the namespace

    def note_reason(self, socket: "Socket", reason: str) -> None:
        """Note why a client is about to be put out: the log says so (PRES-87)."""
        claim = self._claims.get(socket)
        if claim is not None:
            claim.left_by = reason

    def joined(self, socket: "Socket") -> None:
        claim = self._claims.get(socket)
        if claim is not None:
            claim.move(Input.ENTERED)

    def left(self, socket: "Socket", reason: str, recoverable: bool) -> None:
        claim = self._claims.pop(socket, None)
        if claim is None:
            return
        if recoverable and self.options.linger_s:
            now = trio.current_time()
            recovery = socket._recovery
            saved_until = now if recovery is None else recovery.saved_until
            self._node.linger(claim, reason, now + self.options.linger_s, saved_until)
        else:
            self._node.release(claim, claim.left_by or reason)


def _unavailable() -> ConnectRefused:
    return NotNow(UNAVAILABLE, {"errcode": SERVER_ERROR, "errmsg": UNAVAILABLE})


def _refused(message: str, errcode: int = _UNDEFINED) -> ConnectRefused:
    return ConnectRefused(message, {"errcode": errcode, "errmsg": message})
