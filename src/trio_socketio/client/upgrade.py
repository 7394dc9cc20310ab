"""The move of a session from long-polling to WebSocket."""

import logging

import trio

from trio_socketio.client.polling import PollingTransport
from trio_socketio.client.websocket import WebSocketTransport
from trio_socketio.codec.engine_packet import PROBE_PING, Outgoing, PacketType
from trio_socketio.errors import ConnectFailed, RemoteProtocolError, SessionClosed
from trio_socketio.protocol.client import ClientMachine, Input, State
from trio_socketio.runtime.barrier import split_failure

log = logging.getLogger(__name__)

_UPGRADE = Outgoing(b"5")
_PROBE = Outgoing(PROBE_PING)


class Carrier:
    """The transport that carries a session at the moment.

    On polling, the reader holds a lock around every GET and the writer around every POST. The
    upgrade takes both locks, and then no packet is on its way by the transport that is left.

    Args:
        transport: the one that opens the session.
    """

    def __init__(self, transport: PollingTransport | WebSocketTransport) -> None:
        self.transport = transport
        self.reading = trio.Lock()
        self.writing = trio.Lock()


async def upgrade(
    carrier: Carrier, candidate: WebSocketTransport, machine: ClientMachine, timeout_s: float
) -> None:
    """Move the session to a WebSocket. If that fails in any way, polling goes on.

    Args:
        carrier: its transport is replaced, and the one that is not used any more is closed.
        candidate: a WebSocket that is not open yet.
        machine: of the session, which is open.
        timeout_s: for the whole upgrade.

    Spec: Engine.IO v4, "Upgrade" (CLI-11).
    """
    left: PollingTransport | WebSocketTransport = candidate
    try:
        _advance(machine, Input.PROBE_SENT)
        with trio.fail_after(timeout_s):
            packets = await candidate.open(machine.sid)
            await candidate.send([_PROBE])
            packets = packets or await candidate.receive()
            if [(packet.type, packet.data) for packet in packets] != [(PacketType.PONG, b"probe")]:
                raise RemoteProtocolError("the probe was not answered with its pong")
            _advance(machine, Input.PROBE_ANSWERED)
            # Reading first: a lock goes to the task that has waited longest, so no GET begins after
            # the current one. When both are held, the last POST is over, too.
            async with carrier.reading, carrier.writing:
                _advance(machine, Input.POLLING_PAUSED)
                await candidate.send([_UPGRADE])
                _advance(machine, Input.UPGRADE_SENT)
                left, carrier.transport = carrier.transport, candidate
    except (SessionClosed, ConnectFailed, RemoteProtocolError, trio.TooSlowError) as error:
        if machine.state is not State.CLOSED:
            log.info("the session stays on polling: %s", error or "the upgrade took too long")
            machine.receive(Input.PROBE_FAILED)
    except BaseException as error:
        failure, cancelled = split_failure(error)
        if failure is not None and machine.state is not State.CLOSED:
            # CLI-18: an open_stream or a stream of the program failed, or we have a defect.
            log.error("the upgrade failed, and the session stays on polling", exc_info=failure)
            machine.receive(Input.PROBE_FAILED)
        if cancelled is not None:
            raise cancelled from None
    finally:
        with trio.CancelScope(shield=True):
            await left.aclose()


def _advance(machine: ClientMachine, event: Input) -> None:
    if machine.state is State.CLOSED:  # the session ended while the upgrade waited
        raise SessionClosed("the session has ended")
    machine.receive(event)
