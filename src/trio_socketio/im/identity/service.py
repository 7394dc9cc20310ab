"""Identity as a service of the runtime."""

import logging
import time
from collections.abc import Callable, Collection
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

import trio

from trio_socketio.errors import ConfigurationError
from trio_socketio.im.identity.backend_verifier import AskBackend
from trio_socketio.im.identity.clients import Clients, IdentifiedClient, LeftClient, Seats
from trio_socketio.im.identity.gate import AUTH_EVENT, Gate
from trio_socketio.im.identity.identity import Identity
from trio_socketio.im.identity.options import IdentityOptions
from trio_socketio.im.identity.revocation_hash import RevocationRedis
from trio_socketio.im.identity.revocations import Revocations
from trio_socketio.im.identity.revoking import Revoking
from trio_socketio.im.identity.shared_revocations import SharedRevocations
from trio_socketio.im.identity.strangers import Strangers
from trio_socketio.im.identity.token_names import TokenNames
from trio_socketio.im.identity.verifiers import Prepared, prepare
from trio_socketio.protocol.joining import State
from trio_socketio.runtime.groups import alone
from trio_socketio.runtime.sampling import REFUSALS, SampledLog
from trio_socketio.socketio.handlers import PrivateHandler
from trio_socketio.socketio.namespace import Namespace
from trio_socketio.socketio.server import Server
from trio_socketio.socketio.socket import Socket
from trio_socketio.socketio.steps import Step

if TYPE_CHECKING:
    from trio_socketio.http.outgoing import Outgoing
    from trio_socketio.im.identity.remote_keys import RemoteKeys
    from trio_socketio.runtime.runtime import Runtime

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class IdentityStatistics:
    """A snapshot of the identity service.

    Args:
        attempts: how attempts to authenticate ended, by method and result.
        identified: clients that are identified now, each namespace counted.
        put_out: clients that were put out, by reason: expired, revoked.
        revocations: how many are kept.
        fetches: how often the keys of a JWKS URL were fetched.
        fetches_failed: how many of these fetches failed.
    """

    attempts: dict[tuple[str, str], int]
    identified: int
    put_out: dict[str, int]
    revocations: int
    fetches: int
    fetches_failed: int


class IdentityService:
    """Has the namespaces of a server ask clients who they are. Nothing is started before `run`.

    It has 14 attributes: its parts, which keys it fetches, and what it was given.

    Args:
        server: the server. Its app must not handle the event auth where identity is asked for.
        options: how clients are identified.
        ask_backend: calls a backend, if the options say so.
        prepared: the options, with the files that they name; None reads these now.
        clock: seconds since 1970.
        redis: by which nodes share their revocations; None keeps those of this node here.
        prefix: begins the names of keys and channels there.

    Attributes:
        revoking: revokes users and tokens.

    Raises:
        ConfigurationError: a file cannot be used, or the app handles the event auth.
    """

    def __init__(
        self,
        server: Server,
        options: IdentityOptions,
        ask_backend: AskBackend | None = None,
        prepared: Prepared | None = None,
        clock: Callable[[], float] = time.time,
        redis: RevocationRedis | None = None,
        prefix: str = "tsio",
    ) -> None:
        if options.backend and ask_backend is None:
            raise ConfigurationError(
                "[identity] backend asks backends on the control socket: set [control] listen"
            )
        self._ask_backend = ask_backend
        self._prepared = prepare(options, clock) if prepared is None else prepared
        self._lines = SampledLog(log, logging.WARNING, REFUSALS)
        self._names = TokenNames()
        self._hand_out()
        self._revocations = Revocations(_kept_s(options), options.max_revocations, clock)
        self._strangers = Strangers()
        self._clients = Clients(self._revocations, self._strangers, options.expiry_grace_s, clock)
        shared = None
        if redis is not None:
            bound = options.max_revocations
            shared = SharedRevocations(redis, bound, clock, self._names, prefix)
        self.revoking = Revoking(self._revocations, self._clients, clock, shared)
        self._gate = Gate(
            options,
            self._prepared.policies,
            self._clients,
            self._strangers,
            self._revocations,
            clock,
            shared,
        )
        self._given: dict[str, tuple[str, ...]] = {}
        self._is_taken = False  # that the app handles the event auth was told
        self._nursery: trio.Nursery | None = None
        self._fetching: trio.CancelScope | None = None
        self._fetches_before = [0, 0]  # of keys whose URL is no longer used
        self._check_app(server)
        server.add_steps([Step(State.AUTHENTICATING, self._gate.identify)])
        server.observe(self._gate)
        server._host.asks_identity = self.asks_in
        for namespace in server.namespaces.values():
            self._listen(namespace)
        server.on("new_namespace")(self._listen)

    def _check_app(self, server: Server) -> None:
        for name, namespace in server.namespaces.items():
            handled = namespace._registry.handlers
            if AUTH_EVENT in handled and self._prepared.policies.find(name) is not None:
                raise ConfigurationError(
                    f"[identity]: the app handles the event {AUTH_EVENT!r} in {name}, where "
                    "identity is asked for: leave out the handler, or give the namespace no "
                    "methods in [identity] namespaces"
                )

    def _listen(self, namespace: Namespace) -> None:
        if self._prepared.policies.find(namespace.name) is None:
            return
        if AUTH_EVENT not in namespace._registry.handlers:
            handler = PrivateHandler(AUTH_EVENT, self._gate.authenticate_again)
            namespace._registry.add_handler(handler)
        elif not self._is_taken:  # once, since clients may make up the names of namespaces
            self._is_taken = True
            log.error(
                "the app handles the event %r in %s, so clients there cannot renew their tokens",
                AUTH_EVENT,
                namespace._family,
            )

    def _hand_out(self) -> None:
        """Give the verifiers what only the service has."""
        backend, webhook = self._prepared.backend, self._prepared.webhook
        if backend is not None and self._ask_backend is not None:
            backend.ask = self._ask_backend
            backend.lines = self._lines
            backend.names = self._names
        if webhook is not None:
            webhook.lines = self._lines
            webhook.names = self._names

    def apply(self, prepared: Prepared) -> None:
        """Use other keys, tokens and times from now on (IDENT-43). Clients that are in stay in."""
        old, self._prepared = self._prepared, prepared
        for namespace, methods in self._given.items():
            prepared.policies.give(namespace, methods)
        self._hand_out()
        self._gate.options = prepared.options
        self._gate.policies = prepared.policies
        self._clients.grace_s = prepared.options.expiry_grace_s
        self._revocations.kept_s = _kept_s(prepared.options)
        if self._nursery is None:
            return
        if old.webhook is not None and old.webhook is not prepared.webhook:
            self._nursery.start_soon(old.webhook.aclose)
        if old.remote is not prepared.remote:
            if old.remote is not None:
                self._fetches_before[0] += old.remote.fetches
                self._fetches_before[1] += old.remote.failures
            if self._fetching is not None:
                self._fetching.cancel()
            self._start_fetching(self._nursery)

    def statistics(self) -> IdentityStatistics:
        """Return what the service does at the moment."""
        remote = self._prepared.remote
        fetches, failures = self._fetches_before
        return IdentityStatistics(
            attempts=dict(self._gate.tally),
            identified=len(self._clients),
            put_out=dict(self._clients.put_out),
            revocations=len(self._revocations),
            fetches=fetches + (remote.fetches if remote else 0),
            fetches_failed=failures + (remote.failures if remote else 0),
        )

    @property
    def fault(self) -> str:
        """Why nobody can be let in, in a few words; empty if clients can."""
        shared = self.revoking.shared
        return "" if shared is None or shared.is_current else shared.fault or "Redis is away"

    def check(self) -> str:
        """Return why nobody can be let in although there is a connection to Redis; see ops.health.

        That there is none is said by another check.
        """
        shared = self.revoking.shared
        return self.fault if shared is not None and shared.is_connected else ""

    def use_seats(self, seats: Seats) -> None:
        """Have the seats of users end with their tokens, and say so in the presence log."""
        self._clients.seats = seats

    @property
    def methods(self) -> tuple[str, ...]:
        """The methods that are set up."""
        return self._prepared.policies.methods

    def give(self, namespace: str, methods: Collection[str] | None) -> None:
        """Have the clients of a namespace identified by other methods than the options say.

        It is called before the namespace is made.

        Args:
            namespace: its name.
            methods: their names; if there are none, everybody may enter, and None restores the
                configured methods.
        """
        if methods is None:
            self._given.pop(namespace, None)
        else:
            self._given[namespace] = tuple(methods)
        self._prepared.policies.give(namespace, methods)

    def asks_in(self, namespace: str) -> bool:
        """Whether the clients of a namespace are asked who they are."""
        return self._prepared.policies.find(namespace) is not None

    def is_to_ask_in(self, namespace: str) -> bool:
        """Whether the options have the clients of a namespace asked, whatever it was given."""
        return self._prepared.policies.find_configured(namespace) is not None

    def identity_of(self, socket: Socket) -> Identity | None:
        """Return who the client of a socket is, with the claims that the options keep."""
        client = self._clients.find(socket)
        return None if client is None else client.identity

    def client_of(self, socket: Socket) -> IdentifiedClient | LeftClient | None:
        """Return the client of a socket, whose identity changes with its token; None if none.

        Once it has left, what is returned has the last token that the client had.
        """
        return self._clients.find_bearer(socket)

    # -- the service

    async def run(
        self,
        runtime: "Runtime",
        *,
        task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED,
    ) -> None:
        """Fetch keys and watch the ends of tokens, until cancelled: for Runtime.start_service."""
        self._clients.begin(runtime.deadlines)
        self._strangers.begin(runtime.deadlines)
        self._lines = SampledLog(log, logging.WARNING, REFUSALS, runtime.deadlines)
        self._hand_out()
        try:
            async with alone(trio.open_nursery()) as self._nursery:
                self._start_fetching(self._nursery)
                self._nursery.start_soon(self.revoking.run)
                if self._prepared.remote is not None:
                    # Clients come only after this, so the first ones find the keys.
                    with trio.move_on_after(self._prepared.options.deadline_s):
                        await self._prepared.remote.wait_fetched()
                task_status.started()
                await self._clients.watch()
        finally:
            self._nursery = None
            self._lines.flush()
            with trio.CancelScope(shield=True, deadline=trio.current_time() + 1.0):
                if self._prepared.webhook is not None:
                    await self._prepared.webhook.aclose()

    def _start_fetching(self, nursery: trio.Nursery) -> None:
        self._fetching = None
        if self._prepared.remote is not None and self._prepared.outgoing is not None:
            self._fetching = trio.CancelScope()
            run = partial(_fetch, self._prepared.remote, self._prepared.outgoing, self._fetching)
            nursery.start_soon(run)


def _kept_s(options: IdentityOptions) -> float:
    """For how long a token can be valid; the leeway counts at both of its ends (IDENT-65)."""
    return options.max_lifetime_s + (2 * options.jwt.leeway_s if options.jwt else 0.0)


async def _fetch(remote: "RemoteKeys", outgoing: "Outgoing", scope: trio.CancelScope) -> None:
    try:
        with scope:
            await remote.run()
    finally:
        with trio.CancelScope(shield=True, deadline=trio.current_time() + 1.0):
            await outgoing.aclose()
