"""The rules by which a namespace gives seats."""

from math import inf

import msgspec

from trio_socketio.errors import OptionError
from trio_socketio.protocol.presence_claims import Policy, Takeover


class SeatOptions(msgspec.Struct, frozen=True, kw_only=True):
    """The rules by which seats are given in a namespace.

    Args:
        policy: who wins when a user logs in again: the "newest" client, the old one ("reject"), or
            "many" at once.
        maximum: how many seats a user may have with "many".
        takeover: "strict" lets a new client enter when the node of the old one has confirmed that
            it is out, or is lost; "fast" waits for that no longer than a second.
        linger_s: how long the seat of a lost client is held, so that it can come back without going
            offline. It needs state_recovery.

    Raises:
        OptionError: a value cannot be used.
    """

    policy: Policy = "newest"
    maximum: int = 1
    takeover: Takeover = "strict"
    linger_s: float = 0.0

    def __post_init__(self) -> None:
        if self.policy not in ("newest", "reject", "many"):
            raise OptionError("policy", f"must be newest, reject or many, not {self.policy!r}")
        if type(self.maximum) is not int or self.maximum < 1:
            raise OptionError("maximum", f"must be a whole number above 0, not {self.maximum!r}")
        if self.maximum != 1 and self.policy != "many":
            raise OptionError(
                "maximum", f"has no effect with the policy {self.policy!r}: it is for 'many'"
            )
        if self.takeover not in ("strict", "fast"):
            raise OptionError("takeover", f"must be strict or fast, not {self.takeover!r}")
        is_number = type(self.linger_s) in (int, float)
        if not is_number or not 0 <= self.linger_s < inf:
            raise OptionError("linger_s", f"must be seconds, 0 or more, not {self.linger_s!r}")
