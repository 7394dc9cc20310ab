"""What events use up of rates, and what is told of a charge that cannot be made."""

from collections.abc import Callable, Iterable
from math import inf
from typing import TYPE_CHECKING, Final, NamedTuple, TypeAlias

from trio_socketio.im.rules import denial
from trio_socketio.im.rules.denial import Denied, show
from trio_socketio.im.rules.keys import (
    event_key,
    everywhere_key,
    namespace_key,
    share_key,
    user_key,
)
from trio_socketio.im.rules.policy import Policy, SharedRate
from trio_socketio.protocol.token_bucket import Draw, TokenRate, draw_of
from trio_socketio.protocol.user_ids import USER_ROOM_PREFIX

if TYPE_CHECKING:
    from trio_socketio.im.rules.grants import Grant
    from trio_socketio.socketio.socket import Socket

EventRates: TypeAlias = tuple[tuple[str, TokenRate], ...]
"""The rates of an event, each with the name under which it is counted."""


class Charge(NamedTuple):
    """What an event uses up of one rate.

    Args:
        reason: of the denial if the rate does not allow it.
        name: of the event, room or namespace, for the denial.
        key: of the bucket.
        rate: of the bucket; a shared one has a bucket for each user besides.
        tokens: how many.
    """

    reason: str
    name: str
    key: str
    rate: TokenRate | SharedRate
    tokens: int = 1


def who_pays(socket: "Socket") -> str:
    """Return whom it counts for: the user, or the connection of a client without one (RULE-08)."""
    return socket.user or socket.session.sid


def charges_of(
    policy: Policy, event: str, rates: EventRates, grant: "Grant", socket: "Socket"
) -> list[Charge]:
    """Return what an event uses up, whatever it does.

    The bounds of one user come first, so that what exceeds them uses up nothing of what users share
    (RULE-09).

    Args:
        policy: of the namespace.
        event: its name.
        rates: of the event.
        grant: what the token of the client says.
        socket: of the client.
    """
    return [*own_charges(event, rates, socket), *common_charges(policy, event, grant, socket)]


def own_charges(event: str, rates: EventRates, socket: "Socket") -> list[Charge]:
    """Return what an event uses up of rates that are those of events; see charges_of."""
    place, who = socket.namespace.name, who_pays(socket)
    return [
        Charge(denial.EVENT_RATE, event, event_key(place, name, who), rate) for name, rate in rates
    ]


def common_charges(policy: Policy, event: str, grant: "Grant", socket: "Socket") -> list[Charge]:
    """Return what an event uses up as every event of the client does; see charges_of."""
    place, who = socket.namespace.name, who_pays(socket)
    charges = []
    rate = grant.rate or policy.user
    if rate is not None:
        charges.append(Charge(denial.USER_RATE, event, user_key(place, who), rate))
    if policy.everywhere is not None:
        charges.append(Charge(denial.USER_RATE, event, everywhere_key(who), policy.everywhere))
    if policy.namespace is not None:
        key = namespace_key(place)
        charges.append(Charge(denial.NAMESPACE_RATE, place, key, policy.namespace))
    return charges


def draws_of(charges: Iterable[Charge], who: str) -> tuple[Draw[str], ...]:
    """Return what charges of one token take if there is enough in every bucket, in their order.

    Args:
        charges: see above.
        who: does what is charged for.
    """
    draws: list[Draw[str]] = []
    for _, _, key, rate, _ in charges:
        if isinstance(rate, TokenRate):
            draws.append(draw_of(key, rate))
        else:
            draws += draw_of(share_key(key, who), rate.own), draw_of(key, rate.all)
    return tuple(draws)


def deny(charge: Charge, wait_s: float) -> Denied:
    """Return the denial of a charge (RULE-21).

    Args:
        charge: that cannot be made now.
        wait_s: the time after which it can be; infinite if it never can.
    """
    if wait_s == inf:
        rate = charge.rate if isinstance(charge.rate, TokenRate) else charge.rate.own
        return Denied(charge.reason, _MOST[charge.reason](charge.name, rate.capacity), None)
    return denial.too_often(charge.reason, _TOO_OFTEN[charge.reason](charge.name), wait_s)


def _show_room(room: str) -> str:
    if room.startswith(USER_ROOM_PREFIX):
        return f"the user {show(room.removeprefix(USER_ROOM_PREFIX))}"
    return f"the room {show(room)}"


_TOO_OFTEN: Final[dict[str, Callable[[str], str]]] = {
    denial.EVENT_RATE: lambda event: f"you send the event {show(event)} too often",
    denial.USER_RATE: lambda _: "you send too many events",
    denial.NAMESPACE_RATE: lambda place: f"there are too many events in {place}",
    denial.JOIN_RATE: lambda _: "you enter rooms too often",
    denial.ROOM_RATE: lambda room: f"there are too many messages to {_show_room(room)}",
}
_MOST: Final[dict[str, Callable[[str, int], str]]] = {
    denial.JOIN_RATE: lambda _, most: f"you can enter at most {most} rooms at a time",
    denial.ROOM_RATE: lambda room, most: (
        f"you can send at most {most} messages at a time to {_show_room(room)}"
    ),
}
"""By reason, for charges of more than one token."""
