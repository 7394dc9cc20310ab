"""Tells others of the nodes that come and go, such as what passes requests on to them."""

from math import inf
from typing import TYPE_CHECKING, Final, Protocol

import trio

from trio_socketio.protocol.node_roster import REPLACED, SILENT, Gone
from trio_socketio.protocol.nodes import INTERVAL_S, SILENCE_S

if TYPE_CHECKING:
    from trio_socketio.codec.node_messages import NodeFacts

_CUT_OFF_S: Final = 1.5 * INTERVAL_S
"""A node that has not heard its own beats for this time hears nobody."""


class Follower(Protocol):
    """What is told of the nodes that come and go."""

    def node_came(self, node: "NodeFacts", /) -> None:
        """Note that a node lives, or lives under another boot."""

    def node_went(self, node: "NodeFacts", /, *, is_cut_off: bool) -> None:
        """Note that a node is not heard any more, or that this one hears nobody."""

    def nodes_settled(self) -> None:
        """Note that this node hears others again, and that those that live have come back."""


class Followers:
    """Those who follow the nodes of a cluster."""

    def __init__(self) -> None:
        self._followers: list[Follower] = []
        self._heard_at = -inf
        self._was_cut_off = False

    def add(self, follower: Follower) -> None:
        """Tell a follower of the nodes that come and go from now on."""
        self._followers.append(follower)

    @property
    def _is_cut_off(self) -> bool:
        return trio.current_time() - self._heard_at > _CUT_OFF_S

    def came(self, node: "NodeFacts") -> None:
        """Tell that a node lives."""
        for follower in self._followers:
            follower.node_came(node)

    def went(self, gone: Gone) -> None:
        """Tell that a node has gone."""
        if gone.why == REPLACED:  # what has its name now comes next, and may be the same process
            return
        # A node that does not even hear itself does not know who has gone.
        is_cut_off = gone.why == SILENT and self._is_cut_off
        self._was_cut_off = self._was_cut_off or is_cut_off
        for follower in self._followers:
            follower.node_went(gone.node, is_cut_off=is_cut_off)

    def heard(self) -> bool:
        """Note that a message has come; return whether `settle` is to be run."""
        self._heard_at = trio.current_time()
        was_cut_off, self._was_cut_off = self._was_cut_off, False
        return was_cut_off

    async def settle(self) -> None:
        """Wait until those that live must have come back, and tell that they have."""
        await trio.sleep(SILENCE_S)
        if self._is_cut_off:  # again, and perhaps before others could come back
            self._was_cut_off = True
            return
        for follower in self._followers:
            follower.nodes_settled()
