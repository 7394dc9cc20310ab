"""What the engines of a server have counted since it was made, in plain numbers."""

from typing import TYPE_CHECKING, Final, Literal

from trio_socketio.net.traffic import Traffic

if TYPE_CHECKING:
    from trio_socketio.engine.handshake import Refusal

OTHER: Final = "other"
"""Stands for the reasons that a program has made up, which are not bounded in number."""

ENDS: Final = (
    "forced close",
    "forced server close",
    "overload",
    "parse error",
    "ping timeout",
    "server shutting down",
    "slow client",
    "transport close",
    "transport error",
)
"""The reasons for which the server itself ends sessions."""

_REFUSALS: Final = (
    "unknown transport",
    "unknown session",
    "bad handshake method",
    "bad request",
    "forbidden",
    "unsupported protocol",
)
"""What the codes of refusals mean."""


class EngineCounts:
    """The numbers that all engines of a server add to (OPS-21). They outlast its mounts.

    Attributes:
        http: the bytes of connections that speak HTTP.
        polling: the packets of long-polling.
        websocket: what connections have carried that had switched to WebSocket, and have ended.
        opened: how many sessions have opened, by the transport that carried them first.
        upgraded: how many sessions have gone over from polling to WebSocket.
        upgrades_failed: how many such attempts were given up.
        ended: how many sessions have ended, by reason: one of ENDS, or OTHER.
        ended_in_all: the sum of those numbers.
        refused: how many requests were refused, by reason.
    """

    def __init__(self) -> None:
        self.http = Traffic()
        self.polling = Traffic()
        self.websocket = Traffic()
        self.opened = {"polling": 0, "websocket": 0}
        self.upgraded = 0
        self.upgrades_failed = 0
        self.ended = dict.fromkeys((*ENDS, OTHER), 0)
        self.ended_in_all = 0
        self.refused: dict[str, int] = {}

    def session_opened(self, transport: Literal["polling", "websocket"]) -> None:
        """Count a session that opens."""
        self.opened[transport] += 1

    def session_ended(self, reason: str) -> None:
        """Count a session that was marked for its end."""
        self.ended[reason if reason in self.ended else OTHER] += 1
        self.ended_in_all += 1

    def request_refused(self, refusal: "Refusal") -> None:
        """Count a request that was refused."""
        reason = refusal.reason or _REFUSALS[refusal.code]
        self.refused[reason] = self.refused.get(reason, 0) + 1
