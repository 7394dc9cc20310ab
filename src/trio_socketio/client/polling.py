"""HTTP long-polling from the client's side: GETs that wait for packets, and POSTs with packets."""

from collections.abc import Callable, Iterable, Iterator
from typing import Final

from trio_socketio.client.endpoint import Dialer
from trio_socketio.codec.engine_packet import CLOSE, Outgoing, Packet, encode_binary
from trio_socketio.codec.engine_payload import SEPARATOR, decode_payload
from trio_socketio.errors import SessionClosed
from trio_socketio.http.client import HttpConnection, refusal

MAX_PACKETS: Final = 16
"""In one POST. python-engineio refuses more unless it is configured otherwise."""


class PollingTransport:
    """Carries a session until an upgrade replaces it. The caller bounds the time of every call.

    Spec: Engine.IO v4, "HTTP long-polling".

    Args:
        dialer: opens streams.
        max_body_bytes: the limit for one response.
    """

    def __init__(self, dialer: Dialer, max_body_bytes: int) -> None:
        self._dialer = dialer
        self._getter = HttpConnection(dialer, max_body_bytes)
        self._poster = HttpConnection(dialer, max_body_bytes)
        self._target = ""
        self._max_payload_bytes = 0

    async def open(self) -> list[Packet]:
        """Open a session, and return the packets of the first response.

        Raises:
            ConnectFailed: the server refuses, or cannot be reached.
            SessionClosed: the server went away.
            RemoteProtocolError: the server does not speak the protocol.
        """
        response = await self._getter.request("GET", self._dialer.endpoint.target("polling"))
        if response.status != 200:
            raise refusal(response.status, response.body)
        self._dialer.keep_cookies(response.set_cookies)
        return decode_payload(response.body)

    def opened(self, sid: str, max_payload_bytes: int) -> None:
        """Note what later requests need from the handshake."""
        self._target = self._dialer.endpoint.target("polling", sid)
        self._max_payload_bytes = max_payload_bytes

    async def receive(self) -> list[Packet]:
        """Wait for packets.

        Raises:
            ConnectFailed: the server cannot be reached any more.
            SessionClosed: it has ended the session, or went away.
            RemoteProtocolError: see open.
        """
        response = await self._getter.request("GET", self._target)
        if response.status != 200:
            raise SessionClosed("transport error")
        return decode_payload(response.body)

    async def send(
        self, packets: list[Outgoing], sent: Callable[[int], None] | None = None
    ) -> None:
        """Send packets, in as few POSTs as the server's maxPayload allows.

        Args:
            packets: in their order.
            sent: is called after each POST that was answered, with the number of packets of which
                it carried the last part.
        Raises:
            ConnectFailed: the server cannot be reached any more.
            SessionClosed: it has ended the session, or went away.
            RemoteProtocolError: see open.
        """
        for body, ended in payloads(packets, self._max_payload_bytes):
            response = await self._poster.request("POST", self._target, body)
            if response.status != 200:
                raise SessionClosed("transport error")
            if sent is not None:
                sent(ended)

    async def say_goodbye(self) -> bool:
        """Send a close packet, and return False, because the server will not answer it."""
        await self.send([CLOSE])
        return False

    async def aclose(self) -> None:
        """Close both connections at once."""
        await self._getter.aclose()
        await self._poster.aclose()


def payloads(packets: Iterable[Outgoing], max_bytes: int) -> Iterator[tuple[bytes, int]]:
    """Join packets into bodies of at most max_bytes; a larger one goes alone (CLI-04, EIO4-47).

    Args:
        packets: in their order.
        max_bytes: zero means no bound.
    Returns:
        Each body, and the number of packets of which it has the last part.
    """
    waiting: list[bytes] = []
    size = ended = 0
    for packet in packets:
        for part in _parts(packet):
            grown = size + len(part) + bool(waiting)
            if waiting and (len(waiting) == MAX_PACKETS or grown > max_bytes > 0):
                yield SEPARATOR.join(waiting), ended
                waiting, grown, ended = [], len(part), 0
            waiting.append(part)
            size = grown
        ended += 1
    if waiting:
        yield SEPARATOR.join(waiting), ended


def _parts(packet: Outgoing) -> Iterator[bytes]:
    if packet.text:
        yield packet.text
    yield from map(encode_binary, packet.attachments)
