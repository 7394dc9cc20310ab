"""Questions of this server to the others, and the answers that come back."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from math import inf
from typing import TYPE_CHECKING, Final, Generic, Protocol, TypeVar

import trio

from trio_socketio.codec.redis_adapter import (
    decode_response,
    decode_response_head,
    encode_request,
)
from trio_socketio.codec.redis_messages import (
    CLIENT_ACK,
    CLIENT_COUNT,
    AckResponse,
    CountResponse,
    Request,
    Response,
    ResponseHead,
)
from trio_socketio.errors import RemoteProtocolError, TrioSocketIOError

if TYPE_CHECKING:
    from trio_socketio.adapters.redis_bus import Bus
    from trio_socketio.codec.redis_channels import Channels
    from trio_socketio.socketio.acks import GatheredAcks

AnyResponse = TypeVar("AnyResponse", bound=Response)

MAX_EARLY: Final = 1000
"""The most responses that are kept before Redis has told how many servers there are."""
MAX_ANSWERS: Final = 1_000_000
"""The most clients of other servers that one broadcast may ask."""
MAX_HELD_BYTES: Final = 256 << 20
"""The most bytes of answers from others that one question may be given."""

REDIS_AWAY: Final = "Redis is away or does not keep up, so no other node was asked"


class Asker(Protocol):
    """Waits for responses to one request."""

    def receive(self, head: ResponseHead, message: bytes) -> None:
        """Take a response.

        Raises:
            RemoteProtocolError: it is malformed.
        """


class Requests:
    """The requests of one adapter that wait for responses.

    Args:
        bus: carries them.
        channels: of the namespace.
    """

    def __init__(self, bus: "Bus", channels: "Channels") -> None:
        self._bus = bus
        self._channels = channels
        self._askers: dict[str, Asker] = {}

    def send(self, request: bytes) -> bool:
        """Send a request; return whether it was published."""
        return self._bus.publish(self._channels.request, request)

    async def count_others(self) -> int:
        """Return how many other servers there are.

        Raises:
            TrioSocketIOError: Redis cannot tell.
        """
        # BUS-18: each server is subscribed to this channel once. This one is among them, unless it
        # has no clients.
        own = int(self._bus.has_clients)
        return max(await self._bus.count_servers(self._channels.request) - own, 0)

    async def count_for(self, remote: "RemoteAcks") -> None:
        """Count the other servers for a broadcast that asks for answers."""
        try:
            remote.know_servers(await self.count_others())
        except (TrioSocketIOError, TimeoutError) as error:
            remote.give_up(f"Redis has not told how many nodes there are: {error}")

    @contextmanager
    def awaiting(self, request_id: str, asker: Asker) -> Iterator[None]:
        """Hand the responses to a request to asker while the block runs."""
        self._askers[request_id] = asker
        try:
            yield
        finally:
            del self._askers[request_id]

    def receive(self, message: bytes) -> None:
        """Take a response, which may be for another server.

        Raises:
            RemoteProtocolError: it is malformed.
        """
        if not self._askers:  # others may be asking for large answers all the time
            self._bus.counts.skipped += 1
            return
        head = decode_response_head(message)
        asker = self._askers.get(head.request_id)
        if asker is None:
            self._bus.counts.skipped += 1
        else:
            asker.receive(head, message)

    async def gather(
        self, make: Callable[[str], Request], kind: type[AnyResponse], timeout_s: float
    ) -> tuple[list[AnyResponse], str | None]:
        """Send a request, and wait for one response of each other server.

        Args:
            make: makes the request, given its id.
            kind: of the responses.
            timeout_s: how long they may take.
        Returns:
            The responses, and why there are not more; None if every server has answered.
        Raises:
            LocalProtocolError: the request cannot be sent; nothing was sent.
        """
        request_id = self._bus.draw_id()
        answers = OneOfEach(kind)
        message = encode_request(make(request_id))
        with self.awaiting(request_id, answers), trio.move_on_after(timeout_s):
            # The count goes out right behind the request, and so it is that of the servers that
            # have got it.
            if not self.send(message):
                await trio.lowlevel.checkpoint()
                return [], REDIS_AWAY
            try:
                answers.expect(await self.count_others())
            except (TrioSocketIOError, TimeoutError) as error:
                return answers.received, f"Redis has not told how many nodes there are: {error}"
            await answers.complete.wait()
            return answers.received, None
        return answers.received, answers.describe_missing(timeout_s)


class OneOfEach(Generic[AnyResponse]):
    """Responses to one request: one of each server.

    Args:
        kind: of the responses.

    Attributes:
        complete: set when there are as many as are expected.
        received: the responses.
    """

    def __init__(self, kind: type[AnyResponse]) -> None:
        self.received: list[AnyResponse] = []
        self.complete = trio.Event()
        self._kind = kind
        self._expected = inf
        self._held_bytes = 0

    def expect(self, count: int) -> None:
        """Say how many servers will answer."""
        self._expected = count
        self._look()

    def receive(self, head: ResponseHead, message: bytes) -> None:
        if self.complete.is_set():
            return
        if self._expected == inf and len(self.received) >= MAX_EARLY:  # BUS-31
            raise RemoteProtocolError(f"more than {MAX_EARLY:,} servers have answered one question")
        held_bytes = _add_bytes(self._held_bytes, message)
        self.received.append(decode_response(message, self._kind))
        self._held_bytes = held_bytes
        self._look()

    def _look(self) -> None:
        if len(self.received) >= self._expected:
            self.complete.set()

    def describe_missing(self, timeout_s: float) -> str:
        """Say which responses are missing after timeout_s."""
        if self._expected == inf:
            return f"Redis has not told within {timeout_s:g} s how many nodes there are"
        return (
            f"{len(self.received)} of {self._expected:.0f} other nodes answered "
            f"within {timeout_s:g} s"
        )


class RemoteAcks:
    """The answers of other servers' clients to a broadcast.

    Each server first says how many clients it has asked, and then passes on one answer of each.

    Args:
        acks: told the answers. It must expect one answer more than those of this server, until
            `know_servers` or `give_up` is called.

    Attributes:
        problem: why other servers cannot be waited for; None if they can.
    """

    def __init__(self, acks: "GatheredAcks") -> None:
        self.problem: str | None = None
        self._acks = acks
        self._others: int | None = None
        self._counted = 0
        self._asked = 0
        self._answered = 0
        self._held_bytes = 0

    def know_servers(self, others: int) -> None:
        """Say how many other servers there are."""
        self._others = others
        self._acks.expect(max(others - self._counted, 0) - 1)

    def give_up(self, problem: str) -> None:
        """Say why it is unknown how many other servers there are."""
        self.problem = problem
        self.know_servers(0)

    def receive(self, head: ResponseHead, message: bytes) -> None:
        if head.type == CLIENT_COUNT:
            clients = decode_response(message, CountResponse).client_count
            if self._asked + clients > MAX_ANSWERS:  # BUS-31
                raise RemoteProtocolError(f"more than {MAX_ANSWERS:,} clients were asked")
            self._counted += 1
            self._asked += clients
            was_awaited = self._others is not None and self._counted <= self._others
            self._acks.expect(clients - was_awaited)
        elif head.type == CLIENT_ACK and self._answered < self._asked:
            held_bytes = _add_bytes(self._held_bytes, message)
            response = decode_response(message, AckResponse)
            self._held_bytes = held_bytes
            self._answered += 1
            socket_id = response.socket_id
            self._acks.receive([response.packet], socket_id if isinstance(socket_id, str) else None)


def _add_bytes(held_bytes: int, message: bytes) -> int:
    """Return how many bytes one question has been answered with, this message included.

    Raises:
        RemoteProtocolError: they are too many (BUS-31).
    """
    held_bytes += len(message)
    if held_bytes > MAX_HELD_BYTES:
        raise RemoteProtocolError(f"the answers have more than {MAX_HELD_BYTES:,} bytes")
    return held_bytes
