"""Answers of long-polling, compressed: small ones at once, large ones in a thread."""

from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Final

import trio

from trio_socketio.http.content_coding import ContentCoder, choose_coding, encode_content

if TYPE_CHECKING:
    from trio_socketio.codec.engine_packet import Outgoing
    from trio_socketio.engine.hooks import HookWorkers
    from trio_socketio.http.options import HttpCompression
    from trio_socketio.http.request import Request
    from trio_socketio.runtime.poller import Poller

INLINE_BYTES: Final = 32 * 1024
"""Compressed in a fifth of a millisecond; what is longer would hold up a turn."""


class Compression:
    """Compresses the bodies of one engine.

    Args:
        options: see HttpCompression.
        workers: do what takes long.
        poller: goes on with it.

    Attributes:
        threshold_bytes: bodies of that size are offered to it.
    """

    def __init__(
        self, options: "HttpCompression", workers: "HookWorkers", poller: "Poller"
    ) -> None:
        self.threshold_bytes = options.threshold_bytes
        self._level = options.level
        self._workers = workers
        self._poller = poller
        self._coder = ContentCoder(options.level)
        self._awaited: dict[tuple[int, str], _Job] = {}  # broadcasts at work, by packet and coding

    def choose(self, request: "Request", packets: "list[Outgoing]") -> str | None:
        """The coding for an answer; None when it is better sent as it is."""
        accepted = request.headers.get("accept-encoding")
        if accepted is None or not any(packet.compress for packet in packets):
            return None
        return choose_coding(accepted)

    def encode(
        self,
        coding: str,
        packets: "list[Outgoing]",
        body: bytes,
        on_encoded: Callable[[bytes], None],
    ) -> None:
        """Compress the body of packets; on_encoded is called now or in a later turn.

        A packet that is alone in its body, as a broadcast is, is compressed once.
        """
        packet = packets[0] if len(packets) == 1 else None
        if packet is not None and packet.coded is not None and coding in packet.coded:
            on_encoded(packet.coded[coding])
        elif len(body) <= INLINE_BYTES:
            encoded = self._coder.encode(coding, body)
            _keep(packet, coding, encoded)
            on_encoded(encoded)
        elif packet is not None and (id(packet), coding) in self._awaited:
            self._awaited[id(packet), coding].callbacks.append(on_encoded)
        else:
            job = _Job(partial(encode_content, coding, body, self._level), packet, coding, self)
            job.callbacks.append(on_encoded)
            if packet is not None:  # EIO4-75
                self._awaited[id(packet), coding] = job
            self._workers.submit(job)

    def finish(self, job: "_Job", encoded: bytes) -> None:
        """A job has done its work."""
        if job.packet is not None:
            del self._awaited[id(job.packet), job.coding]
        _keep(job.packet, job.coding, encoded)
        for on_encoded in job.callbacks:
            self._poller.defer(partial(on_encoded, encoded))


def _keep(packet: "Outgoing | None", coding: str, encoded: bytes) -> None:
    if packet is not None:  # EIO4-90
        if packet.coded is None:
            packet.coded = {}
        packet.coded[coding] = encoded


class _Job:
    """One body, to be compressed in a thread."""

    __slots__ = ("_compress", "_compression", "callbacks", "coding", "packet")

    def __init__(
        self,
        compress: Callable[[], bytes],
        packet: "Outgoing | None",
        coding: str,
        compression: Compression,
    ) -> None:
        self._compress = compress
        self._compression = compression
        self.packet = packet  # kept, so that its id stays its own
        self.coding = coding
        self.callbacks: list[Callable[[bytes], None]] = []

    async def run(self, workers: "HookWorkers") -> bool:
        """See HookJob."""
        encoded = await workers.call_async(trio.to_thread.run_sync, self._compress)
        self._compression.finish(self, encoded)
        return True
