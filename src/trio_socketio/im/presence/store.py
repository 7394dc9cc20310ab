"""The interface of a presence store. In any store, each transition is one step."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Final, Protocol

from trio_socketio.errors import LocalProtocolError, TrioSocketIOError
from trio_socketio.protocol.presence_claims import (
    Absent,
    Claimed,
    ClaimRef,
    ClaimRequest,
    Count,
    Fenced,
    Kicked,
    Order,
    Page,
    Present,
    Released,
    Renewal,
    Stale,
    Taken,
)
from trio_socketio.protocol.presence_cursor import Cursor
from trio_socketio.protocol.presence_log import (
    CursorExpired,
    Entries,
    EntryType,
    GenerationChanged,
)

CLAIM_S: Final = 1.5
"""The time in which a store that is reached over a network makes a claim, or does not make it."""
MAX_USERS_ASKED: int = 1000
"""The number of users that one `get` may name."""


class StoreUnavailable(TrioSocketIOError):
    """The store has not answered. Whether it has done what it was asked is unknown."""


class NamespaceUnusable(StoreUnavailable):
    """Records of one namespace cannot be used, because others have written them.

    Whoever waits for this namespace must not hold up what concerns other ones.
    """


class AtOnce(Protocol):
    """What a store in the same process can do immediately, without a task that waits.

    Both methods may raise StoreUnavailable, as those of `PresenceStore` may. Whoever claims is
    refused then, and a release waits until `PresenceStore.release` has taken it.
    """

    def claim_now(self, request: ClaimRequest) -> Claimed | Taken | Fenced:
        """Do what `PresenceStore.claim` does."""

    def release_now(self, ref: ClaimRef, reason: str) -> Released | Stale | Fenced:
        """Do what `PresenceStore.release` does."""


class PresenceStore(Protocol):
    """Keeps who is online, and the log of it, for all nodes.

    A transition (claim, release, kick, reap) changes the state and appends to the log in one step,
    so that the order of the log is the order of the state, and no reader sees one without the other
    (PRES-07). It is done completely, also when its caller is cancelled, or not at all.

    Every answer that tells what is so has the cursor at which it was so. Each namespace has one log
    of its own, which is its only partition; an unused one is empty.

    Every async method may raise StoreUnavailable.

    It has 25 methods, because each transition and each question is one.
    """

    @property
    def at_once(self) -> AtOnce | None:
        """What it can do immediately; None if every answer takes time.

        It is asked for anew with each claim and each release, so it may be None at times.
        """

    @property
    def is_shared(self) -> bool:
        """Whether what is done here is done for other nodes of the cluster, too."""

    @property
    def written(self) -> Mapping[EntryType, int]:
        """How many entries this object has written to the logs since it was made, by type."""

    @property
    def fault(self) -> str:
        """Why it can do nothing although there is a connection; empty if it can."""

    # -- the leases of nodes

    @property
    def lease_s(self) -> float:
        """The time for which a renewed lease lasts; infinity means for ever."""

    async def enroll(self, node: str, boot: str) -> tuple[str, ...] | Fenced:
        """Give a node its first lease.

        Args:
            node: its name.
            boot: a new name of this incarnation.
        Returns:
            Earlier boots of the same node, whose leases have ended by this: reap them.
        """

    async def renew(self, boot: str) -> Renewal:
        """Lengthen a lease, for lease_s from the moment of the call.

        With REBUILD the boot has a lease, but the store knows of no claim of its node any more, and
        each one has to be reasserted. With ENDED the node has to put its clients out.
        """

    async def wait_lost(self, boot: str) -> None:
        """Wait until the store has lost claims since the boot was enrolled or last renewed.

        The node has to renew its lease at once then.
        """

    async def end_rebuild(self, boot: str) -> None:
        """Say that every claim of a boot was reasserted, after a renewal has answered REBUILD."""

    async def retire(self, boot: str) -> None:
        """End the lease of a node that stops; whatever claims it has left are to be reaped."""

    async def expired(self) -> list[str]:
        """Return the boots whose leases have ended and that have claims left."""

    async def reap(self, boot: str, limit: int = 500) -> int | None:
        """End claims of a boot whose lease has ended, as "offline" with the reason "node_lost".

        Returns:
            How many were ended; fewer than limit if none is left. None if the boot is alive.
        """

    # -- claims

    async def claim(self, request: ClaimRequest) -> Claimed | Taken | Fenced:
        """Ask for a seat for a client."""

    async def reassert(self, request: ClaimRequest, token: Cursor) -> Claimed | Stale | Fenced:
        """Ask for a seat that a client had before the store lost it.

        The later login wins: a claim that was made since then, or one with a higher token that was
        reasserted before.

        Args:
            request: as it was made before.
            token: that it had. The answer brings another one.
        Returns:
            Stale: another client of the user has the seat. The node puts this one out at once; it
            also gets an order to do so, which it confirms.
        """

    async def release(self, ref: ClaimRef, reason: str) -> Released | Stale | Fenced:
        """End a claim of the node's own, whose client has left.

        Args:
            ref: names the claim.
            reason: of the disconnect.
        """

    async def kick(self, namespace: str, user: str) -> Kicked | Absent:
        """End all claims of a user. Their nodes get orders; see wait_confirmed."""

    async def wait_confirmed(self, namespace: str, user: str, tokens: Sequence[Cursor]) -> None:
        """Wait until every node concerned has put out the clients of these claims, or is lost.

        Args:
            namespace: the name.
            user: whose claims they are.
            tokens: of claims that others have ended.
        """

    # -- what a node is told

    async def receive_orders(self, boot: str) -> list[Order]:
        """Wait until there are orders for a node; return all that it has not confirmed."""

    async def confirm(self, order: Order) -> None:
        """Say that the client of an order is out. It may be said again."""

    # -- reading

    async def get(self, namespace: str, users: Iterable[str]) -> Present:
        """Return the seats of some users, at most MAX_USERS_ASKED."""

    async def count(self, namespace: str) -> Count:
        """Count the users that are online."""

    async def list_users(self, namespace: str, after: str | None, limit: int) -> Page:
        """Return a page of the users that are online, in the order of their ids.

        Args:
            namespace: the name.
            after: the last user of the page before; None for the first page.
            limit: how many users the page may hold.
        """

    async def snapshot(self, namespace: str) -> Present:
        """Return all users that are online, at one cursor."""

    async def read(
        self, namespace: str, cursor: Cursor, limit: int
    ) -> Entries | CursorExpired | GenerationChanged:
        """Return the entries of the log behind a cursor, at most limit of them."""

    async def wait_for_more(self, namespace: str, cursor: Cursor) -> None:
        """Wait until `read` from this cursor returns anything but "nothing new"."""


_MEMBERS: Final = tuple(name for name in vars(PresenceStore) if not name.startswith("_"))


def check_store(store: PresenceStore) -> PresenceStore:
    """Return a store that has all members of the interface (PRES-95).

    Otherwise it would fail with the first client that needs one which is missing, and each that
    follows.

    Raises:
        LocalProtocolError: some are missing.
    """
    missing = [name for name in _MEMBERS if not hasattr(store, name)]
    if missing:
        raise LocalProtocolError(
            f"{type(store).__name__} is not a presence store, which has all members of "
            f"PresenceStore: it has no {', '.join(missing)}"
        )
    return store
