"""Checks the framing of a chunked body as it arrives; h11 takes the data out of it.

h11 looks at a line only when it is whole, accepts sizes of 20 digits, and bounds each line but not
their sum. The checks here are stricter: a size that is too long is refused before its line ends,
extensions and trailers are bounded over the whole body, and all lines must end in CRLF, so that
every proxy on the way reads the body alike.
"""

import re
from typing import Final

import h11

MAX_SIZE_DIGITS: Final = 16
MAX_SPARE_BYTES: Final = 16 * 1024
"""How many bytes of chunk extensions and trailers one body may have."""

_DIGITS: Final = rb"[0-9A-Fa-f]{1,%d}" % MAX_SIZE_DIGITS
_SIZE: Final = re.compile(rb"(" + _DIGITS + rb")[ \t]*(?:;[\t -~\x80-\xff]*)?\r\n").fullmatch
_SIZE_SO_FAR: Final = re.compile(_DIGITS + rb"(?:[ \t\r;]|\Z)").match
_TRAILER: Final = re.compile(rb"[\t -~\x80-\xff]*\r\n").fullmatch
_SIZE_LINE_BYTES: Final = MAX_SIZE_DIGITS + 2
_CRLF_BYTES: Final = 2


class ChunkFraming:
    """Follows where the chunks of one body begin and end. Spec: RFC 9112, section 7.1.

    Attributes:
        ended: whether the body is complete.
    """

    __slots__ = ("_data_bytes", "_in_trailers", "_line", "_spare_bytes", "ended")

    def __init__(self) -> None:
        self._line = b""  # the part of the current line that has arrived
        self._data_bytes = 0  # what is left of the current chunk, with its line break
        self._spare_bytes = MAX_SPARE_BYTES
        self._in_trailers = False
        self.ended = False

    def receive(self, data: bytes) -> None:
        """Check the next bytes of the body, in whatever pieces they come (HTTP-20).

        Bytes after the end of the body belong to the next request, and are ignored.

        Raises:
            h11.RemoteProtocolError: the framing is malformed, or takes too many bytes.
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
            if not _SIZE_SO_FAR(line):  # HTTP-21: refused without waiting for the rest of the line
                raise h11.RemoteProtocolError("this is not the size of a chunk")
            return
        match = _SIZE(line)
        if match is None:  # HTTP-57
            raise h11.RemoteProtocolError("this is not the size of a chunk")
        if over > 0:
            self._spare_bytes -= over
        size = int(match[1], 16)
        if size:
            self._data_bytes = size + _CRLF_BYTES  # h11 refuses anything but CRLF there: HTTP-58
        else:
            self._in_trailers = True

    def _look_at_trailer(self, *, whole: bool) -> None:
        line = self._line
        if len(line) > self._spare_bytes:  # HTTP-23
            raise h11.RemoteProtocolError(
                "the trailers of the body are too large", error_status_hint=431
            )
        if whole:
            if not _TRAILER(line):
                raise h11.RemoteProtocolError("a trailer is not made of whole lines of text")
            self._spare_bytes -= len(line)
            self.ended = line == b"\r\n"
