"""What the nodes need of their connection to Redis."""

from collections.abc import Callable
from typing import Any, Protocol

from trio_socketio.adapters.redis_broadcasts import Subscription


class NodeConnection(Protocol):
    """A connection to Redis, which keeps the order of what is sent; see redis.Redis."""

    @property
    def connected(self) -> bool:
        """Whether commands can be sent now."""

    def publish(self, channel: str, payload: bytes) -> bool:
        """Publish a message, if there is a connection and room; never blocks."""

    def subscribe(
        self,
        channel: str,
        receive: Callable[[bytes, bytes], None],
        *,
        gap: Callable[[float], None] | None = None,
    ) -> Subscription:
        """Have a plain function called with each message on a channel."""

    async def execute(self, *arguments: str, timeout_s: float | None = None) -> Any:
        """Execute a command, and return its reply."""
