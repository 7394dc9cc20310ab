"""The methods auth.revoke and auth.unrevoke of the control socket.

Nodes that share their revocations are told of a change by Redis, in its order. The node that was
asked then asks each of them, by node.revoked, to answer when it has done its part. So no call of a
node to another one changes anything, and none can be overtaken by a later change.
"""

from collections.abc import Iterable
from typing import Annotated, Any, Final, NamedTuple

import msgspec
import trio

from trio_socketio.codec.json_rpc import Code
from trio_socketio.control.failures import invalid, overloaded, timed_out, unavailable
from trio_socketio.control.methods import rpc
from trio_socketio.control.nodes import Nodes
from trio_socketio.control.spread import NONE_MISSING, Failed, MissingNodes, OverNodes
from trio_socketio.control.targets import User, read_user
from trio_socketio.errors import ControlError
from trio_socketio.im.identity.identity import MAX_TOKEN_ID_BYTES
from trio_socketio.im.identity.revocation_hash import RevocationsUnavailable
from trio_socketio.im.identity.revocations import RevokedId
from trio_socketio.im.identity.revoking import RevocationResult, RevokedHereAlone
from trio_socketio.im.identity.service import IdentityService

ANSWER_S: Final = 2.0
"""How long other nodes may take to do their part."""

_MORE_S: Final = 0.5  # for an answer to come back
_ROUNDS: Final = 3  # of questions, if nodes have found further tokens of the user

TokenId = Annotated[str, msgspec.Meta(min_length=1, max_length=MAX_TOKEN_ID_BYTES)]
Seconds = Annotated[float, msgspec.Meta(gt=0, le=10 * 366 * 86_400)]
Missing = Annotated[
    MissingNodes, msgspec.Meta(description="what is missing; left out if all nodes have answered.")
]


class Revoked(OverNodes, frozen=True, kw_only=True, omit_defaults=True):
    """What a revocation has done.

    Args:
        done: how many clients were put out, once for each namespace. Those that were still joining
            count, and lost ones whose seats were held. A client does not count while a backend or
            webhook is being asked who it is: it is refused when the answer comes.
        until_s: until when the revocation is kept, seconds since 1970.
    """

    done: int
    until_s: float
    missing: Missing = NONE_MISSING


class Lifted(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What has become of a revocation.

    Args:
        done: whether there was one.
    """

    done: bool
    failed: Failed = {}
    missing: Missing = NONE_MISSING


class Settled(msgspec.Struct, frozen=True, kw_only=True):
    """What a node has done about a revocation.

    Args:
        done: how many clients it has put out.
        version: of the last change that all nodes have to know.
    """

    done: int
    version: int


class _Answered(NamedTuple):
    """What the other nodes have answered.

    Args:
        counts: how many clients each has put out, by its name.
        failed: why nodes have not done it.
        missing: those that have not answered.
        version: the last that they have named.
    """

    counts: dict[str, int]
    failed: dict[str, str]
    missing: list[str]
    version: int


class AuthMethods:
    """The methods auth.*.

    Args:
        service: None as long as no identity is asked for.
        nodes: that share their revocations; None if this one shares none.
    """

    def __init__(self, service: IdentityService | None, nodes: Nodes | None = None) -> None:
        self.service = service
        self._nodes = nodes

    @rpc("auth.revoke")
    async def revoke(
        self,
        user: User | None = None,
        token_id: TokenId | None = None,
        for_s: Seconds | None = None,
    ) -> Revoked:
        """Put out a user's clients, or those that have come with a token, and keep them out.

        A user's tokens that are issued later are accepted: JWTs, when their iat is more than
        leeway_s later; JWTs without iat are not. A static token counts as issued when the server
        has first read it. If a backend or webhook does not say when a token was issued, one that
        no client of the user has had is accepted. With [redis], all nodes do so, and those that
        start later, too; without it, a restart lifts the revocation.

        Args:
            user: the id of the user; give either this or token_id.
            token_id: the jti of a JWT, or the token_id that a backend or webhook has answered.
            for_s: how long the revocation is kept; null means max_lifetime_s of [identity], after
                which no token is valid any more that is now.
        """
        service, what = self._read(user, token_id)
        revoking, nodes = service.revoking, self._shared(service)
        fault = "" if nodes is None else nodes.fault
        try:
            if fault:
                result = await revoking.revoke_alone(what, for_s, fault)
            else:
                result = await revoking.revoke(what, for_s)
        except RevokedHereAlone as error:
            raise _unsure(error.result, error.reason) from None
        if result is None:
            raise overloaded("max_revocations of [identity] are kept already", 60_000)
        if nodes is None:
            return Revoked(done=result.done, until_s=result.until_s)
        return await self._settle(service, nodes, what, result)

    @rpc("auth.unrevoke")
    async def unrevoke(self, user: User | None = None, token_id: TokenId | None = None) -> Lifted:
        """Lift what auth.revoke has set up, so that the user's tokens, or the token, are accepted.

        Args:
            user: the id of the user; give either this or token_id, as in auth.revoke.
            token_id: the id of the token.
        """
        service, what = self._read(user, token_id)
        nodes = self._shared(service)
        try:
            lifted = await service.revoking.unrevoke(what)
        except RevocationsUnavailable as error:
            told = (
                "it is unknown whether the revocation was lifted; here it is in force"
                if error.is_unsure
                else "the revocation was not lifted"
            )
            raise ControlError(
                Code.STORE_UNAVAILABLE,
                f"{told}: {error}",
                {"retryable": True, "retry_after_ms": 1000},
            ) from None
        if nodes is None:
            return Lifted(done=lifted.done)
        answered = await _ask(nodes, what, 0.0, lifted.version)
        missing = answered.missing if lifted.is_known_here else [*answered.missing, nodes.name]
        return Lifted(done=lifted.done, failed=answered.failed, missing=_missing(missing))

    def _read(
        self, user: User | None, token_id: TokenId | None
    ) -> tuple[IdentityService, RevokedId]:
        if self.service is None:
            raise unavailable("no identity is asked for: see [identity] in the configuration")
        if (user is None) is (token_id is None):
            raise invalid("user", "give either user or token_id")
        if user is None:
            return self.service, RevokedId(is_token=True, id=token_id or "")
        return self.service, RevokedId(is_token=False, id=read_user(user))

    def _shared(self, service: IdentityService) -> Nodes | None:
        """Return the nodes, if revocations are shared with them."""
        return None if service.revoking.shared is None else self._nodes

    async def _settle(
        self, service: IdentityService, nodes: Nodes, what: RevokedId, result: RevocationResult
    ) -> Revoked:
        """Have each node answer when it has put out its clients, and add up how many (IDENT-86)."""
        version, own = result.version, result.done
        for _ in range(_ROUNDS):
            answered = await _ask(nodes, what, result.at_s, version)
            if answered.version <= version:
                break
            # IDENT-84: nodes have found further tokens of the user, which all have to keep out.
            version = answered.version
            with trio.move_on_after(ANSWER_S):
                own = (await service.revoking.settle(what, result.at_s, version)).done
        counts = {**answered.counts, nodes.name: own}
        return Revoked(
            done=sum(counts.values()),
            until_s=result.until_s,
            nodes=dict(sorted(counts.items())),
            failed=answered.failed,
            missing=_missing(answered.missing),
        )


class NodeRevocations:
    """The method node.revoked, which nodes call of one another.

    Args:
        methods: of this node.
    """

    def __init__(self, methods: AuthMethods) -> None:
        self._methods = methods

    @rpc("node.revoked")
    async def revoked(
        self, version: int, at_s: float, user: str | None = None, token_id: str | None = None
    ) -> Settled:
        """Answer when a revocation that was made or lifted elsewhere has had its effect here.

        Args:
            version: of the change.
            at_s: when it was made; 0 if it was lifted.
            user: the id of the user; either this or token_id.
            token_id: the id of the token.
        """
        service = self._methods.service
        if service is None or service.revoking.shared is None:
            return Settled(done=0, version=0)  # nobody comes in here by a token
        what = RevokedId(True, token_id or "") if user is None else RevokedId(False, user)
        with trio.move_on_after(ANSWER_S):
            found = await service.revoking.settle(what, at_s, version)
            return Settled(done=found.done, version=found.version)
        raise timed_out(f"the node has not heard of it yet: {service.fault or 'it is busy'}")


async def _ask(nodes: Nodes, what: RevokedId, at_s: float, version: int) -> _Answered:
    """Ask the other nodes to answer when a change has had its effect there."""
    named = {"token_id" if what.is_token else "user": what.id}
    params = {"version": version, "at_s": at_s, **named}
    answers = await nodes.ask("node.revoked", params, ANSWER_S + _MORE_S)
    counts: dict[str, int] = {}
    failed = {node: error.message for node, error in answers.errors.items()}
    last = 0
    for node, raw in answers.results.items():
        try:
            found = msgspec.json.decode(raw, type=Settled)
        except msgspec.MsgspecError as error:  # it is of another version
            failed[node] = f"its answer cannot be read: {error}"
        else:
            counts[node] = found.done
            last = max(last, found.version)
    return _Answered(counts, failed, answers.missing, last)


def _missing(nodes: Iterable[str]) -> MissingNodes:
    found = sorted(nodes)
    return MissingNodes(nodes=found) if found else NONE_MISSING


def _unsure(result: RevocationResult, reason: str) -> ControlError:
    """Say what was done here, and that nothing else is sure (IDENT-83)."""
    clients = "1 client" if result.done == 1 else f"{result.done} clients"
    data: dict[str, Any] = {
        "retryable": True,
        "retry_after_ms": 1000,
        "done": result.done,
        "until_s": result.until_s,
    }
    return ControlError(
        Code.STORE_UNAVAILABLE,
        f"this node has put out {clients} and keeps them out, but it is unknown whether the other "
        f"nodes do; they are told when Redis is back: {reason}",
        data,
    )
