"""Translates between our descriptions of sockets and receivers, and those of the Redis adapter."""

from functools import lru_cache
from typing import Any, Final

import msgspec

from trio_socketio.codec.javascript_dates import shown_text
from trio_socketio.codec.json_text import encode_json
from trio_socketio.codec.notepack import encode_plain
from trio_socketio.codec.redis_adapter import read_handshake, to_json_values
from trio_socketio.codec.redis_messages import (
    Flags,
    HandshakeRecord,
    Options,
    Selection,
    SocketRecord,
    room_names,
)
from trio_socketio.errors import LocalProtocolError
from trio_socketio.socketio.remote_socket import ClientDetails, HandshakeDetails, SocketDetails
from trio_socketio.socketio.target import Target

_ADMIN: Final = "_admin"
"""What the Admin UI knows of a client lies under this name in the data of its socket (AUI-20)."""
_MAX_TIMER_MS: Final = 2**31 - 1  # JavaScript ends a longer timer at once

# -- receivers


def options_of(target: Target, timeout_s: float | None = None) -> Options:
    """Describe the receivers and the flags of a broadcast.

    Args:
        target: selects the receivers.
        timeout_s: how long answers are waited for; None if none are asked for.
    """
    flags = Flags()
    if target.volatile:
        flags.volatile = True
    if not target.compress:
        flags.compress = False
    if timeout_s is not None:
        flags.timeout = round(min(timeout_s * 1000, _MAX_TIMER_MS))
    return Options(rooms=list(target.rooms), except_=list(target.excluded), flags=flags)


@lru_cache(maxsize=256)
def encoded_options_of(target: Target) -> bytes:
    """Encode the receivers and the flags of a broadcast; programs use few targets over and over.

    Raises:
        LocalProtocolError: a room cannot be sent.
    """
    return encode_plain(options_of(target))


def selection_of(target: Target) -> Selection:
    """Describe the sockets that a target selects."""
    return Selection(rooms=list(target.rooms), except_=list(target.excluded))


def target_of(selection: Selection) -> Target:
    """Return the target that another server has described. It selects sockets of this node alone.

    A flag that is missing has its default.
    """
    flags = selection.flags if isinstance(selection, Options) else None
    return Target(
        rooms=room_names(selection.rooms),
        excluded=room_names(selection.except_),
        volatile=flags is not None and bool(flags.volatile),
        compress=flags is None or flags.compress is not False,
        local=True,
    )


# -- sockets


def record_of(details: SocketDetails) -> SocketRecord:
    """Describe a socket as servers of Node do.

    What the program remembers of the client goes with it if JSON can carry it (BUS-17).
    """
    handshake = details.handshake
    record = SocketRecord(
        id=details.id,
        handshake=HandshakeRecord(
            headers=handshake.headers,
            time=shown_text(handshake.issued_s),
            address=handshake.address,
            xdomain="origin" in handshake.headers,
            secure=handshake.secure,
            issued=round(handshake.issued_s * 1000),
            url=handshake.url,
            query=handshake.query,
        ),
        rooms=list(details.rooms),
        data=_json_of(details.data, details.client),
    )
    if details.user is not None:
        record.user = details.user
    return record


def details_of(record: SocketRecord) -> SocketDetails:
    """Read the description of a socket that another server has sent."""
    handshake = read_handshake(record.handshake)
    data = record.data if type(record.data) is dict else {}
    client = _take_client(data)
    return SocketDetails(
        record.id,
        HandshakeDetails(
            headers=_texts(handshake.headers),
            query=_texts(handshake.query),
            url=handshake.url,
            address=handshake.address,
            secure=handshake.secure,
            issued_s=handshake.issued / 1000,
        ),
        frozenset(room_names(record.rooms)),
        data,
        record.user if isinstance(record.user, str) else None,
        client,
    )


def _json_of(data: dict[str, Any], client: ClientDetails | None) -> msgspec.Raw:
    admin = {}
    if client is not None:
        admin = {_ADMIN: {"clientId": client.id, "transport": client.transport}}
    try:
        return msgspec.Raw(encode_json(to_json_values({**data, **admin})))
    except LocalProtocolError:
        return msgspec.Raw(encode_json(admin))


def _take_client(data: dict[str, Any]) -> ClientDetails | None:
    """Take what the Admin UI knows of a client out of the data of its socket."""
    admin = data.get(_ADMIN)
    if type(admin) is not dict:
        return None
    name, transport = admin.get("clientId"), admin.get("transport")
    if type(name) is not str or type(transport) is not str:
        return None
    del data[_ADMIN]
    return ClientDetails(name, transport)


def _texts(values: dict[str, Any]) -> dict[str, str]:
    """Keep what is text. Node has lists where a header or parameter was sent more than once."""
    texts = {}
    for name, value in values.items():
        several = value if type(value) is list else [value]
        texts[name] = ", ".join(one for one in several if type(one) is str)
    return texts
