"""The options of a running program: of its poller, its connections, and its end."""

from trio_socketio.option_checks import OptionGroup, check_seconds


class RuntimeOptions(OptionGroup, frozen=True, kw_only=True):
    """The options of a runtime.

    Args:
        slow_handler_s: a function that blocks for longer is logged by name; infinity logs none.
        deadline_slack_s: how late a deadline may be met, so that several can be met together.
    """

    slow_handler_s: float = 0.1
    deadline_slack_s: float = 0.05


class ConnectionLimits(OptionGroup, frozen=True, kw_only=True):
    """Bounds on one group of connections.

    Args:
        max_connections: how many connections may be open; further ones are answered 503.
        max_connections_per_address: the same for one client address; None means no limit.
        output_bound_bytes: how much output of one client may wait because the kernel refused it. A
            client with more is closed when it takes nothing for slow_client_s, and at once when it
            has eight times as much.
        slow_client_s: see output_bound_bytes.
    """

    _reloadable = frozenset(("max_connections", "max_connections_per_address"))

    max_connections: int = 100_000
    max_connections_per_address: int | None = None
    output_bound_bytes: int = 1 << 20
    slow_client_s: float = 10.0


class StopOptions(OptionGroup, frozen=True, kw_only=True):
    """How a server ends, in stages.

    Args:
        delay_s: how long it goes on accepting clients after it was told to stop, so that load
            balancers can take notice.
        window_s: over how long its sessions are closed after that.
        grace_s: how long handlers may then go on, "disconnect" handlers included, and after them
            each lifespan behind its yield.
        flush_s: how long clients may take at the end to accept their last bytes.
    """

    _may_be_zero = frozenset(("delay_s", "window_s", "grace_s"))

    delay_s: float = 0.0
    window_s: float = 0.0
    grace_s: float = 5.0
    flush_s: float = 2.0

    def __post_init__(self) -> None:
        super().__post_init__()
        for name in self.__struct_fields__:
            check_seconds(name, getattr(self, name))  # an infinite time would never end
