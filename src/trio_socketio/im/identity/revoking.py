"""Revokes users and tokens: on this node, or on all nodes that share their revocations.

There is one way in which a node learns what was revoked, whether it was asked to revoke it, has
heard of it from another node or has read it: `learn` notes it, so that from then on nobody comes in
by it, and a task puts out who is in. A node that was asked has the others say when they are done;
see methods.py.

Clocks: a revocation has the time of the node that was asked. The iat of a JWT, and the issued_at_s
of a backend or webhook, are compared with that, so the clocks of the nodes and of whoever issues
tokens have to agree within leeway_s. Where nothing but a node's own clock tells how old a token is,
as with static tokens, that is compared with the time at which the same node has learned of the
revocation.
"""

from collections import OrderedDict
from collections.abc import Callable, Iterable, Iterator
from itertools import islice
from typing import Final, NamedTuple

import trio

from trio_socketio.errors import TrioSocketIOError
from trio_socketio.im.identity.clients import Clients
from trio_socketio.im.identity.revocation_hash import RevocationsUnavailable
from trio_socketio.im.identity.revocations import Record, Revocations, RevokedId
from trio_socketio.im.identity.shared_revocations import SharedRevocations

MAX_COUNTS: Final = 1000
"""Of how many revocations it is remembered how many clients they have put out here."""

TOLD_S: Final = 2.0
"""How long Redis may take to tell a node of the change that it has just made."""


class RevocationResult(NamedTuple):
    """The outcome of a revocation.

    Args:
        done: how many clients of this node were put out.
        until_s: until when they are kept out, seconds since 1970.
        at_s: when it was made.
        version: of the change that other nodes have to know; 0 if there are none.
    """

    done: int
    until_s: float
    at_s: float
    version: int = 0


class Lifted(NamedTuple):
    """The outcome of lifting a revocation.

    Args:
        done: whether there was one.
        version: see RevocationResult.
        is_known_here: whether this node has heard of it, as others will.
    """

    done: bool
    version: int = 0
    is_known_here: bool = True


class Settled(NamedTuple):
    """What a node has done about a revocation.

    Args:
        done: how many clients it has put out.
        version: of the last change that the nodes have to know; it is greater than that which was
            asked about if this node has found further tokens of the user.
    """

    done: int
    version: int


class RevokedHereAlone(TrioSocketIOError):
    """This node has revoked something, and it is unknown whether other nodes know of it.

    They are told as soon as Redis takes it.

    Args:
        result: what was done here.
        reason: why nothing else is sure.
    """

    def __init__(self, result: RevocationResult, reason: str) -> None:
        super().__init__(reason)
        self.result = result
        self.reason = reason


class Revoking:
    """Puts out the clients of what is revoked, wherever that was asked for.

    Args:
        revocations: what is revoked, as far as this node knows.
        clients: those that are identified.
        clock: seconds since 1970.
        shared: the revocations of all nodes; None if this node shares none.

    Attributes:
        shared: see above.
    """

    def __init__(
        self,
        revocations: Revocations,
        clients: Clients,
        clock: Callable[[], float],
        shared: SharedRevocations | None = None,
    ) -> None:
        self.shared = shared
        self._revocations = revocations
        self._clients = clients
        self._clock = clock
        # How many clients were put out here, by what was revoked and when.
        self._counts: OrderedDict[tuple[RevokedId, float], int] = OrderedDict()
        # Whose clients have yet to be put out, and when that was revoked, in this order.
        self._news: dict[tuple[RevokedId, float], None] = {}
        self._asked = self._done = 0  # numbers of news, and those of them that are dealt with
        self._has_news = trio.Event()
        self._progress = trio.Event()
        if shared is not None:
            shared.use(self)
            revocations.on_kept_out = self._share

    async def run(self) -> None:
        """Follow what other nodes revoke, until cancelled."""
        if self.shared is None:
            return
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self.shared.run)
            nursery.start_soon(self._put_out)

    # -- what this node is asked for

    async def revoke(self, what: RevokedId, for_s: float | None = None) -> RevocationResult | None:
        """Put out clients, and keep them out.

        Args:
            what: is revoked.
            for_s: how long; None means until no token can be valid any more.
        Returns:
            What that has done here; None if no further revocation can be kept.
        Raises:
            RevokedHereAlone: Redis may not have taken it, and this node shares its revocations.
        """
        if self.shared is None:
            return await self._revoke_here(what, for_s)
        now = self._clock()
        until_s = now + (self._revocations.kept_s if for_s is None else for_s)
        try:
            added = await self.shared.add(Record(what, now, until_s, self._undated(what)))
        except RevocationsUnavailable as error:
            return await self.revoke_alone(what, for_s, str(error))
        if added is None:
            return None
        (_, kept, _), version = added
        if not await self._wait_told(version) and kept is not None:
            self.learn([kept])
        await self._wait_done()
        if kept is None:  # another call has lifted it before Redis has taken it
            return RevocationResult(0, until_s, now, version)
        done = self._counts.get((what, kept.at_s), 0)
        return RevocationResult(done, kept.until_s, kept.at_s, version)

    async def revoke_alone(
        self, what: RevokedId, for_s: float | None, reason: str
    ) -> RevocationResult | None:
        """Revoke on this node, and have the others told when that is possible (IDENT-83).

        Args:
            what: is revoked.
            for_s: how long; see revoke.
            reason: why the others cannot be told now.
        Returns:
            None if no further revocation can be kept.
        Raises:
            RevokedHereAlone: in any other case.
        """
        result = await self._revoke_here(what, for_s)
        if result is None:
            return None
        self._share(what.id, is_token=what.is_token, is_new=True)
        raise RevokedHereAlone(result, reason)

    async def _revoke_here(self, what: RevokedId, for_s: float | None) -> RevocationResult | None:
        named = {"token_id": what.id} if what.is_token else {"user": what.id}
        until_s = self._revocations.add(**named, for_s=for_s, undated=self._undated(what))
        if until_s is None:
            return None
        at_s = self._clock()
        counts = await self._clients.put_out_revoked((what,))
        return RevocationResult(counts[what], until_s, at_s)

    async def unrevoke(self, what: RevokedId) -> Lifted:
        """Lift a revocation (IDENT-78).

        Raises:
            RevocationsUnavailable: it is unknown whether it is lifted; on this node it is not.
        """
        if self.shared is None:
            return Lifted(self._lift(what))
        was_there, version = await self.shared.lift(what)
        return Lifted(was_there, version, await self._wait_told(version))

    def _lift(self, what: RevokedId) -> bool:
        return self._revocations.lift(**{"token_id" if what.is_token else "user": what.id})

    async def settle(self, what: RevokedId, at_s: float, version: int) -> Settled:
        """Wait until this node has done what others have asked for.

        Args:
            what: was revoked, or is not any more.
            at_s: when it was revoked.
            version: of that change.
        """
        assert self.shared is not None
        await self.shared.wait_version(version)
        await self._wait_done()
        saved = await self.shared.wait_saved(what)
        return Settled(self._counts.get((what, at_s), 0), max(version, saved))

    # -- what others have revoked

    def learn(self, records: Iterable[Record]) -> None:
        """Note what was revoked, and have its clients put out (IDENT-81)."""
        for record in records:
            before = self._revocations.find(record.what)
            # What comes again is nothing new: the user may have got another token since then.
            is_new = before is None or record.at_s > before.at_s
            own = self._undated(record.what) if is_new else frozenset()
            if self._revocations.note(record._replace(undated=record.undated | own)):
                self._news[record.what, record.at_s] = None
                self._asked += 1
                self._has_news.set()
                if own - record.undated:  # IDENT-84: other nodes have to know them, too
                    self._share(record.what.id)

    def forget(self, what: RevokedId, at_s: float) -> None:
        """Note that what was revoked up to a time was lifted."""
        found = self._revocations.find(what)
        if found is not None and found.at_s <= at_s:
            self._lift(what)

    def find(self, what: RevokedId) -> Record | None:
        """Return what this node keeps of a user or token."""
        return self._revocations.find(what)

    def kept(self) -> Iterator[Record]:
        """Return all revocations that this node keeps."""
        for what in self._revocations.ids():
            record = self._revocations.find(what)
            if record is not None:
                yield record

    # -- parts

    async def _wait_told(self, version: int) -> bool:
        """Wait until this node has heard of its own change, among those of others, in order.

        Returns:
            Whether it has. Otherwise Redis has gone meanwhile, and the change is read later.
        """
        assert self.shared is not None
        with trio.move_on_after(TOLD_S) as scope:
            await self.shared.wait_version(version)
        return not scope.cancelled_caught

    def _undated(self, what: RevokedId) -> frozenset[str]:
        return frozenset() if what.is_token else self._clients.undated_tokens(what.id)

    def _share(self, name: str, *, is_token: bool = False, is_new: bool = False) -> None:
        """Have the other nodes told what this one keeps of a user or token."""
        record = self._revocations.find(RevokedId(is_token, name))
        if record is not None and self.shared is not None:
            self.shared.save(record, is_new=is_new)

    async def _put_out(self) -> None:
        while True:
            await self._has_news.wait()
            self._has_news = trio.Event()
            news, self._news = self._news, {}
            asked = self._asked
            counts = await self._clients.put_out_revoked({what for what, _ in news})
            # The clients count for the first of several revocations of a user (IDENT-86).
            done = {one: counts.pop(one[0], 0) for one in news}
            for one in islice(reversed(done), MAX_COUNTS):  # nobody asks about more
                self._counts[one] = self._counts.get(one, 0) + done[one]
                if len(self._counts) > MAX_COUNTS:
                    self._counts.popitem(last=False)
            self._done = asked
            self._progress.set()
            self._progress = trio.Event()

    async def _wait_done(self) -> None:
        """Wait until the clients are out of whatever was revoked until now."""
        asked = self._asked
        while self._done < asked:
            await self._progress.wait()
