"""The process at the other end of a Unix socket."""

import socket
import struct
from typing import Final, NamedTuple

_FORM: Final = struct.Struct("3i")


class Process(NamedTuple):
    """A process of this machine; -1 stands for what the system does not tell.

    Args:
        pid: of the process.
        uid: of its user.
    """

    pid: int
    uid: int


def read_process(fileno: int) -> Process | None:
    """Return the process that has connected a Unix socket; None for a socket of another kind.

    Args:
        fileno: the descriptor of the socket, which stays open.
    """
    sock = socket.socket(fileno=fileno)  # asks the system of which kind it is
    try:
        if sock.family != socket.AF_UNIX:
            return None
        if not hasattr(socket, "SO_PEERCRED"):
            return Process(-1, -1)
        form = _FORM.size
        pid, uid, _ = _FORM.unpack(sock.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, form))
        return Process(pid, uid)
    finally:
        sock.detach()
