"""Many clients in a process of their own: raw sockets, handshakes by bytes, no package at all.

``python -m tests.bare_clients idle PORT COUNT`` opens COUNT WebSockets, joins the main namespace
with each, prints "open" and keeps them until its input ends; then it closes them.
``python -m tests.bare_clients flood PORT COUNT`` sends `echo` events on COUNT WebSockets as fast
as they are answered until its input ends; then it prints how many answers came.
"""

import select
import socket
import sys
import time

REQUEST = (
    b"GET /socket.io/?EIO=4&transport=websocket HTTP/1.1\r\nHost: 127.0.0.1\r\n"
    b"Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n"
    b"Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n\r\n"
)
TIMEOUT_S = 20.0
AT_A_TIME = 200
EVENTS_IN_FLIGHT = 16


def frame(text: bytes) -> bytes:
    """A short masked text frame; the mask is zero."""
    assert len(text) < 126
    return bytes((0x81, 0x80 | len(text))) + b"\0\0\0\0" + text


def connect(port: int, count: int) -> list[socket.socket]:
    """Clients that are in the main namespace."""
    clients: list[socket.socket] = []
    while len(clients) < count:
        fresh = []
        for _ in range(min(AT_A_TIME, count - len(clients))):
            client = socket.create_connection(("127.0.0.1", port), TIMEOUT_S)
            client.sendall(REQUEST + frame(b"40"))
            fresh.append(client)
        for client in fresh:
            data = b""
            while not (b'40{"sid":' in data and data.endswith(b"}")):
                more = client.recv(4096)
                if not more:
                    sys.exit(f"the server closed: {data!r}")
                data += more
        clients += fresh
    return clients


def input_ended(timeout_s: float) -> bool:
    """Whether whoever started this process is content."""
    return bool(select.select([sys.stdin], [], [], timeout_s)[0])


def idle(port: int, count: int) -> None:
    clients = connect(port, count)
    sys.stdout.write("open\n")
    sys.stdout.flush()
    sys.stdin.read()
    for client in clients:
        client.close()
    sys.stdout.write("closed\n")
    sys.stdout.flush()


def flood(port: int, count: int) -> None:
    clients = {client.fileno(): client for client in connect(port, count)}
    events = frame(b'42["echo","0123456789"]') * EVENTS_IN_FLIGHT
    answer_bytes = (len(events) // EVENTS_IN_FLIGHT - 4) * EVENTS_IN_FLIGHT  # not masked
    received = dict.fromkeys(clients, 0)
    poll = select.epoll()
    for number, client in clients.items():
        client.setblocking(False)
        poll.register(number, select.EPOLLIN)
        client.send(events)
    sys.stdout.write("open\n")
    sys.stdout.flush()
    answers = 0
    looked_at = time.monotonic()
    while True:
        for number, _ in poll.poll(0.1):
            data = clients[number].recv(65536)
            if not data:
                sys.exit("the server closed")
            received[number] += len(data)
            if received[number] >= answer_bytes:
                received[number] -= answer_bytes
                answers += EVENTS_IN_FLIGHT
                clients[number].send(events)
        if time.monotonic() - looked_at > 0.05:
            looked_at = time.monotonic()
            if input_ended(0):
                break
    sys.stdout.write(f"{answers}\n")
    sys.stdout.flush()


if __name__ == "__main__":
    {"idle": idle, "flood": flood}[sys.argv[1]](int(sys.argv[2]), int(sys.argv[3]))
