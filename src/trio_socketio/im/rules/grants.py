"""What the token of a client says that it may do."""

from collections.abc import Mapping
from typing import Any, Final, NamedTuple

import msgspec

from trio_socketio.control.methods import read_misfit
from trio_socketio.errors import OptionError
from trio_socketio.im.rules.options import Rate
from trio_socketio.im.rules.patterns import Patterns, check_patterns
from trio_socketio.im.rules.policy import compile_rate
from trio_socketio.protocol.token_bucket import TokenRate

Claims = Mapping[str, Any]


class _Claim(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The claim as it stands in a token; see NamespaceRules."""

    events: tuple[str, ...] | None = None
    rooms: tuple[str, ...] | None = None
    users: tuple[str, ...] | None = None
    rate: Rate | None = None


class Grant(NamedTuple):
    """What a token says. None leaves it to the rules of the namespace.

    Args:
        events, rooms, users: what the client may send and where.
        rate: of the user's events.
        fault: why the claim cannot be used, and so allows nothing; empty if it can.
    """

    events: Patterns | None = None
    rooms: Patterns | None = None
    users: Patterns | None = None
    rate: TokenRate | None = None
    fault: str = ""


NOTHING: Final = Grant()
"""The token says nothing."""


def read_grant(claims: Claims, name: str) -> Grant:
    """Read the claim of a token.

    Args:
        claims: of the token.
        name: of the claim.
    """
    if name not in claims:
        return NOTHING
    try:
        claim = msgspec.convert(claims[name], _Claim)
        for one in ("events", "rooms", "users"):
            check_patterns(one, getattr(claim, one))
    except (OptionError, msgspec.ValidationError) as error:
        reason = str(error)
        if isinstance(error, msgspec.ValidationError):
            reason = str(read_misfit(reason))
        return Grant(fault=f"the claim {name} of the token cannot be used: {reason}")
    return Grant(
        _compile(claim.events),
        _compile(claim.rooms),
        _compile(claim.users),
        compile_rate(claim.rate),
    )


def _compile(patterns: tuple[str, ...] | None) -> Patterns | None:
    return None if patterns is None else Patterns(patterns)
