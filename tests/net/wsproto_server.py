"""The reference of the frame tests: wsproto's own server side, frame by frame."""

import struct
from collections.abc import Iterable
from dataclasses import dataclass, field

from wsproto.connection import Connection, ConnectionType
from wsproto.events import BytesMessage, CloseConnection, Ping, TextMessage
from wsproto.utilities import RemoteProtocolError


def make_frame(
    opcode: int,
    payload: bytes,
    *,
    fin: bool = True,
    rsv: int = 0,
    masked: bool = True,
    key: bytes = b"\x37\xfa\x21\x3d",
    width: int | None = None,
) -> bytes:
    """One frame of a client, which may be illegal; width: of its extended length in bytes."""
    size = len(payload)
    if width is None:
        width = 0 if size < 126 else 2 if size < 65536 else 8
    first = (0x80 if fin else 0) | rsv << 4 | opcode
    second = 0x80 if masked else 0
    if width == 0:
        head = bytes((first, second | size))
    elif width == 2:
        head = bytes((first, second | 126)) + struct.pack("!H", size)
    else:
        head = bytes((first, second | 127)) + struct.pack("!Q", size)
    if masked:
        payload = bytes(byte ^ key[at % 4] for at, byte in enumerate(payload))
        head += key
    return head + payload


@dataclass
class Outcome:
    """What came of a sequence of frames."""

    messages: list[str | bytes] = field(default_factory=list)
    replies: bytes = b""
    close_code: int | None = None


def run_wsproto(frames: Iterable[bytes]) -> Outcome:
    """Feed wsproto, answer as it says, stop at the first close or error."""
    outcome = Outcome()
    server = Connection(ConnectionType.SERVER)
    parts: list[str | bytes] = []
    for frame in frames:
        try:
            server.receive_data(frame)
            for event in server.events():
                if isinstance(event, (TextMessage, BytesMessage)):
                    text = isinstance(event, TextMessage)
                    parts.append(event.data if isinstance(event.data, str) else bytes(event.data))
                    if event.message_finished:
                        outcome.messages.append(
                            "".join(map(str, parts)) if text else b"".join(map(_as_bytes, parts))
                        )
                        parts.clear()
                elif isinstance(event, Ping):
                    outcome.replies += server.send(event.response())
                elif isinstance(event, CloseConnection):
                    # Who closed without a code is answered 1000, where wsproto sends none.
                    outcome.close_code = 1000 if event.code == 1005 else int(event.code)
                    return outcome
        except RemoteProtocolError as error:
            hint = error.event_hint
            assert isinstance(hint, CloseConnection)
            outcome.close_code = int(hint.code)
            return outcome
    return outcome


def _as_bytes(part: str | bytes) -> bytes:
    assert isinstance(part, bytes)
    return part
