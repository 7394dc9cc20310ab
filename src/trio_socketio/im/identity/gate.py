"""Asks clients who they are: the authenticating step of joining, and the event auth.

A client gives its token in the payload of its CONNECT. While the verifiers can decide at once, all
of this runs in the turn that read the CONNECT. A client without a token is told that it is
connected, and has to send the token as an event.
"""

from collections import Counter
from collections.abc import Callable
from typing import Any, Final, Protocol

import trio

from trio_socketio.errors import ConnectRefused
from trio_socketio.im.identity.chain import Chain, Decision, Policies
from trio_socketio.im.identity.clients import Clients
from trio_socketio.im.identity.identity import (
    MALFORMED,
    NO_TOKEN,
    OTHER_USER,
    REVOKED,
    TOO_LARGE,
    UNAVAILABLE,
    Attempt,
    Identity,
    Refusal,
    Verifier,
)
from trio_socketio.im.identity.options import IdentityOptions
from trio_socketio.im.identity.revocations import Revocations
from trio_socketio.im.identity.strangers import Strangers
from trio_socketio.socketio.credentials import AuthenticationTimedOut, Credentials
from trio_socketio.socketio.joining import Joining
from trio_socketio.socketio.refusing import NotNow
from trio_socketio.socketio.registrar import Observer
from trio_socketio.socketio.socket import Socket
from trio_socketio.socketio.steps import Awaited

AUTH_EVENT: Final = "auth"
REPLY_EVENT: Final = "auth/reply"
_TOKEN: Final = "token"
_PRINTABLE: Final = bytes(range(0x20, 0x7F))
"""The characters of ASCII for which str.isprintable is true."""
_WELCOME: Final = {"errcode": 0, "errmsg": "ok"}
ABANDONED: Final = "abandoned"
"""The result of an attempt whose client has left, or was put out, before it was decided."""
KNOWING_S: Final = 1.5
"""How long a client waits while this node reads what others have revoked."""
_SPARE_S: Final = 2.0
"""A verifier keeps to its deadline; the step as a whole ends this much later at the latest."""


class Knowing(Protocol):
    """Whether this node knows all revocations; see SharedRevocations."""

    @property
    def is_current(self) -> bool:
        """Whether it knows them all."""

    async def wait_current(self) -> None:
        """Wait until it knows them all."""


class Gate(Observer):
    """The way in. It also observes who comes and goes.

    Args:
        options: times and bounds.
        policies: which namespaces ask, and whom.
        clients: those that are identified.
        strangers: those that were refused.
        revocations: of users and tokens.
        clock: seconds since 1970.
        shared: whether this node knows what others have revoked; None if they share nothing.

    Attributes:
        options: may be replaced at any time.
        policies: likewise.
        tally: how attempts ended, by method and result.
    """

    def __init__(
        self,
        options: IdentityOptions,
        policies: Policies,
        clients: Clients,
        strangers: Strangers,
        revocations: Revocations,
        clock: Callable[[], float],
        shared: Knowing | None = None,
    ) -> None:
        self._shared = shared
        self.options = options
        self.policies = policies
        self._clients = clients
        self._strangers = strangers
        self._revocations = revocations
        self._clock = clock
        self.tally: Counter[tuple[str, str]] = Counter()
        self._judging: dict[Joining, str] = {}  # clients and the methods of who is asked about them

    # -- the step

    def identify(self, joining: Joining) -> Awaited | None:
        """Find out who a client is: the step of the stage AUTHENTICATING.

        Returns:
            What has to be awaited, if it cannot be decided at once.
        Raises:
            ConnectRefused: the client may not enter.
        """
        chain = self.policies.find(joining.name)
        if chain is None:
            return None
        assert joining.socket is not None
        token, joining._token = joining._token, None  # IDENT-33: from here on, nothing keeps it
        if token is None and self.options.by_event:
            return Awaited(
                self._identify_by_event, (joining, chain), self.options.auth_timeout_s + _SPARE_S
            )
        attempt = self._attempt(joining.name, joining.socket, token, joining.auth)
        if isinstance(attempt, Refusal):
            raise self._turn_away(joining, Decision("none", attempt))
        if not self._knows_all:
            wait_s = KNOWING_S + self.options.deadline_s + _SPARE_S
            return Awaited(self._identify_when_all_is_known, (joining, attempt, chain), wait_s)
        found = chain.verify_now(attempt)
        if isinstance(found, Decision):
            self._decide(joining, found, None)
            return None
        return Awaited(
            self._decide_later, (joining, attempt, found, None), self.options.deadline_s + _SPARE_S
        )

    @property
    def _knows_all(self) -> bool:
        return self._shared is None or self._shared.is_current

    async def _identify_when_all_is_known(
        self, joining: Joining, attempt: Attempt, chain: Chain
    ) -> None:
        """Identify a client once this node knows all revocations, as it does in a moment."""
        assert self._shared is not None
        with trio.move_on_after(KNOWING_S) as scope:
            await self._shared.wait_current()
        if scope.cancelled_caught:
            raise self._turn_away(joining, Decision("none", Refusal(UNAVAILABLE)), NotNow)
        found = chain.verify_now(attempt)
        if isinstance(found, Decision):
            self._decide(joining, found, None)
        else:
            await self._decide_later(joining, attempt, found, None)

    async def _identify_by_event(self, joining: Joining, chain: Chain) -> None:
        socket = joining.socket
        assert socket is not None
        # IDENT-30: when the client is refused, Joining sends the reply, and then logic/error.
        credentials = joining.accept(AUTH_EVENT, self.options.auth_timeout_s, REPLY_EVENT)
        arguments = await credentials.wait()
        attempt = self._read_event(joining.name, socket, arguments)
        if isinstance(attempt, Refusal):
            raise self._turn_away(joining, Decision("none", attempt))
        found = chain.verify_now(attempt)
        if isinstance(found, Decision):
            self._decide(joining, found, credentials)
        else:
            await self._decide_later(joining, attempt, found, credentials)

    def _read_event(
        self, namespace: str, socket: Socket, arguments: list[Any]
    ) -> Attempt | Refusal:
        """Check the arguments of an event auth."""
        payload = arguments[0] if arguments else None
        if type(payload) is not dict:
            return Refusal(MALFORMED, "expected an object with a token")
        return self._attempt(namespace, socket, payload.pop(_TOKEN, None), payload)

    def _attempt(
        self, namespace: str, socket: Socket, token: object, auth: dict[str, Any]
    ) -> Attempt | Refusal:
        """Check what a client has sent, as far as that does not depend on who verifies it."""
        if token is None or token == "":
            return Refusal(NO_TOKEN)
        if type(token) is not str:
            return Refusal(MALFORMED, "the token is not text")
        bound = self.options.max_token_bytes  # IDENT-04
        if len(token) > bound:
            return Refusal(TOO_LARGE)
        if token.isascii():
            if token.encode().translate(None, _PRINTABLE):  # 13 times as fast as str.isprintable
                return Refusal(MALFORMED)
        elif not token.isprintable():  # half a surrogate pair, for one, could not be encoded
            return Refusal(MALFORMED)
        elif len(token.encode()) > bound:
            return Refusal(TOO_LARGE)
        return Attempt(
            namespace=namespace,
            token=token,
            auth=auth,
            address=socket.session.handshake.address,
            socket=socket.public_id,
            asked_at_s=self._clock(),
        )

    async def _decide_later(
        self,
        joining: Joining,
        attempt: Attempt,
        verifier: Verifier,
        credentials: Credentials | None,
    ) -> None:
        """Ask a verifier that takes its time. Meanwhile the client may leave, or be put out."""
        self._judging[joining] = verifier.method
        verdict = await verifier.verify(attempt)
        if self._judging.pop(joining, None) is not None:  # otherwise that has happened
            self._decide(joining, Decision(verifier.method, verdict), credentials)

    def _decide(
        self, joining: Joining, decision: Decision, credentials: Credentials | None
    ) -> None:
        """Let a client pass or turn it away. No checkpoint lets a revocation come in between."""
        verdict = decision.verdict
        if isinstance(verdict, Refusal):
            raise self._turn_away(joining, decision)
        if self._is_revoked(verdict):
            raise self._turn_away(joining, Decision(decision.method, Refusal(REVOKED)))
        if not self._knows_all:  # IDENT-82
            decision = Decision(decision.method, Refusal(UNAVAILABLE))
            raise self._turn_away(joining, decision, NotNow)
        try:
            joining.identify(verdict.user)
        except ConnectRefused as error:  # JOIN-34
            refusal = Refusal(OTHER_USER, error.message)
            raise self._turn_away(joining, Decision(decision.method, refusal)) from None
        self.tally[decision.method, "accepted"] += 1
        self._clients.add(joining, verdict, credentials)

    def _is_revoked(self, identity: Identity) -> bool:
        if not self._revocations.covers(identity):
            return False
        # It may have been asked about before its user was revoked. The next time it would count as
        # issued after that.
        self._revocations.keep_out(identity)
        return True

    def _turn_away(
        self,
        joining: Joining,
        decision: Decision,
        kind: type[ConnectRefused] = ConnectRefused,
    ) -> ConnectRefused:
        """Count a refusal, and return the error that tells the client, of the kind given."""
        refusal = decision.verdict
        assert isinstance(refusal, Refusal)
        assert joining.socket is not None
        self.tally[decision.method, refusal.reason.label] += 1  # IDENT-42
        if joining.credentials is None:
            client = joining.socket._participant
            self._strangers.hang_up_later(client, self.options.auth_timeout_s)
        errcode = refusal.reason.errcode
        data = {"errcode": errcode, "errmsg": refusal.message}
        return kind(refusal.message, data)  # IDENT-31

    # -- the event of a client that has joined

    async def authenticate_again(self, socket: Socket, *arguments: Any) -> dict[str, Any]:
        """Take another token of a client that has joined: the handler of the event auth.

        Returns:
            The answer, for a client that asks for one.
        """
        chain = self.policies.find(socket.namespace.name)
        assert chain is not None, "only namespaces that ask have this handler"
        decision = await self._judge_again(socket, list(arguments), chain)
        client = self._clients.find(socket)
        if client is None:  # it was put out meanwhile, and was told why
            self.tally[decision.method, ABANDONED] += 1
            return {}
        verdict = decision.verdict
        if isinstance(verdict, Identity):
            if verdict.user != client.identity.user:  # IDENT-36
                verdict = Refusal(OTHER_USER)
            elif self._is_revoked(verdict):
                verdict = Refusal(REVOKED)
            elif not self._knows_all:
                verdict = Refusal(UNAVAILABLE)
            else:
                self.tally[decision.method, "refreshed"] += 1
                self._clients.refresh(client, verdict)
                socket.emit(REPLY_EVENT, _WELCOME)
                return _WELCOME
        self.tally[decision.method, verdict.reason.label] += 1  # IDENT-42
        told = {"errcode": verdict.reason.errcode, "errmsg": verdict.message}
        socket.emit(REPLY_EVENT, told)  # not logic/error, which says that a client is put out
        if verdict.reason is not UNAVAILABLE:  # which is not the client's fault
            self._clients.refused_again(client, told)
        return told

    async def _judge_again(self, socket: Socket, arguments: list[Any], chain: Chain) -> Decision:
        attempt = self._read_event(socket.namespace.name, socket, arguments)
        if isinstance(attempt, Refusal):
            return Decision("none", attempt)
        found = chain.verify_now(attempt)
        if isinstance(found, Decision):
            return found
        try:
            return Decision(found.method, await found.verify(attempt))
        except BaseException:  # the server stops
            self.tally[found.method, ABANDONED] += 1
            raise

    # -- observing

    def joined(self, socket: Socket) -> None:
        """Tell a client that has sent its token as an event that it is in."""
        client = self._clients.find(socket)
        if client is None:
            return
        client.joining = None
        credentials, client.credentials = client.credentials, None
        if credentials is not None:  # IDENT-29: now, as a later step might have refused it
            credentials.answer(_WELCOME)

    def left(self, socket: Socket, reason: str, recoverable: bool) -> None:
        """Forget a client."""
        self._clients.leave(socket)

    def refused(self, joining: Joining, error: ConnectRefused) -> None:
        """Forget a client."""
        if isinstance(error, AuthenticationTimedOut):
            self.tally[self._judging.pop(joining, "none"), "timeout"] += 1
        self._forget(joining)

    def abandoned(self, joining: Joining) -> None:
        """Forget a client."""
        self._forget(joining)

    def _forget(self, joining: Joining) -> None:
        method = self._judging.pop(joining, None)
        if method is not None:
            self.tally[method, ABANDONED] += 1
        self._clients.drop(joining.socket)
