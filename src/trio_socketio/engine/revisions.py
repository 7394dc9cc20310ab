"""The revisions of Engine.IO that are served, and what their clients do differently.

A revision is chosen once, when a session opens: nothing is tested for each message.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from trio_socketio.codec.engine_packet import Outgoing, OutgoingV3
from trio_socketio.codec.engine_packet_v3 import BINARY_MESSAGE, encode_binary
from trio_socketio.engine.reader import ReaderV3, ReaderV4
from trio_socketio.net.frames import encode_frames
from trio_socketio.protocol.heartbeat import ClientHeartbeat, Heartbeat

if TYPE_CHECKING:
    from trio_socketio.engine.options import EngineOptions
    from trio_socketio.engine.reader import Reader
    from trio_socketio.engine.session import Session
    from trio_socketio.net.deflate import Deflater

Encode = Callable[[Outgoing], bytes]
"""Makes the WebSocket frames of a packet."""


@dataclass(frozen=True, slots=True)
class Revision:
    """The peculiarities of clients of one revision of Engine.IO.

    Args:
        protocol: its number.
        create_heartbeat: makes the heartbeat: it says which side pings, and when a client is given
            up.
        create_reader: makes the reader of a session.
        choose_encoder: given the query of a WebSocket handshake, and a deflater if compression was
            agreed on, returns what makes the frames of a packet (WS-10). None means the frames that
            all plain receivers of a packet share.
        opens_apart: whether the open packet must not leave together with the 101 answer.
    """

    protocol: int
    create_heartbeat: "Callable[[EngineOptions, float], Heartbeat]"
    create_reader: "Callable[[Session], Reader]"
    choose_encoder: "Callable[[Mapping[str, str], Deflater | None], Encode | None]"
    opens_apart: bool


# -- revision 4


def _create_heartbeat_v4(options: "EngineOptions", now: float) -> Heartbeat:
    interval_s = options.ping_interval_s
    return Heartbeat(interval_s, options.ping_timeout_s, now + interval_s)


def _choose_encoder_v4(query: Mapping[str, str], deflater: "Deflater | None") -> Encode | None:
    return None if deflater is None else deflater.encode


# -- revision 3


def _create_heartbeat_v3(options: "EngineOptions", now: float) -> Heartbeat:
    heartbeat = ClientHeartbeat(options.ping_interval_s, options.ping_timeout_s)
    heartbeat.receive_pong(now)
    return heartbeat


def _choose_encoder_v3(query: Mapping[str, str], deflater: "Deflater | None") -> Encode:
    encode = encode_frames if deflater is None else deflater.encode
    split = _split_base64 if query.get("b64") else _split_binary  # EIO3-17

    def encode_v3(packet: Outgoing) -> bytes:
        # A text message is the same frame in both revisions, so it is shared (decision 6).
        if not packet.attachments:
            return encode(packet)
        return b"".join([encode(message) for message in split(packet)])

    return encode_v3


def _split_binary(packet: Outgoing) -> tuple[Outgoing, ...]:
    """Return the messages of a packet, its attachments with their type in front (EIO3-16).

    They are kept in the packet, and so are the frames made of them: each is made once, however many
    receivers the packet has (EIO3-32, SIO4-11).
    """
    encodings = _encodings(packet)
    if encodings.messages is None:
        attachments = tuple([BINARY_MESSAGE + data for data in packet.attachments])
        encodings.messages = (Outgoing(packet.text, attachments, compress=packet.compress),)
    return encodings.messages


def _split_base64(packet: Outgoing) -> tuple[Outgoing, ...]:
    """Return the messages of a packet, all of them text (EIO3-17), and keep them in it too."""
    encodings = _encodings(packet)
    if encodings.base64_messages is None:
        texts = [packet.text] if packet.text else []
        texts += [encode_binary(data) for data in packet.attachments]
        messages = [Outgoing(text, compress=packet.compress) for text in texts]
        encodings.base64_messages = tuple(messages)
    return encodings.base64_messages


def _encodings(packet: Outgoing) -> OutgoingV3:
    if packet.v3 is None:
        packet.v3 = OutgoingV3()
    return packet.v3


REVISIONS: Final = {
    4: Revision(4, _create_heartbeat_v4, ReaderV4, _choose_encoder_v4, opens_apart=False),
    3: Revision(3, _create_heartbeat_v3, ReaderV3, _choose_encoder_v3, opens_apart=True),
}
"""The revisions by number."""
