"""Compresses the answers of long-polling: small ones at once, large ones in a thread."""

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
"""Takes a fifth of a millisecond at level 1. A longer body would hold up the turn."""


class Compression:
    """Compresses the bodies of one engine.

    Args:
        options: the level, and the size from which on bodies are compressed.
        workers: run the jobs that compress large bodies.
        poller: calls back in a later turn, when such a job is done.

    Attributes:
        threshold_bytes: smaller bodies are not offered to it.
    """

    def __init__(
        self, options: "HttpCompression", workers: "HookWorkers", poller: "Poller"
    ) -> None:
        self.threshold_bytes = options.threshold_bytes
        self._level = options.level
        self._workers = workers
        self._poller = poller
        self._coder = ContentCoder(options.level)
        self._awaited: dict[tuple[int, str], _Job] = {}  # broadcasts, by packet and coding

    def choose(self, request: "Request", packets: "list[Outgoing]") -> str | None:
        """Return the content coding for an answer, or None to send it as it is."""
        accepted = request.headers.get("accept-encoding")
        if accepted is None or not any(packet.compress for packet in packets):
            return None
        return choose_coding(accepted)

    def encode(
        self,
        coding: str,
        packets: "list[Outgoing]",
        body: bytes,
        on_encoded: Callable[[bytes | None], None],
    ) -> None:
        """Compress a body, and call on_encoded with the result now or in a later turn.

        A broadcast is usually alone in its body. What it was compressed to is kept with the packet,
        so that it is compressed once, however many clients it goes to.

        Args:
            coding: from `choose`.
            packets: those in the body; none if other clients get the same packet in another body.
            body: uncompressed.
            on_encoded: takes the compressed body; None if it could not be compressed.
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

    def finish(self, job: "_Job", encoded: bytes | None) -> None:
        """Pass a job's result on to all that wait for it; None if the job failed."""
        if job.packet is not None:
            del self._awaited[id(job.packet), job.coding]
        if encoded is not None:
            _keep(job.packet, job.coding, encoded)
        for on_encoded in job.callbacks:
            self._poller.defer(partial(on_encoded, encoded))


def _keep(packet: "Outgoing | None", coding: str, encoded: bytes) -> None:
    if packet is not None:  # EIO4-90
        if packet.coded is None:
            packet.coded = {}
        packet.coded[coding] = encoded


class _Job:
    """Compresses one body in a thread."""

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
        self.packet = packet  # kept alive, so that no other packet gets its id() meanwhile
        self.coding = coding
        self.callbacks: list[Callable[[bytes | None], None]] = []

    async def run(self, workers: "HookWorkers") -> bool:
        """Compress the body, and hand the result back. Returns False: the clock was not read."""
        encoded: bytes | None
        try:
            encoded = await workers.call_async(trio.to_thread.run_sync, self._compress)
        except Exception as error:  # out of memory: the body is sent as it is
            workers.log_failure("compressing an answer", "", error)
            encoded = None
        self._compression.finish(self, encoded)
        return False
