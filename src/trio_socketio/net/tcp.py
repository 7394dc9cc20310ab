"""Options of sockets that only some systems have."""

import socket
import sys

if sys.platform == "linux":
    import fcntl
    import termios

    def count_unconfirmed(sock: socket.socket) -> int:
        """Count the bytes that the kernel holds and the peer has not confirmed."""
        try:
            answer = fcntl.ioctl(sock.fileno(), termios.TIOCOUTQ, bytes(4))  # SIOCOUTQ of sockets
        except OSError:
            return 0
        return int.from_bytes(answer, sys.byteorder)

else:

    def count_unconfirmed(sock: socket.socket) -> int:
        """Return 0: this system does not tell, so what the kernel has taken counts as confirmed."""
        return 0


def set_user_timeout(sock: socket.socket, timeout_s: float) -> None:
    """Have the kernel end a TCP connection whose peer confirms none of our data for this long."""
    if sock.family in (socket.AF_INET, socket.AF_INET6) and hasattr(socket, "TCP_USER_TIMEOUT"):
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, int(timeout_s * 1000))
