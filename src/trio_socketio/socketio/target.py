"""The receivers of a broadcast and the flags of its delivery, as a value."""

from collections.abc import Set as AbstractSet

import msgspec


class Target(msgspec.Struct, frozen=True, gc=False):
    """Selects the receivers of a broadcast, and holds the flags of its delivery.

    It is a value that can travel to other nodes.

    Args:
        rooms: sockets in any of these are selected; none means the whole namespace.
        excluded: sockets in any of these are left out.
        volatile: whether the event is dropped for clients that cannot take it at once.
        local: whether only sockets of this node are selected.
        compress: whether transports that compress may compress the event.
        timeout_s: how long answers may take; None means the default of the method that asks.
    """

    rooms: tuple[str, ...] = ()
    excluded: tuple[str, ...] = ()
    volatile: bool = False
    local: bool = False
    compress: bool = True
    timeout_s: float | None = None

    def fits(self, rooms: AbstractSet[str]) -> bool:
        """Whether a socket that is in these rooms, its own included, is selected."""
        return (not self.rooms or not rooms.isdisjoint(self.rooms)) and rooms.isdisjoint(
            self.excluded
        )


EVERYBODY = Target()
"""All sockets of a namespace."""
