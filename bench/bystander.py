"""A client who is connected all the time: python -m bench.bystander PORT [TOKEN]

It asks for an acknowledgement every PAUSE_S, whether the one before has come or not, and prints
"ready". For each line of its input it prints in JSON how long it has waited for those since the
line before. It goes on until its input ends.
"""

import json
import select
import sys
import time
from collections import deque
from contextlib import suppress

from bench.flooding import connect, frame

PAUSE_S = 0.01
LIMIT_S = 30.0  # an acknowledgement that has not come by then will not come


def main(port: str, token: str = "") -> None:
    peer = connect(int(port), token)
    asked_at: deque[float] = deque()
    waits: list[float] = []
    print("ready", flush=True)
    next_at = time.monotonic()
    received = b""
    while True:
        timeout_s = max(next_at - time.monotonic(), 0)
        readable, _, _ = select.select([peer, sys.stdin], [], [], timeout_s)
        now = time.monotonic()
        if peer in readable:
            received += peer.recv(1 << 16)
            *answers, received = received.split(b"437[]")  # in order, each a frame of its own
            if b"\x81\x012" in b"".join(answers) + received:
                received = received.replace(b"\x81\x012", b"")
                peer.send(frame(b"3"))
            waits += [now - asked_at.popleft() for _ in answers]
        if asked_at and now - asked_at[0] > LIMIT_S:
            sys.exit("bystander: an acknowledgement has not come")
        if sys.stdin in readable:
            if not sys.stdin.readline():
                return
            # Nothing was due yet if the line came at once.
            ordered = sorted([*waits, *(now - at for at in asked_at)]) or [0.0]
            waits.clear()
            told = {
                "count": len(ordered),
                "p50_ms": round(1000 * ordered[len(ordered) // 2], 2),
                "p99_ms": round(1000 * ordered[int(len(ordered) * 0.99)], 2),
                "max_ms": round(1000 * ordered[-1], 2),
            }
            print(json.dumps(told), flush=True)
        if now >= next_at:
            next_at = max(next_at + PAUSE_S, now)
            asked_at.append(next_at - PAUSE_S if next_at > now else now)
            peer.send(frame(b'427["echo_ack"]'))


if __name__ == "__main__":
    with suppress(KeyboardInterrupt):
        main(*sys.argv[1:])
