"""Seats that a configuration gives: which namespaces have them, by which rules."""

import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.im.identity.identified import ANN, BOB, STATIC, Identified, identified
from tests.im.identity.test_gate import refused
from tests.wire import SocketIOClient
from trio.testing import trio_test

from trio_socketio import ConfigurationError, LocalProtocolError, Server, ServerOptions
from trio_socketio.errors import OptionError
from trio_socketio.im.identity.options import IdentityOptions, NamespaceIdentity
from trio_socketio.im.presence import Presence
from trio_socketio.im.presence.metrics import PresenceCollector
from trio_socketio.im.presence.options import NamespaceSeats, PresenceOptions
from trio_socketio.im.presence.seat_options import SeatOptions
from trio_socketio.protocol.namespace_patterns import ByNamespace

REPLACED = {"reason": "replaced"}
OPEN = (NamespaceIdentity(name="/", methods=()), NamespaceIdentity(name="/open-*", methods=()))
SEATS = PresenceOptions(
    namespaces=(
        NamespaceSeats(name="/first", policy="reject"),
        NamespaceSeats(name="/many-*", policy="many", maximum=2),
        NamespaceSeats(name="/free", policy="none"),
    )
)


@asynccontextmanager
async def seated(options: PresenceOptions = SEATS) -> AsyncIterator[tuple[Identified, Presence]]:
    """A server whose namespaces ask for identity, apart from / and some others."""
    server = Server(ServerOptions(state_recovery=True))
    server.of(re.compile(r"/[a-z0-9-]+"))
    presence = Presence(server)
    asks = IdentityOptions(tokens=STATIC, namespaces=OPEN).asks_in
    presence.seat_by_name(options, asks)
    async with identified(server, tokens=STATIC, namespaces=OPEN) as here:
        yield here, presence


async def refusal(client: SocketIOClient, namespace: str, token: str) -> str:
    """Ask for a namespace, and return why it is refused."""
    with pytest.raises(AssertionError) as caught:
        await client.connect(namespace, {"token": token})
    return str(caught.value)


@pytest.mark.req("PRES-62")
@pytest.mark.parametrize("namespace", ["/chat", "/made-later", "/x1"])
@trio_test
async def test_the_newest_client_wins_wherever_identity_is_asked_for(namespace: str) -> None:
    async with seated() as (here, presence), here.client() as old, here.client() as new:
        if namespace == "/made-later":
            here.server.of("/made-later")
        await old.connect(namespace, {"token": ANN})
        await new.connect(namespace, {"token": ANN})
        assert (await old.receive_event(namespace))[:2] == ["session/replaced", REPLACED]
        assert await old.receive() == (f"1{namespace},", [])
        assert (await presence.store.count(namespace)).users == 1
        assert presence.has_seats(namespace)
        assert presence.statistics().events == {"online": 1, "moved": 1}


@pytest.mark.req("PRES-62")
@trio_test
async def test_the_rules_of_a_namespace_are_its_own() -> None:
    async with seated() as (here, presence):
        for namespace, first_refused in (("/first", 1), ("/many-a", 2), ("/free", 9)):
            async with here.client() as a, here.client() as b, here.client() as c:
                for number, client in enumerate((a, b, c)):
                    if number < first_refused:
                        await client.connect(namespace, {"token": BOB})
                    else:
                        told = "already connected" if first_refused == 1 else "too many"
                        assert told in await refusal(client, namespace, BOB)
        assert not presence.has_seats("/free")
        assert (await presence.store.count("/free")).users == 0


@pytest.mark.req("IDENT-31")
@pytest.mark.parametrize(
    ("namespace", "message"), [("/first", "already connected"), ("/many-a", "too many sessions")]
)
@trio_test
async def test_the_data_of_a_refusal_says_why(namespace: str, message: str) -> None:
    async with (
        seated() as (here, _),
        here.client() as a,
        here.client() as b,
        here.client() as c,
    ):
        await a.connect(namespace, {"token": BOB})
        if namespace == "/many-a":
            await b.connect(namespace, {"token": BOB})
        error = await refused(c, {"token": BOB}, namespace)
        assert error["data"] == {"errcode": -1, "errmsg": message}


@pytest.mark.req("PRES-62", "JOIN-35")
@trio_test
async def test_nobody_has_a_seat_who_is_not_asked() -> None:
    async with seated() as (here, presence), here.client() as client, here.client() as other:
        for one in (client, other):
            await one.connect("/")
            await one.connect("/open-1")
        assert not presence.has_seats("/")
        assert presence.statistics().claimed == 0
        await client.connect("/free", {"token": ANN})
        rooms = here.server.of("/free").rooms
        assert [socket.user for socket in rooms.joined("user:ann")] == ["ann"]


@pytest.mark.req("PRES-64")
@trio_test
async def test_options_that_are_applied_concern_those_who_come() -> None:
    async with seated() as (here, presence), here.client() as a, here.client() as b:
        await a.connect("/many-a", {"token": ANN})
        more = NamespaceSeats(name="/many-*", policy="many", maximum=1)
        presence.apply(PresenceOptions(namespaces=(SEATS.namespaces[0], more, SEATS.namespaces[2])))
        assert "too many" in await refusal(b, "/many-a", ANN)


@pytest.mark.req("PRES-67")
@trio_test
async def test_metrics_count_users_and_events() -> None:
    async with seated() as (here, presence):
        collector = PresenceCollector(presence, here.server)

        def found() -> dict[tuple[str, ...], float]:
            return {
                (sample.name, *sample.labels.values()): sample.value
                for metric in collector.collect()
                for sample in metric.samples
            }

        async with here.client() as a, here.client() as b, here.client() as c:
            await a.connect("/many-a", {"token": ANN})
            await b.connect("/many-a", {"token": ANN})
            await c.connect("/many-b", {"token": ANN})
            metrics = found()
            # One label, because clients have made up the names.
            assert metrics["tsio_presence_users", here.server.of("/many-a")._family] == 2
            assert metrics["tsio_presence_events_total", "online"] == 2
            assert metrics["tsio_presence_events_total", "seat_added"] == 1
            assert metrics["tsio_presence_claimed_total",] == 3
            assert (await presence.kick("ann", "/many-a")).done == 2
            metrics = found()
            assert metrics["tsio_presence_kicked_total",] == 2
            assert metrics["tsio_presence_events_total", "offline"] == 1
            assert sum(presence.statistics().users.values()) == 1


def test_seats_are_given_in_one_way() -> None:
    named, single = Presence(Server()), Presence(Server())
    named.seat_by_name(SEATS, lambda name: True)
    with pytest.raises(LocalProtocolError, match="has seats already"):
        named.seat("/chat")
    single.seat("/chat")
    with pytest.raises(LocalProtocolError, match="has seats already"):
        single.seat_by_name(SEATS, lambda name: True)
    assert single.has_seats("/chat")
    assert not single.has_seats("/")


# -- options


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"policy": "oldest"}, "policy: expected newest, reject, many or none"),
        ({"policy": "many"}, "policy: many needs a maximum"),
        ({"maximum": 2}, "maximum: has no effect without the policy many"),
        ({"policy": "many", "maximum": 0}, "maximum: must be above zero"),
        ({"policy": "many", "maximum": True}, "maximum: expected a whole number"),
        ({"takeover": "slow"}, "takeover: must be strict or fast"),
        ({"linger_s": -1.0}, "linger_s: must be zero or more"),
        ({"linger_s": float("inf")}, "linger_s: must be seconds"),
        ({"max_events": 0}, "max_events: must be above zero"),
        ({"store": "disk"}, "store: expected redis or memory, not 'disk'"),
        ({"outage": "open"}, "outage: expected strict or available, not 'open'"),
        ({"lease_s": 0.5}, "lease_s: must be 1 to 300, not 0.5"),
        ({"lease_s": 301}, "lease_s: must be 1 to 300, not 301"),
        ({"namespaces": ("/chat",)}, "namespaces: expected a list of NamespaceSeats"),
        ({"namespaces": (NamespaceSeats(name="/a"),) * 2}, "two of them are named '/a'"),
        (
            {"namespaces": (NamespaceSeats(name="/a", policy="many"),)},
            "namespaces: /a: policy many needs a maximum",
        ),
        (
            {"namespaces": (NamespaceSeats(name="/a", maximum=2),)},
            "namespaces: /a: maximum has no effect",
        ),
        (
            {"namespaces": (NamespaceSeats(name="/a", linger_s=float("inf")),)},
            "namespaces: /a: linger_s must be seconds",
        ),
    ],
)
def test_options_that_cannot_be_used(options: dict[str, Any], message: str) -> None:
    with pytest.raises(OptionError, match=re.escape(message)):
        PresenceOptions(**options)


@pytest.mark.parametrize("name", ["", "chat", "/a,b", "/a*b"])
def test_a_name_of_no_namespace(name: str) -> None:
    with pytest.raises(OptionError, match="expected the name of a namespace"):
        NamespaceSeats(name=name)


def test_presence_is_kept_in_redis_if_there_is_one() -> None:
    assert PresenceOptions().kept_in(has_redis=True) == "redis"
    assert PresenceOptions().kept_in(has_redis=False) == "memory"
    assert PresenceOptions(store="memory").kept_in(has_redis=True) == "memory"


def test_what_is_left_out_is_as_for_all_others() -> None:
    options = PresenceOptions(
        policy="many",
        maximum=3,
        linger_s=5.0,
        namespaces=(
            NamespaceSeats(name="/a", linger_s=0.0),
            NamespaceSeats(name="/b", policy="newest", takeover="fast"),
        ),
    )
    assert options.resolve(None) == SeatOptions(policy="many", maximum=3, linger_s=5.0)
    assert options.resolve("/a") == SeatOptions(policy="many", maximum=3)
    assert options.resolve("/b") == SeatOptions(policy="newest", takeover="fast", linger_s=5.0)


@pytest.mark.parametrize(
    "options", [{"linger_s": 130.0}, {"namespaces": (NamespaceSeats(name="/a", linger_s=130.0),)}]
)
def test_no_seat_is_held_for_longer_than_its_client_can_come_back(options: dict[str, Any]) -> None:
    found = PresenceOptions(**options)
    found.check_lingers(ServerOptions())
    with pytest.raises(ConfigurationError, match=r"\[presence\].*linger_s.* is 130"):
        found.check_lingers(ServerOptions(state_recovery=True))


@given(
    st.dictionaries(st.from_regex(r"/[ab]{0,3}\*?", fullmatch=True), st.integers()), st.text("/ab")
)
def test_the_most_exact_pattern_decides(values: dict[str, int], name: str) -> None:
    fits = [
        pattern
        for pattern in values
        if pattern == name or (pattern.endswith("*") and name.startswith(pattern[:-1]))
    ]
    best = max(fits, key=lambda pattern: (pattern == name, len(pattern)), default=None)
    assert ByNamespace(values, -1).find(name) == (-1 if best is None else values[best])
