"""What clients may do, and how often: the guard of their events, and the judge of their rooms."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Final

import trio

from trio_socketio.errors import ConnectRefused
from trio_socketio.im.rules import denial
from trio_socketio.im.rules.denial import Denied, show, too_often
from trio_socketio.im.rules.grants import ClaimsOf, Grants
from trio_socketio.im.rules.guarding import GuardedHandler
from trio_socketio.im.rules.logins import Logins
from trio_socketio.im.rules.options import NamespaceRules, RulesOptions
from trio_socketio.im.rules.policy import Policy, SharedRate, compile_rate
from trio_socketio.im.rules.refusals import Refusals, tell
from trio_socketio.protocol.joining import State
from trio_socketio.protocol.namespace_patterns import ByNamespace
from trio_socketio.protocol.token_bucket import TokenBuckets, TokenRate
from trio_socketio.protocol.user_ids import user_room
from trio_socketio.socketio.handlers import Deputy, Handler
from trio_socketio.socketio.registrar import Observer
from trio_socketio.socketio.steps import Step

if TYPE_CHECKING:
    from trio_socketio.runtime.runtime import Runtime
    from trio_socketio.socketio.joining import Joining
    from trio_socketio.socketio.namespace import Namespace
    from trio_socketio.socketio.server import Server
    from trio_socketio.socketio.socket import Socket

_MOST_GUARDED: Final = 1000
"""How many handlers are remembered whose guards namespaces share."""
_LONG: Final = 64
"""Names of rooms with more characters are counted by their hashes, so that they take little."""


@dataclass(frozen=True, slots=True)
class RulesStatistics:
    """A snapshot of the rules.

    Args:
        refused: what was refused, by reason.
        counted: of how many users, rooms and so on it is counted how often they did something.
        held_off: how many users are held off because they have logged in too often.
        forgotten: how many of the counted were forgotten too early, because there were too many.
    """

    refused: dict[str, int]
    counted: int
    held_off: int
    forgotten: int


class Rules(Observer):
    """Guards the handlers of a server, and is asked by whoever takes clients into rooms.

    It guards the namespaces that there are, and those that are made later.

    Args:
        server: the server.
        options: what clients may do.
        claims_of: returns the claims of a client's token; None if there are no tokens.
        clock: in seconds.
    """

    def __init__(
        self,
        server: "Server",
        options: RulesOptions,
        claims_of: ClaimsOf | None = None,
        clock: Callable[[], float] = trio.current_time,
    ) -> None:
        self._server = server
        self._clock = clock
        self._refusals = Refusals()
        self._defined: dict[str, Policy] = {}
        self._grants = Grants(claims_of)
        self._observes = False
        self._judges_logins = False
        self._guarded: dict[tuple[Policy, Handler], Handler] = {}
        self._buckets = TokenBuckets[tuple[str, ...]](options.max_counted)
        self._logins = Logins(self._buckets)
        self._take_over(options)
        for namespace in server.namespaces.values():
            self._guard(namespace)
        server.on("new_namespace")(self._guard)

    # -- the rules that hold

    def apply(self, options: RulesOptions) -> None:
        """Apply other options. What was counted stays counted."""
        self._take_over(options)
        self._buckets.most = options.max_counted
        for namespace in self._server.namespaces.values():
            self._guard(namespace)

    def define(self, namespace: str, rules: NamespaceRules | None) -> None:
        """Give a namespace rules of its own, from now on.

        Args:
            namespace: its name; it need not exist yet.
            rules: take the place of what is configured; None goes back to that.
        """
        if rules is None:
            self._defined.pop(namespace, None)
        else:
            self._defined[namespace] = Policy(rules)
        self._guarded.clear()
        found = self._server.namespaces.get(namespace)
        if found is not None:
            self._guard(found)

    def find(self, namespace: str) -> Policy | None:
        """Return the rules of a namespace; None if clients may do everything there."""
        return self._defined.get(namespace) or self._configured.find(namespace)

    def _take_over(self, options: RulesOptions) -> None:
        configured = {one.name: Policy(one) for one in options.namespaces}
        self._configured = ByNamespace[Policy | None](configured, None)
        self._user_rate = compile_rate(options.user)
        self._guarded.clear()
        self._logins.apply(options.logins)
        if options.logins is not None and not self._judges_logins:
            # Behind the step that finds out who the client is, and before it takes a seat.
            self._judges_logins = True
            self._server.add_steps([Step(State.AUTHENTICATING, self._admit)])

    def _guard(self, namespace: "Namespace") -> None:
        """Put the handlers of a namespace behind a guard, or leave them alone (RULE-02)."""
        policy = self.find(namespace.name)
        if policy is not None and policy.rules.claim is not None and not self._observes:
            self._observes = True
            self._server.observe(self)
        if policy is None and self._user_rate is None:
            namespace._registry.guard(None)
        else:
            namespace._registry.guard(partial(self._put_guard, policy))

    def _put_guard(self, policy: Policy | None, handler: Handler) -> Handler:
        """Return what is called instead of a handler; itself if its event is free for all."""
        event = str(handler.name)
        is_free = policy is None or (
            policy.events is None
            and policy.rules.claim is None
            and policy.user is None
            and policy.namespace is None
            and not policy.event_rates(event)
        )
        if is_free and self._user_rate is None:
            return handler
        if policy is None:
            policy = _FREE
        # The children of a parent share their handlers, and so they share what guards these.
        key = policy, handler
        guarded = self._guarded.get(key)
        if guarded is None:
            allowed, rates = policy.allows(event), policy.event_rates(event)
            judge = partial(self._judge, policy, event, allowed, rates)
            guarded = GuardedHandler(handler, judge, tell)
            if not isinstance(handler, Deputy):  # which is made anew for each event
                if len(self._guarded) >= _MOST_GUARDED:
                    del self._guarded[next(iter(self._guarded))]
                self._guarded[key] = guarded
        return guarded

    # -- what clients may do

    def may_join(self, socket: "Socket", room: str) -> Denied | None:
        """Say whether a client may enter a room, and count it then.

        Returns:
            None if it may.
        """
        place = socket.namespace.name
        policy = self.find(place)
        if policy is None:
            return None
        denied = self._judge_name(socket, policy, "rooms", room)
        if denied is None and policy.joins is not None:
            wait_s = self._buckets.take(("join", place, _who(socket)), policy.joins, self._clock())
            if wait_s:
                denied = too_often(denial.JOIN_RATE, "you enter rooms too often", wait_s)
        return denied and self._refusals.note(socket, denied)

    def may_send(self, socket: "Socket", room: str) -> Denied | None:
        """Say whether a client may send a message to a room, and count it then.

        Returns:
            None if it may.
        """
        policy = self.find(socket.namespace.name)
        if policy is None:
            return None
        denied = self._judge_name(socket, policy, "rooms", room)
        if denied is None and policy.room is not None:
            denied = self._judge_load(socket, policy.room, room, f"the room {show(room)}")
        return denied and self._refusals.note(socket, denied)

    def may_send_to_user(self, socket: "Socket", user: str) -> Denied | None:
        """Say whether a client may send a message to a user, and count it then.

        Returns:
            None if it may.
        """
        policy = self.find(socket.namespace.name)
        if policy is None:
            return None
        denied = self._judge_name(socket, policy, "users", user)
        if denied is None and policy.room is not None:
            denied = self._judge_load(
                socket, policy.room, user_room(user), f"the user {show(user)}"
            )
        return denied and self._refusals.note(socket, denied)

    def _judge_name(self, socket: "Socket", policy: Policy, kind: str, name: str) -> Denied | None:
        """Judge the name of a room or user."""
        patterns = policy.rooms if kind == "rooms" else policy.users
        if policy.rules.claim is not None:
            grant = self._grants.find(socket, policy.rules.claim)
            if grant.fault:
                return Denied(denial.CLAIM, grant.fault, None)
            granted = grant.rooms if kind == "rooms" else grant.users
            patterns = patterns if granted is None else granted
        if patterns is None or patterns.match(name):
            return None
        if kind == "rooms":
            return Denied(denial.ROOM, f"you may not use the room {show(name)}", None)
        return Denied(denial.USER, f"you may not send to the user {show(name)}", None)

    def _judge_load(
        self, socket: "Socket", rate: SharedRate, room: str, shown: str
    ) -> Denied | None:
        """Judge how often messages go into a room, which may be that of a user."""
        key = room if len(room) <= _LONG else str(hash(room))
        wait_s = self._take_shared(("room", socket.namespace.name, key), _who(socket), rate)
        if not wait_s:
            return None
        return too_often(denial.ROOM_RATE, f"there are too many messages to {shown}", wait_s)

    def _judge(
        self,
        policy: Policy,
        event: str,
        allowed: bool,
        rates: tuple[tuple[str, TokenRate], ...],
        socket: "Socket",
    ) -> Denied | None:
        """Judge an event, and count it if the client may send it.

        The bounds of one user come first, so that what exceeds them uses up nothing of what users
        share (RULE-09).
        """
        rate = policy.user
        if policy.rules.claim is not None:
            grant = self._grants.find(socket, policy.rules.claim)
            if grant.fault:
                return self._refusals.note(socket, Denied(denial.CLAIM, grant.fault, None))
            if grant.events is not None:
                allowed = grant.events.match(event)
            rate = grant.rate or rate
        if not allowed:
            message = f"you may not send the event {show(event)} in {socket.namespace.name}"
            return self._refusals.note(socket, Denied(denial.EVENT, message, None))
        shared = policy.namespace
        if not rates and rate is None and self._user_rate is None and shared is None:
            return None
        now, who, take = self._clock(), _who(socket), self._buckets.take
        place = socket.namespace.name
        for name, event_rate in rates:
            wait_s = take(("event", place, who, name), event_rate, now)
            if wait_s:
                message = f"you send the event {show(event)} too often"
                return self._refusals.note(socket, too_often(denial.EVENT_RATE, message, wait_s))
        wait_s = 0.0
        if rate is not None:
            wait_s = take(("user", place, who), rate, now)
        if self._user_rate is not None and not wait_s:
            wait_s = take(("user", who), self._user_rate, now)
        if wait_s:
            return self._refusals.note(
                socket, too_often(denial.USER_RATE, "you send too many events", wait_s)
            )
        if shared is not None:
            wait_s = self._take_shared(("namespace", place), who, shared)
            if wait_s:
                message = f"there are too many events in {place}"
                return self._refusals.note(
                    socket, too_often(denial.NAMESPACE_RATE, message, wait_s)
                )
        return None

    def _take_shared(self, key: tuple[str, ...], who: str, rate: SharedRate) -> float:
        """Take one of the tokens that many users share.

        A user that takes more than half of them is refused once half of them are gone (RULE-10).
        """
        now, buckets = self._clock(), self._buckets
        wait_s = buckets.take((*key, who), rate.own, now)
        if wait_s and not buckets.keeps_half(key, rate.all, now):
            return wait_s
        return buckets.take(key, rate.all, now)

    # -- logins

    def _admit(self, joining: "Joining") -> None:
        """Hold off a user who logs in too often: a step of joining.

        Raises:
            ConnectRefused: it says for how long.
        """
        socket = joining.socket
        if socket is None or socket.user is None or socket.recovered:
            return
        wait_s = self._logins.admit(joining.name, socket.user, self._clock())
        if wait_s:
            denied = self._refusals.note(
                socket, too_often(denial.LOGIN_RATE, "you have logged in too often", wait_s)
            )
            raise ConnectRefused(denied.message, denied.told())

    # -- observing

    def left(self, socket: "Socket", reason: str, recoverable: bool) -> None:
        """Forget what the token of a client says."""
        self._grants.drop(socket)

    def statistics(self) -> RulesStatistics:
        """Return what the rules have refused, and what they count."""
        return RulesStatistics(
            dict(self._refusals.by_reason),
            len(self._buckets),
            len(self._logins),
            self._buckets.evicted,
        )

    # -- the service

    async def run(
        self,
        runtime: "Runtime",
        *,
        task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED,
    ) -> None:
        """Sum up the lines of the log, until cancelled: for Runtime.start_service."""
        self._refusals.begin(runtime.deadlines)
        task_status.started()
        try:
            await trio.sleep_forever()
        finally:
            self._refusals.flush()


_FREE: Final = Policy(NamespaceRules())
"""The rules of a namespace that has none."""


def _who(socket: "Socket") -> str:
    """Return whom it counts for: the user, or the connection of a client without one (RULE-08)."""
    return socket.user or socket.session.sid
