"""The claims of one server that are not over, and what has become of the others."""

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import count
from typing import TYPE_CHECKING

from trio_socketio.im.presence.claims import Claim
from trio_socketio.protocol.claim_life import Input, State

if TYPE_CHECKING:
    from trio_socketio.im.presence.seat_options import SeatOptions
    from trio_socketio.protocol.presence_cursor import Cursor
    from trio_socketio.socketio.socket import Socket


@dataclass(slots=True)
class Tally:
    """Counts the outcomes of claims; see PresenceStatistics."""

    claimed: int = 0
    refused: int = 0
    replaced: int = 0
    kicked: int = 0
    reasserted: int = 0
    lost_seats: int = 0
    releases_dropped: int = 0


class HeldClaims:
    """Claims by attempt, until they are over.

    Attributes:
        tally: what has become of claims.
        users: how many users have a seat through this node, by namespace.
    """

    def __init__(self) -> None:
        self.tally = Tally()
        self.users: Counter[str] = Counter()
        self._claims: dict[int, Claim] = {}  # by attempt
        self._seats: Counter[tuple[str, str]] = Counter()  # by namespace and user
        self._attempts = count(1)  # they go on from boot to boot

    def __len__(self) -> int:
        return len(self._claims)

    def __iter__(self) -> Iterator[Claim]:
        return iter(tuple(self._claims.values()))  # they may end meanwhile

    def add(self, socket: "Socket", user: str, options: "SeatOptions", *, recovers: bool) -> Claim:
        """Make a claim that the store is about to be asked for."""
        claim = Claim(socket, user, next(self._attempts), options, recovers=recovers)
        self._claims[claim.attempt] = claim
        return claim

    def find(self, attempt: int) -> Claim | None:
        """Return the claim of an attempt, if it is not over."""
        return self._claims.get(attempt)

    def note_claimed(self, claim: Claim, token: "Cursor") -> None:
        """Note that the store has given a seat."""
        self.tally.claimed += 1
        claim.token = token
        claim.move(Input.CLAIMED)
        if claim.state is State.OVER:  # others have ended it meanwhile
            return
        if not self._seats[claim.place]:
            self.users[claim.namespace] += 1
        self._seats[claim.place] += 1

    def forget_if_over(self, claim: Claim) -> None:
        """Forget a claim whose end was noted."""
        if claim.state is not State.OVER or self._claims.pop(claim.attempt, None) is None:
            return
        if claim.token is None:  # it was never counted
            return
        self._seats[claim.place] -= 1
        if not self._seats[claim.place]:
            del self._seats[claim.place]
            self.users[claim.namespace] -= 1
            if not self.users[claim.namespace]:
                del self.users[claim.namespace]

    def clear(self) -> None:
        """Forget all claims: their server has stopped."""
        self._claims.clear()
        self._seats.clear()
        self.users.clear()
