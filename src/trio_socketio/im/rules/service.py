"""What clients may do, and how often: the guard of their events, and the judge of their rooms."""

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from time import monotonic
from typing import TYPE_CHECKING, Final

import trio

from trio_socketio.errors import ConnectRefused
from trio_socketio.im.rules import denial
from trio_socketio.im.rules.allowances import Allowances, BearerOf
from trio_socketio.im.rules.charges import Charge, charges_of, deny, who_pays
from trio_socketio.im.rules.denial import Denied, show, too_often
from trio_socketio.im.rules.guarding import GuardedHandler, Judge
from trio_socketio.im.rules.keys import join_key, room_key
from trio_socketio.im.rules.logins import Logins
from trio_socketio.im.rules.meter import Meter
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
        bearer_of: returns the client of a socket, with its token; None if there are no tokens.
        clock: in seconds. It is not trio's, because reading that takes three calls.

    Attributes:
        allowances, meter, refusals: what the judges of events have in common.
    """

    def __init__(
        self,
        server: "Server",
        options: RulesOptions,
        bearer_of: BearerOf | None = None,
        clock: Callable[[], float] = monotonic,
    ) -> None:
        self._server = server
        self.refusals = Refusals()
        self._defined: dict[str, Policy] = {}
        self._everywhere: TokenRate | None = None
        self.allowances = Allowances(bearer_of)
        self._observes = False
        self._judges_logins = False
        self._guarded: dict[tuple[Policy, Handler], Handler] = {}
        self.meter = Meter(TokenBuckets(options.max_counted), clock)
        self._logins = Logins(self.meter.buckets)
        self._take_over(options)
        for namespace in server.namespaces.values():
            self._guard(namespace)
        server.on("new_namespace")(self._guard)

    # -- the rules that hold

    def apply(self, options: RulesOptions) -> None:
        """Apply other options. What was counted stays counted."""
        self._take_over(options)
        self.meter.buckets.most = options.max_counted
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
            self._defined[namespace] = Policy(rules, self._everywhere)
        self._guarded.clear()
        found = self._server.namespaces.get(namespace)
        if found is not None:
            self._guard(found)

    def find(self, namespace: str) -> Policy | None:
        """Return the rules of a namespace; None if clients may do everything there."""
        return self._defined.get(namespace) or self._configured.find(namespace)

    def policy_of(self, namespace: str) -> Policy | None:
        """Return the policy by which events in a namespace are judged; None if by none.

        Without rules of the namespace, there may still be a rate in all namespaces together.
        """
        return self.find(namespace) or self._free

    def _take_over(self, options: RulesOptions) -> None:
        everywhere = compile_rate(options.user)
        configured = {one.name: Policy(one, everywhere) for one in options.namespaces}
        self._configured = ByNamespace[Policy | None](configured, None)
        if everywhere != self._everywhere:
            self._everywhere = everywhere
            self._defined = {
                name: policy.with_rate(everywhere) for name, policy in self._defined.items()
            }
        self._free = None if everywhere is None else Policy(NamespaceRules(), everywhere)
        self._guarded.clear()
        self._logins.apply(options.logins)
        if options.logins is not None and not self._judges_logins:
            # Behind the step that finds out who the client is, and before it takes a seat.
            self._judges_logins = True
            self._server.add_steps([Step(State.AUTHENTICATING, self._admit)])

    def _guard(self, namespace: "Namespace") -> None:
        """Put the handlers of a namespace behind a guard, or leave them alone (RULE-02)."""
        policy = self.policy_of(namespace.name)
        self.allowances.go_by(policy, namespace.sockets.values())
        if policy is None:
            namespace._registry.guard(None)
            return
        if not self._observes:
            self._observes = True
            self._server.observe(self)
        namespace._registry.guard(partial(self._put_guard, policy))

    def _put_guard(self, policy: Policy, handler: Handler) -> Handler:
        """Return what is called instead of a handler; itself if its event is free for all."""
        event = str(handler.name)
        if policy.is_free(event):
            return handler
        if isinstance(handler, Deputy):  # which is made anew for each event
            return GuardedHandler(handler, Judge(self, policy, event, remembers=False), tell)
        # The children of a parent share their handlers, and so they share what guards these.
        key = policy, handler
        guarded = self._guarded.get(key)
        if guarded is None:
            judge = Judge(self, policy, event, remembers=True)
            guarded = GuardedHandler(handler, judge, tell)
            if len(self._guarded) >= _MOST_GUARDED:
                del self._guarded[next(iter(self._guarded))]
            self._guarded[key] = guarded
        return guarded

    # -- what clients may do

    def may_join(self, socket: "Socket", event: str, rooms: Sequence[str]) -> Denied | None:
        """Say whether a client may enter rooms, all of them together, and count it then.

        Args:
            socket: of the client.
            event: by which it asks for that.
            rooms: their names.
        Returns:
            None if it may.
        """
        place = socket.namespace.name
        policy = self.find(place)
        if policy is None:
            return None
        denied = self._judge_names(socket, policy, "rooms", rooms)
        if denied is None and policy.joins is not None:
            key = join_key(place, who_pays(socket))
            charges = [Charge(denial.JOIN_RATE, "", key, policy.joins, len(rooms))]
            denied = self._charge(socket, policy, event, charges)
        return denied and self.refusals.note(socket, denied)

    def may_send(self, socket: "Socket", event: str, rooms: Sequence[str]) -> Denied | None:
        """Say whether a client may send a message to each of some rooms, and count it then.

        Args:
            socket: of the client.
            event: by which it sends.
            rooms: their names; one may be there several times.
        Returns:
            None if it may.
        """
        policy = self.find(socket.namespace.name)
        if policy is None:
            return None
        denied = self._judge_names(socket, policy, "rooms", rooms)
        if denied is None and policy.room is not None:
            denied = self._charge_rooms(socket, policy, policy.room, event, rooms)
        return denied and self.refusals.note(socket, denied)

    def may_send_to_users(
        self, socket: "Socket", event: str, users: Sequence[str]
    ) -> Denied | None:
        """Say whether a client may send a message to each of some users, and count it then.

        Args:
            socket: of the client.
            event: by which it sends.
            users: their ids; one may be there several times.
        Returns:
            None if it may.
        """
        policy = self.find(socket.namespace.name)
        if policy is None:
            return None
        denied = self._judge_names(socket, policy, "users", users)
        if denied is None and policy.room is not None:
            rooms = list(map(user_room, users))
            denied = self._charge_rooms(socket, policy, policy.room, event, rooms)
        return denied and self.refusals.note(socket, denied)

    def _judge_names(
        self, socket: "Socket", policy: Policy, kind: str, names: Sequence[str]
    ) -> Denied | None:
        """Judge the names of rooms or users."""
        patterns = policy.rooms if kind == "rooms" else policy.users
        if policy.rules.claim is not None:
            grant = self.allowances.find(socket, policy).grant
            if grant.fault:
                return Denied(denial.CLAIM, grant.fault, None)
            granted = grant.rooms if kind == "rooms" else grant.users
            patterns = patterns if granted is None else granted
        if patterns is None:
            return None
        for number, name in enumerate(names):
            if not patterns.match(name):
                if kind == "rooms":
                    message = f"you may not use the room {show(name)}"
                    return Denied(denial.ROOM, message, None, number)
                message = f"you may not send to the user {show(name)}"
                return Denied(denial.USER, message, None, number)
        return None

    def _charge_rooms(
        self, socket: "Socket", policy: Policy, rate: SharedRate, event: str, rooms: Sequence[str]
    ) -> Denied | None:
        """Charge for messages into rooms, which may be those of users."""
        place, meter = socket.namespace.name, self.meter
        if len(rooms) == 1 and meter.take_shared(room_key(place, rooms[0]), who_pays(socket), rate):
            return None  # nearly always, so nothing more is made for it
        charges = [
            Charge(denial.ROOM_RATE, room, room_key(place, room), rate, count)
            for room, count in Counter(rooms).items()
        ]
        return self._charge(socket, policy, event, charges)

    def _charge(
        self, socket: "Socket", policy: Policy, event: str, charges: Sequence[Charge]
    ) -> Denied | None:
        """Charge for what an event does that has passed the guard.

        If it is refused, the client is told when the guard will let the event pass again, too,
        unless that is sooner (RULE-21).
        """
        who = who_pays(socket)
        shortage = self.meter.make(who, charges)
        if shortage is None:
            return None
        grant = self.allowances.find(socket, policy).grant
        guarding = charges_of(policy, event, policy.event_rates(event), grant, socket)
        behind = self.meter.find_shortage(who, guarding)
        wait_s = shortage.wait_s if behind is None else max(shortage.wait_s, behind.wait_s)
        return deny(shortage.charge, wait_s)

    # -- logins

    def _admit(self, joining: "Joining") -> None:
        """Hold off a user who logs in too often: a step of joining.

        Raises:
            ConnectRefused: it says for how long.
        """
        socket = joining.socket
        if socket is None or socket.user is None or socket.recovered:
            return
        wait_s = self._logins.admit(joining.name, socket.user, self.meter.clock())
        if wait_s:
            denied = self.refusals.note(
                socket, too_often(denial.LOGIN_RATE, "you have logged in too often", wait_s)
            )
            raise ConnectRefused(denied.message, denied.told())

    # -- observing

    def left(self, socket: "Socket", reason: str, recoverable: bool) -> None:
        """Forget what a client may do."""
        self.allowances.drop(socket)

    def statistics(self) -> RulesStatistics:
        """Return what the rules have refused, and what they count."""
        return RulesStatistics(
            dict(self.refusals.by_reason),
            len(self.meter.buckets),
            len(self._logins),
            self.meter.buckets.evicted,
        )

    # -- the service

    async def run(
        self,
        runtime: "Runtime",
        *,
        task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED,
    ) -> None:
        """Sum up the lines of the log, until cancelled: for Runtime.start_service."""
        self.refusals.begin(runtime.deadlines)
        task_status.started()
        try:
            await trio.sleep_forever()
        finally:
            self.refusals.flush()
