"""The receivers of a broadcast and the flags of its delivery, as a value."""

from collections.abc import Set as AbstractSet

import msgspec


class Target(msgspec.Struct, frozen=True, gc=False):
    """Selects the receivers of a broadcast, and carries the flags of its delivery.

    It is a value that can travel to other nodes.

    Args:
        rooms: sockets in any of them; none is the whole namespace.
        excluded: but not sockets in any of these.
        volatile: drop it for those who cannot take it at once.
        local: this node only.
        compress: whether transports that compress may compress it.
        timeout_s: how long answers may take; None is the default of what asks.
    """

    rooms: tuple[str, ...] = ()
    excluded: tuple[str, ...] = ()
    volatile: bool = False
    local: bool = False
    compress: bool = True
    timeout_s: float | None = None

    def fits(self, rooms: AbstractSet[str]) -> bool:
        """Whether a socket that is in rooms, its own included, is one of the receivers."""
        return (not self.rooms or not rooms.isdisjoint(self.rooms)) and rooms.isdisjoint(
            self.excluded
        )


EVERYBODY = Target()
"""All sockets of a namespace."""
