"""Whether what is remembered of clients is ever out of date: a model remembers nothing."""

from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from typing import Any, Final

import pytest
import trio
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.im.rules.ruled import Token, identify
from tests.properties import examples
from tests.socketio.in_process import FakeSession, join

from trio_socketio import Server, Socket
from trio_socketio.errors import EventRefused
from trio_socketio.im.rules.allowances import MAX_EVENTS
from trio_socketio.im.rules.grants import Claims
from trio_socketio.im.rules.guarding import GuardedHandler
from trio_socketio.im.rules.options import EventRate, NamespaceRules, Rate, Rates, RulesOptions
from trio_socketio.im.rules.service import Rules
from trio_socketio.protocol.joining import State
from trio_socketio.socketio.handlers import Handler
from trio_socketio.socketio.steps import Step

PLACES: Final = ("/chat", "/other")
USERS: Final = ("ann", "bob", None)
EVENTS: Final = ("echo", "say", "made up")
CLAIMS: Final[tuple[Claims, ...]] = (
    {},
    {"im": {"events": ["e*"]}, "other": {"events": ["say"]}},
    {"im": {"rate": {"per_s": 1.0, "burst": 3}}},
    {"im": {"events": ["made up", "say"], "rate": {"per_s": 0.5}}, "other": {}},
    {"im": 5, "other": {"rate": {"per_s": 4.0}}},
)
SLOW: Final = Rate(per_s=0.5, burst=2)
QUICK: Final = Rate(per_s=2.0, burst=4)
RULES: Final = (
    NamespaceRules(),
    NamespaceRules(claim="im"),
    NamespaceRules(claim="other", events=("echo", "say"), rates=Rates(user=SLOW)),
    NamespaceRules(
        claim="im",
        rates=Rates(
            user=QUICK,
            namespace=QUICK,
            events=(EventRate(name="s*", per_s=0.25), EventRate(name="*y", per_s=1.0, burst=3)),
        ),
    ),
    NamespaceRules(events=("e*", "made up"), rates=Rates(namespace=Rate(per_s=1.0, burst=6))),
)


def named(rules: NamespaceRules, name: str) -> NamespaceRules:
    values = {field: getattr(rules, field) for field in ("events", "claim", "rates")}
    return NamespaceRules(name=name, **values)


OPTIONS: Final = (
    RulesOptions(),
    RulesOptions(user=SLOW),
    *(RulesOptions(namespaces=(named(one, "/chat"), named(one, "/other"))) for one in RULES),
    RulesOptions(namespaces=(named(RULES[3], "/chat"),), user=QUICK),
)


@dataclass
class Model:
    """Reads everything anew for each event."""

    options: RulesOptions
    defined: dict[str, NamespaceRules] = field(default_factory=dict)
    full_at: dict[tuple[str, ...], float] = field(default_factory=dict)
    now: float = 0.0

    def judge(self, place: str, who: str, event: str, claims: Claims) -> str | None:
        """Return the reason why an event is refused; None if it is not, and is counted then."""
        configured = {one.name: one for one in self.options.namespaces}
        rules = self.defined.get(place) or configured.get(place) or NamespaceRules()
        claim = claims.get(rules.claim or "", {})
        if not isinstance(claim, dict):
            return "bad_claim"
        patterns = claim.get("events", rules.events)
        if patterns is not None and not any(fnmatchcase(event, one) for one in patterns):
            return "event_not_allowed"
        rates = rules.rates
        user = Rate(**claim["rate"]) if "rate" in claim else rates.user
        taken: list[tuple[tuple[str, ...], float, float]] = [
            (("event", place, who, one.name), *times(one.per_s, one.burst))
            for one in rates.events
            if fnmatchcase(event, one.name)
        ]
        if user is not None:
            taken.append((("user", place, who), *times(user.per_s, user.burst)))
        if self.options.user is not None:
            taken.append((("user", who), *times(self.options.user.per_s, self.options.user.burst)))
        share = ("share", place, who)
        half_s = 0.0
        if rates.namespace is not None:
            interval_s, fill_s = times(rates.namespace.per_s, rates.namespace.burst)
            capacity, half_s = round(fill_s / interval_s), fill_s / 2
            taken.append((share, 2 * interval_s, max(capacity // 2, 1) * 2 * interval_s))
            taken.append((("namespace", place), interval_s, fill_s))
        for (
            one
        ) in taken:  # a bucket that is looked at holds no more than its rate allows from then on
            self.full_at[one[0]] = self.now + self.used(one[0], one[2])
            if not self.fits(*one):
                break
        if half_s and not self.fits(*taken[-2]):
            if not self.fits(*taken[-1], half_s):
                return "namespace_rate"
            del taken[-2]
        if not all(self.fits(*one) for one in taken):
            return "rate"
        for key, interval_s, fill_s in taken:
            self.full_at[key] = self.now + self.used(key, fill_s) + interval_s
        return None

    def used(self, key: tuple[str, ...], fill_s: float) -> float:
        return min(max(self.full_at.get(key, 0.0) - self.now, 0.0), fill_s)

    def fits(
        self, key: tuple[str, ...], interval_s: float, fill_s: float, usable_s: float | None = None
    ) -> bool:
        return self.used(key, fill_s) + interval_s <= (fill_s if usable_s is None else usable_s)


def times(per_s: float, burst: int | None) -> tuple[float, float]:
    """Return the interval of a token, and the time in which a bucket fills."""
    return 1 / per_s, (max(int(per_s), 1) if burst is None else burst) / per_s


class Client:
    """Who a client is, as its last token says."""

    def __init__(self, token: Token) -> None:
        self.identity = token


@dataclass
class Waiting:
    """An event that waits for its handler, which was looked up when it came."""

    socket: Socket
    event: str
    handler: Handler | None
    arguments: list[int]


class World:
    """The rules beside the model. Its sockets are those that are there, and some that have left.

    Of a client that has left, nothing but its last token is known: as with the service that finds
    out who clients are, another object has that.
    """

    def __init__(self, options: RulesOptions) -> None:
        self.clients: dict[Socket, Client] = {}
        self.there: dict[Socket, Client] = {}
        self.left: dict[Socket, Client] = {}
        self.waiting: list[Waiting] = []
        self.model = Model(options)
        self.server = Server()
        self.server.add_steps([Step(State.AUTHENTICATING, identify)])
        for place in PLACES:
            for event in EVENTS[:2]:
                self.server.of(place).on(event)(handle)
        self.rules = Rules(self.server, options, self.bearer_of, lambda: self.model.now)

    def bearer_of(self, socket: Socket) -> Client | None:
        return self.there.get(socket) or self.left.get(socket)

    def enter(self, place: str, user: str | None, claims: Claims) -> None:
        session = FakeSession()
        session.sid = f"session {len(self.clients)}"
        socket = join(self.server.of(place), session, {"user": user}).socket
        assert socket is not None
        self.clients[socket] = self.there[socket] = Client(Token(claims))

    def leave(self, socket: Socket) -> None:
        """Have a client leave. Whoever knows its token is told before the rules are."""
        client = self.there.pop(socket, None)
        if client is not None:
            self.left[socket] = Client(client.identity)
        socket.disconnect()

    def renew(self, socket: Socket, claims: Claims) -> None:
        """Give a client another token, if it is there."""
        if socket in self.there:
            self.clients[socket].identity = Token(claims)

    def find_handler(self, socket: Socket, event: str) -> Handler | None:
        registry = self.server.of(socket.namespace.name)._registry
        return registry.handlers.get(event) or registry.unhandled_for(event)

    def send(self, socket: Socket, event: str, arguments: list[int]) -> str | None:
        """Hand an event to its handler; return the reason if it was refused."""
        return self.handle(Waiting(socket, event, self.find_handler(socket, event), arguments))

    def handle(self, waiting: Waiting) -> str | None:
        """Call the handler of an event whose turn has come."""
        handler, arguments = waiting.handler, waiting.arguments
        try:
            answer = [] if handler is None else handler.function(waiting.socket, *arguments)
        except EventRefused:  # nothing handles it, but it was let pass
            answer = arguments
        if isinstance(answer, dict):
            return str(answer["reason"])
        assert handler is None or answer == arguments
        return None

    def check_event(self, socket: Socket, event: str, arguments: list[int]) -> None:
        """Send an event, and compare."""
        self.check_waiting(
            Waiting(socket, event, self.find_handler(socket, event), arguments), was_free=False
        )

    def check_waiting(self, waiting: Waiting, *, was_free: bool) -> None:
        """Have the turn of an event come, and compare.

        Args:
            waiting: the event.
            was_free: whether no rule applied to it when it came, so that none does now.
        """
        socket = waiting.socket
        who = socket.user or socket.session.sid
        claims = self.clients[socket].identity.claims
        expected = None
        if not was_free:
            expected = self.model.judge(socket.namespace.name, who, waiting.event, claims)
        reason = self.handle(waiting)
        if expected is not None and expected.endswith("rate"):  # of which one does not matter here
            assert reason is not None
            assert reason.endswith("_rate")
        else:
            assert reason == expected

    def check_kept(self) -> None:
        known = self.rules.allowances.known
        assert all(socket.connected for socket in known)
        assert all(set(one.draws) <= set(EVENTS[:2]) for one in known.values())
        for socket, one in known.items():
            assert one.policy is self.rules.policy_of(socket.namespace.name)


def handle(_: Socket, *arguments: int) -> list[int]:
    return list(arguments)


STEPS: Final = st.one_of(
    st.tuples(
        st.just("send"), st.integers(0, 9), st.sampled_from(EVENTS), st.integers(1, 4),
        st.lists(st.integers(), max_size=3),
    ),
    st.tuples(
        st.just("queue"), st.integers(0, 9), st.sampled_from(EVENTS),
        st.lists(st.integers(), max_size=3),
    ),
    st.tuples(st.just("handle"), st.integers(1, 3)),
    st.tuples(st.just("wait"), st.integers(1, 12)),
    st.tuples(st.just("enter"), st.sampled_from(PLACES), st.sampled_from(USERS),
              st.sampled_from(CLAIMS)),
    st.tuples(st.just("leave"), st.integers(0, 9)),
    st.tuples(st.just("renew"), st.integers(0, 9), st.sampled_from(CLAIMS)),
    st.tuples(st.just("apply"), st.sampled_from(OPTIONS)),
    st.tuples(st.just("define"), st.sampled_from(PLACES), st.sampled_from((*RULES, None))),
    st.tuples(st.just("replace"), st.sampled_from(PLACES), st.sampled_from(EVENTS[:2])),
)  # fmt: skip


def play(world: World, steps: list[Any]) -> None:
    for kind, *details in steps:
        match kind, details:
            case "send", [number, event, count, arguments]:
                for _ in range(count):
                    world.check_event(pick(world, number), event, arguments)
            case "queue", [number, event, arguments]:
                socket = pick(world, number)
                handler = world.find_handler(socket, event)
                world.waiting.append(Waiting(socket, event, handler, arguments))
            case "handle", [count]:
                for waiting in world.waiting[:count]:
                    was_free = not isinstance(waiting.handler, GuardedHandler)
                    world.check_waiting(waiting, was_free=was_free)
                del world.waiting[:count]
            case "wait", [quarters]:
                world.model.now += quarters / 4
            case "enter", [place, user, claims]:
                world.enter(place, user, claims)
            case "leave", [number]:
                world.leave(pick(world, number))
            case "renew", [number, claims]:
                world.renew(pick(world, number), claims)
            case "apply", [options]:
                world.rules.apply(options)
                world.model.options = options
            case "define", [place, None]:
                world.rules.define(place, None)
                world.model.defined.pop(place, None)
            case "define", [place, rules]:
                world.rules.define(place, rules)
                world.model.defined[place] = rules
            case "replace", [place, event]:
                registry = world.server.of(place)._registry
                old = registry._find(event)
                assert old is not None
                registry.remove_handler(old)
                registry.add_handler(Handler(event, handle))
        world.check_kept()


def pick(world: World, number: int) -> Socket:
    sockets = list(world.clients)
    return sockets[number % len(sockets)]


@pytest.mark.req("RULE-05", "RULE-08", "RULE-09", "RULE-10", "RULE-12", "RULE-13", "RULE-15")
@pytest.mark.req("RULE-20", "RULE-24", "RULE-25")
@settings(max_examples=examples(200))
@given(st.sampled_from(OPTIONS), st.lists(STEPS, min_size=20, max_size=60))
def test_events_are_judged_as_if_nothing_were_remembered(
    options: RulesOptions, steps: list[Any]
) -> None:
    async def main() -> None:
        world = World(options)
        world.enter("/chat", "ann", CLAIMS[2])
        world.enter("/chat", "ann", CLAIMS[1])
        world.enter("/other", "ann", CLAIMS[3])
        play(world, steps)

    trio.run(main)


def test_what_is_remembered_of_a_client_is_bounded() -> None:
    async def main() -> None:
        rate = EventRate(name="e1*", per_s=0.5, burst=MAX_EVENTS // 2)
        rules = NamespaceRules(name="/chat", rates=Rates(events=(rate,)))
        world = World(RulesOptions(namespaces=(rules,)))
        world.enter("/chat", "ann", {})
        ann = pick(world, 0)
        passed = 0
        for number in range(3 * MAX_EVENTS):
            world.server.of("/chat").on(f"e1-{number}")(handle)
            passed += world.send(ann, f"e1-{number}", []) is None
            assert len(world.rules.allowances.known[ann].draws) <= MAX_EVENTS
        assert passed == MAX_EVENTS // 2

    trio.run(main)
