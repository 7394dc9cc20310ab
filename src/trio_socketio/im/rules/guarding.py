"""A handler behind a guard, and the judge who decides what passes it."""

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Final, Protocol

from trio_socketio.im.rules import denial
from trio_socketio.im.rules.charges import (
    charges_of,
    common_charges,
    deny,
    draws_of,
    own_charges,
    who_pays,
)
from trio_socketio.im.rules.denial import Denied, show
from trio_socketio.socketio.handlers import Deputy, Handler

if TYPE_CHECKING:
    from trio_socketio.im.rules.allowances import Allowances
    from trio_socketio.im.rules.meter import Meter
    from trio_socketio.im.rules.policy import Policy
    from trio_socketio.im.rules.refusals import Refusals
    from trio_socketio.runtime.timings import Timing, Timings
    from trio_socketio.socketio.socket import Socket

_NOTHING: Final = object()
"""Stands for an argument that an event does not have."""

Tell = Callable[["Socket", Denied], dict[str, Any]]
"""Tells a client that it may not; returns the answer to an event that asks for one."""


class Authority(Protocol):
    """What judges have in common; at run time the Rules."""

    allowances: "Allowances"
    meter: "Meter"
    refusals: "Refusals"

    def policy_of(self, namespace: str) -> "Policy | None":
        """Return the policy by which events in a namespace are judged now; None if by none."""


class Judge:
    """Judges the events of one name by one policy, as long as that is the one that holds.

    Args:
        authority: see Authority.
        policy: see Policy.
        event: the name.
        remembers: whether what was found out of a client is kept, which it must not be if a client
            may have made the name up.

    Attributes:
        authority, policy, event: see above.
    """

    __slots__ = ("_allowed", "_rates", "_remembers", "authority", "event", "policy")

    def __init__(
        self, authority: Authority, policy: "Policy", event: str, *, remembers: bool
    ) -> None:
        self.authority = authority
        self.policy = policy
        self.event = event
        self._allowed = policy.allows(event)
        self._rates = policy.event_rates(event)
        self._remembers = remembers

    def judge(self, socket: "Socket") -> Denied | None:
        """Say whether a client may send the event now; it is counted as sent then.

        The guard has tried already to draw what the allowance of the client has for it.
        """
        authority, event = self.authority, self.event
        policy = authority.policy_of(socket.namespace.name)
        if policy is None:
            return None
        if policy is not self.policy:  # RULE-24: the event has waited while the rules changed
            return Judge(authority, policy, event, remembers=False).judge(socket)
        allowance = authority.allowances.find(socket, policy)
        grant, allowed = allowance.grant, self._allowed
        if grant.fault:
            return authority.refusals.note(socket, Denied(denial.CLAIM, grant.fault, None))
        if grant.events is not None:
            allowed = grant.events.match(event)
        if not allowed:
            message = f"you may not send the event {show(event)} in {socket.namespace.name}"
            return authority.refusals.note(socket, Denied(denial.EVENT, message, None))
        who = who_pays(socket)
        if event not in allowance.draws:
            draws = allowance.common
            if draws is None:
                draws = draws_of(common_charges(policy, event, grant, socket), who)
                allowance.common = draws
            if self._rates:
                draws = draws_of(own_charges(event, self._rates, socket), who) + draws
            if self._remembers:
                allowance.keep(event, draws)
            if authority.meter.draw(draws):
                return None
        charges = charges_of(policy, event, self._rates, grant, socket)
        shortage = authority.meter.make(who, charges)
        return None if shortage is None else authority.refusals.note(socket, deny(*shortage))


class GuardedHandler(Handler):
    """Calls a handler if a client may send the event, and otherwise tells the client why not.

    Args:
        inner: the handler.
        judge: see Judge.
        tell: see Tell.
    """

    __slots__ = ("inner",)

    def __init__(self, inner: Handler, judge: Judge, tell: Tell) -> None:
        self.name = inner.name
        self.inner = inner
        self.is_async = is_async = inner.is_async
        self.concurrent = inner.concurrent
        self.timing = None
        self.untimed = 0
        function = inner.function
        policy, event = judge.policy, judge.event
        find = judge.authority.allowances.known.get
        draw, clock = judge.authority.meter.buckets.draw, judge.authority.meter.clock

        def call(socket: "Socket", first: Any = _NOTHING, *others: Any) -> Any:
            """Call the handler, which may be async: then this is called as an async function is.

            A frame is saved at each step of the handler, because there is none of ours around it.
            Nearly always a client has sent the event before and may send it again. What is looked
            at for that is written out here, since each call would cost as much as all of it.
            """
            allowance = find(socket)
            draws = None
            if (
                allowance is not None
                and allowance.policy is policy
                and allowance.bearer.identity is allowance.identity
            ):
                draws = allowance.draws.get(event)
            if draws is None or (draws and not draw(draws, clock())):
                denied = judge.judge(socket)
                if denied is not None:
                    told = tell(socket, denied)
                    return _answer(told) if is_async else told
            if not others:  # most events have one argument, and a call with a * takes twice as long
                return function(socket) if first is _NOTHING else function(socket, first)
            return function(socket, first, *others)

        self.function = call

    def __str__(self) -> str:
        return str(self.inner)

    def take_timing(self, timings: "Timings") -> "Timing | None":
        if isinstance(self.inner, Deputy):  # a client may have made the name up
            return self.inner.take_timing(timings)
        return super().take_timing(timings)


async def _answer(answer: dict[str, Any]) -> dict[str, Any]:
    return answer
