"""The framing of a chunked body, watched while it arrives. h11 takes the data out of it.

h11 looks at a line when it is whole, accepts sizes of 20 digits, and bounds a single line only.
This is stricter: a size that is too long is refused before its line ends, what is neither data nor
a size is bounded over the whole body, and lines end as every proxy on the way reads them.
"""

import re
from typing import Final

import h11

MAX_SIZE_DIGITS: Final = 16
MAX_SPARE_BYTES: Final = 16 * 1024
"""Of chunk extensions and trailers in one body."""

_SIZE: Final = re.compile(rb"([0-9A-Fa-f]{1,16})[ \t]*(?:;[\t -~\x80-\xff]*)?\r\n").fullmatch
_SIZE_SO_FAR: Final = re.compile(rb"[0-9A-Fa-f]{1,16}(?:[ \t\r;]|\Z)").match
_TRAILER: Final = re.compile(rb"[\t -~\x80-\xff]*\r\n").fullmatch
_SIZE_LINE_BYTES: Final = MAX_SIZE_DIGITS + 2
_CRLF_BYTES: Final = 2


class ChunkFraming:
    """Where the chunks of one body begin and end.

    Spec: RFC 9112, section 7.1 (HTTP-20 to HTTP-23).
    """

    __slots__ = ("_data_bytes", "_in_trailers", "_line", "_spare_bytes", "ended")

    def __init__(self) -> None:
        self._line = b""  # the part of a line that has arrived
        self._data_bytes = 0  # of the chunk in hand, with the line break behind them
        self._spare_bytes = MAX_SPARE_BYTES
        self._in_trailers = False
        self.ended = False

    def receive(self, data: bytes) -> None:
        """Look at the next bytes of the body; those of the request behind it are ignored.

        Raises:
            h11.RemoteProtocolError: the body is not framed as it must be, or spends too many bytes
                on it.
        """
        at = 0
        while at < len(data) and not self.ended:
            if self._data_bytes:
                taken = min(self._data_bytes, len(data) - at)
                self._data_bytes -= taken
                at += taken
                continue
            end = data.find(b"\n", at) + 1
            self._line += data[at : end or None]
            if self._in_trailers:
                self._look_at_trailer(whole=end > 0)
            else:
                self._look_at_size(whole=end > 0)
            if not end:
                return
            self._line = b""
            at = end

    def _look_at_size(self, *, whole: bool) -> None:
        line = self._line
        over = len(line) - _SIZE_LINE_BYTES
        if over > self._spare_bytes:
            raise h11.RemoteProtocolError("too many bytes of chunk extensions")  # HTTP-22
        if not whole:
            if not _SIZE_SO_FAR(line):  # HTTP-21: what follows is not waited for
                raise h11.RemoteProtocolError("this is not the size of a chunk")
            return
        match = _SIZE(line)
        if match is None:
            raise h11.RemoteProtocolError("this is not the size of a chunk")
        if over > 0:
            self._spare_bytes -= over
        size = int(match[1], 16)
        if size:
            self._data_bytes = size + _CRLF_BYTES
        else:
            self._in_trailers = True

    def _look_at_trailer(self, *, whole: bool) -> None:
        line = self._line
        if len(line) > self._spare_bytes:
            raise h11.RemoteProtocolError(
                "the trailers of the body are too large", error_status_hint=431
            )
        if whole:
            if not _TRAILER(line):
                raise h11.RemoteProtocolError("a trailer is not made of whole lines of text")
            self._spare_bytes -= len(line)
            self.ended = line == b"\r\n"
