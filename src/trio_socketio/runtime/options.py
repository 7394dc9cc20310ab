"""The options of a running program: its poller, its connections, and how it ends."""

from trio_socketio.option_checks import OptionGroup


class RuntimeOptions(OptionGroup, frozen=True, kw_only=True):
    """How a runtime behaves.

    Args:
        slow_handler_s: user code that blocks for longer is logged by name; infinity logs nothing.
        deadline_slack_s: deadlines that lie so close together are met together.
    """

    slow_handler_s: float = 0.1
    deadline_slack_s: float = 0.05


class ConnectionLimits(OptionGroup, frozen=True, kw_only=True):
    """Bounds on one group of connections.

    Args:
        max_connections: open connections; more are answered 503.
        max_connections_per_address: the same for one client address; None means no limit.
        output_bound_bytes: output of one client that the kernel refused. Over it, a client that
            takes nothing for slow_client_s is closed; at eight times as much, at once.
        slow_client_s: see output_bound_bytes.
    """

    max_connections: int = 100_000
    max_connections_per_address: int | None = None
    output_bound_bytes: int = 1 << 20
    slow_client_s: float = 10.0


class StopOptions(OptionGroup, frozen=True, kw_only=True):
    """How a server ends, in stages.

    Args:
        delay_s: how long it goes on accepting clients when it was told to stop, for load balancers
            to notice.
        window_s: the time over which its sessions are closed then.
        grace_s: how long handlers may go on after that, "disconnect" handlers included.
        flush_s: how long clients may take to accept the last bytes.
    """

    _may_be_zero = frozenset(("delay_s", "window_s", "grace_s"))

    delay_s: float = 0.0
    window_s: float = 0.0
    grace_s: float = 5.0
    flush_s: float = 2.0
