"""The seats of one namespace: the last step of joining takes one, and leaving gives it back."""

from math import inf
from typing import TYPE_CHECKING, Final

import msgspec
import trio

from trio_socketio.errors import ConnectRefused, OptionError
from trio_socketio.im.presence.claims import Claim
from trio_socketio.im.presence.store import StoreUnavailable
from trio_socketio.protocol.claim_life import Input, State
from trio_socketio.protocol.joining import State as JoiningState
from trio_socketio.protocol.presence_claims import (
    KICKED,
    Claimed,
    ClaimRequest,
    Policy,
    Taken,
    Takeover,
)
from trio_socketio.socketio.credentials import NOT_AUTHENTICATED, SERVER_ERROR
from trio_socketio.socketio.registrar import Observer

if TYPE_CHECKING:
    from trio_socketio.im.presence.node import Node
    from trio_socketio.protocol.presence_claims import Fenced
    from trio_socketio.socketio.joining import Joining
    from trio_socketio.socketio.socket import Socket

STORE_S: Final = 3.0
"""The time in which the store has to answer a claim. After it, the outcome is unknown."""

FAST_S: Final = 1.0
"""The time for which a fast takeover waits for the node of the old client."""

NOT_JOINED: Final = "not joined"
"""The reason in the log of a client whose joining has failed after it got its seat."""

UNAVAILABLE: Final = "presence unavailable"
"""What a client is told when the store does not answer, or this node has lost its lease."""

_UNDEFINED: Final = -1  # the errcode of the contract for what has no code of its own


class SeatOptions(msgspec.Struct, frozen=True, kw_only=True):
    """The rules by which seats are given in a namespace.

    Args:
        policy: who wins when a user logs in again: the "newest" client, the old one ("reject"), or
            "many" at once.
        maximum: how many seats a user may have with "many".
        takeover: "strict" lets a new client enter when the node of the old one has confirmed that
            it is out, or is lost; "fast" waits for that no longer than a second.
        linger_s: how long the seat of a lost client is held, so that it can come back without going
            offline. It needs state_recovery.

    Raises:
        OptionError: a value cannot be used.
    """

    policy: Policy = "newest"
    maximum: int = 1
    takeover: Takeover = "strict"
    linger_s: float = 0.0

    def __post_init__(self) -> None:
        if self.policy not in ("newest", "reject", "many"):
            raise OptionError("policy", f"must be newest, reject or many, not {self.policy!r}")
        if type(self.maximum) is not int or self.maximum < 1:
            raise OptionError("maximum", f"must be a whole number above 0, not {self.maximum!r}")
        if self.maximum != 1 and self.policy != "many":
            raise OptionError(
                "maximum", f"has no effect with the policy {self.policy!r}: it is for 'many'"
            )
        if self.takeover not in ("strict", "fast"):
            raise OptionError("takeover", f"must be strict or fast, not {self.takeover!r}")
        is_number = type(self.linger_s) in (int, float)
        if not is_number or not 0 <= self.linger_s < inf:
            raise OptionError("linger_s", f"must be seconds, 0 or more, not {self.linger_s!r}")


class Seats(Observer):
    """Gives the clients of one namespace, or of all children of a parent, their seats.

    Args:
        node: makes the claims.
        options: see SeatOptions.
    """

    def __init__(self, node: "Node", options: SeatOptions) -> None:
        self.options = options
        self._node = node
        self._claims: dict[Socket, Claim] = {}

    # -- joining

    async def take(self, joining: "Joining") -> None:
        """Take a seat for a client: the step of the stage SEAT (PRES-51).

        Raises:
            ConnectRefused: it gets none.
        """
        socket, node = joining.socket, self._node
        assert socket is not None
        user = socket.user
        if user is None:  # PRES-59
            raise _refused("not authenticated", NOT_AUTHENTICATED)
        await node.releases.wait_taken(socket.namespace.name, user)
        recovers = socket.recovered
        lost = node.lingering.find(socket.namespace.name, socket.public_id) if recovers else None
        if lost is not None and lost.ended_by == KICKED:
            raise _refused(KICKED)  # PRES-58
        claim = self._claims[socket] = node.begin_claim(socket, user)

        def undo() -> None:
            self._undo(claim, socket, lost, joining.state)

        joining.undo(undo)  # before the store is asked, as its answer may be lost
        try:
            await self._claim(claim, recovers=recovers)
        except StoreUnavailable as error:
            raise _refused(UNAVAILABLE, SERVER_ERROR) from error
        finally:
            claim.leave_step()
        if claim.state is State.OVER:  # PRES-54: others have ended the claim meanwhile
            raise _refused(KICKED if claim.ended_by == KICKED else "session replaced")

    async def _claim(self, claim: Claim, *, recovers: bool) -> None:
        node = self._node
        request = ClaimRequest(
            namespace=claim.namespace,
            user=claim.user,
            id=claim.id,
            node=node.name,
            boot=node.boot,
            attempt=claim.attempt,
            policy=self.options.policy,
            maximum=self.options.maximum,
            takeover=self.options.takeover,
            recovers=recovers,
        )
        outcome = await self._ask(request)
        if not isinstance(outcome, Claimed):
            node.note_refused(claim)
            if isinstance(outcome, Taken):
                raise _refused(outcome.reason)
            raise _refused(UNAVAILABLE, SERVER_ERROR)
        node.note_claimed(claim, outcome.token)
        for order in outcome.orders:  # PRES-55: older clients on this node are out from now on
            node.obey(order)
        if outcome.awaits and claim.state is State.HELD:
            wait_s = FAST_S if self.options.takeover == "fast" else inf
            with claim.open_wait(trio.current_time() + wait_s):
                await node.store.wait_confirmed(claim.namespace, claim.user, outcome.awaits)

    async def _ask(self, request: ClaimRequest) -> "Claimed | Taken | Fenced":
        # Shielded, because a claim is made once it is asked for: if a client that leaves cancelled
        # this, its token would be lost.
        ends = trio.current_time() + STORE_S
        with trio.CancelScope(shield=True, deadline=ends):
            return await self._node.store.claim(request)
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


def _refused(message: str, errcode: int = _UNDEFINED) -> ConnectRefused:
    return ConnectRefused(message, {"errcode": errcode, "errmsg": message})
