"""What a server is to carry, and on what machines."""

from enum import Enum

import msgspec


class Sticky(Enum):
    """What a load balancer does with the requests of one session."""

    NONE = "none"  # sends them to any worker of any machine
    MACHINE = "machine"  # to the machine of the session, where any worker may take them
    NODE = "node"  # to the very process of the session


class Load(msgspec.Struct, frozen=True, kw_only=True):
    """What clients do, all of them together.

    Args:
        connections: clients that are connected at the same time.
        messages_per_second: events that clients or backends send.
        receivers: clients that each of them goes to.
        message_bytes: of one of them, its name and JSON included.
        polling_share: of the clients stay on long-polling, 0 to 1.
        upgrading_share: of the others begin on long-polling, as official clients do by default.
        joined_share: of the deliveries go out in one write with others for the same client.
        connects_per_second: clients that connect; as many leave.
        seats_share: of the clients have a JWT and a seat.
        handler_us: CPU that the app's own code takes for a message.
        ping_interval_s: between two heartbeats of a client.
    """

    connections: int
    messages_per_second: float = 0.0
    receivers: float = 1.0
    message_bytes: float = 100.0
    polling_share: float = 0.0
    upgrading_share: float = 1.0
    joined_share: float = 0.0
    connects_per_second: float = 0.0
    seats_share: float = 0.0
    handler_us: float = 0.0
    ping_interval_s: float = 25.0


class Machines(msgspec.Struct, frozen=True, kw_only=True):
    """What the load is carried by.

    Args:
        cores: of a machine. If it has several, one of them is left to the kernel and the rest.
        memory_gib: of a machine.
        network_gbit: of a machine, each way.
        spare_share: of cores, memory, network and Redis that stays free, 0 to 1.
        connections_per_worker: more than these are not given to one worker.
        sticky: what the load balancer does.
        reconnect_s: within which the clients of a lost machine come back.
    """

    cores: int = 8
    memory_gib: float = 16.0
    network_gbit: float = 1.0
    spare_share: float = 0.5
    connections_per_worker: int = 50_000
    sticky: Sticky = Sticky.NONE
    reconnect_s: float = 5.0

    @property
    def workers(self) -> int:
        """How many workers one of them runs."""
        return max(1, self.cores - 1)
