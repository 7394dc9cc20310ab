"""Where an answer ends that another node has given, which is passed on as it is."""

import re
from typing import Final

from trio_socketio.errors import RemoteProtocolError

MAX_HEAD_BYTES: Final = 64 * 1024

_STATUS: Final = re.compile(rb"HTTP/1\.1 ([1-5][0-9]{2}) [^\r\n]*\r\n").match
# Nodes of ours write an answer so if its connection is kept; what is unusual is read below.
_COMMON: Final = re.compile(
    rb"HTTP/1\.1 ([2-5][0-9]{2}) [A-Za-z ]+\r\n"
    rb"(?:(?!Connection|Content-Length|Transfer)[-A-Za-z]+: [ -~]*\r\n){0,20}"
    rb"Content-Length: ([0-9]{1,12})\r\n\r\n"
).match
_LENGTH: Final = re.compile(rb"(?i)\r\ncontent-length:[ \t]*([0-9]{1,12})[ \t]*(?=\r\n)").findall
_CLOSES: Final = re.compile(rb"(?i)\r\nconnection:[ \t]*close[ \t]*\r\n").search
_BARE: Final = frozenset((204, 304))
"""Answers that may have no length, and have no body."""


class ForwardedAnswer:
    """Follows one answer. Nothing but its status and its length is looked at.

    Attributes:
        status: 0 until the head is whole.
        closes: whether the connection is not used for anything else.
        left_bytes: how much of the body is still to come.
    """

    __slots__ = ("_head", "closes", "left_bytes", "status")

    def __init__(self) -> None:
        self._head = b""
        self.status = 0
        self.closes = False
        self.left_bytes = 0

    @property
    def is_over(self) -> bool:
        """Whether all of it has come; an answer 101 is never over."""
        return self.status > 101 and not self.left_bytes

    @property
    def switches(self) -> bool:
        """Whether what follows is no answer any more."""
        return self.status == 101

    def receive(self, data: bytes) -> bytes:
        """Take the next bytes.

        Returns:
            What can be passed on now.
        Raises:
            RemoteProtocolError: this is no answer, or there is more than one.
        """
        size = 0
        if not self.status:
            if self._head:
                data = self._head + data
            size = self._read_head(data)
            if not size:
                self._head = data
                return b""
            self._head = b""
        if self.status != 101:
            if len(data) - size > self.left_bytes:
                raise RemoteProtocolError("more has come than one answer")
            self.left_bytes -= len(data) - size
        return data

    def _read_head(self, data: bytes) -> int:
        """Read the head, and return its length; 0 if it is not whole."""
        match = _COMMON(data)
        if match is not None:
            self.status, self.left_bytes = int(match[1]), int(match[2])
            return match.end()
        size = data.find(b"\r\n\r\n") + 4
        if size < 4 or size > MAX_HEAD_BYTES:
            if len(data) > MAX_HEAD_BYTES:  # FWD-05
                raise RemoteProtocolError("the head of an answer is too large")
            return 0
        match = _STATUS(data)
        if match is None:
            raise RemoteProtocolError("the other node has not answered in HTTP/1.1")
        status = int(match[1])
        if status < 200 and status != 101:
            raise RemoteProtocolError(f"an answer {status} was not asked for")
        head = data[match.end() - 2 : size]
        lengths = _LENGTH(head)
        if len(lengths) != (status != 101) and not (status in _BARE and not lengths):
            raise RemoteProtocolError("where an answer ends is not said")
        self.status = status
        self.left_bytes = int(lengths[0]) if lengths else 0
        self.closes = _CLOSES(head) is not None
        return size
