"""Backends that follow presence: python -m bench.following CONTROL COUNT SECONDS WARMUP

Each of COUNT connections subscribes from the beginning of a full log, acknowledges every batch, and
begins again at its end. The result is written as JSON: the entries that came in a second, those
that the server had written in a second before, by the times in them, and how busy this process was.
"""

import json
import selectors
import sys
import time

from bench.backends import Lines, connect

SETTLE_S = 0.2
_CURSOR = b'"cursor":"'


class Follower:
    """One subscription after the other, on one connection."""

    def __init__(self, path: str) -> None:
        self.lines = Lines(connect(path))
        self.entries = 0
        self.times: list[float] = []  # of the first and the last entry
        self._begin = self._head = ""
        self._call("presence.count", namespace="/chat")

    def _call(self, method: str, **params: str | int) -> None:
        message = {"jsonrpc": "2.0", "id": 1, "method": method, "params": params}
        self.lines.peer.sendall(json.dumps(message).encode() + b"\n")

    def receive(self) -> None:
        for line in self.lines.receive():
            if line.startswith(b'{"jsonrpc":"2.0","method":"backend.presence"'):
                self._take(line)
                continue
            message = json.loads(line)
            if "users" in message.get("result", ()):
                before, self._head = self._head, message["result"]["cursor"]
                if before != self._head:  # the server is still writing
                    time.sleep(SETTLE_S)
                    self._call("presence.count", namespace="/chat")
                    continue
                self._begin = f"{self._head.partition('-')[0]}-0"
                self._call("presence.subscribe", namespace="/chat", cursor=self._begin)
            elif "error" in message:
                sys.exit(f"following: {message['error']}")

    def _take(self, line: bytes) -> None:
        number = line.count(b'"type":"')
        self.entries += number
        head = line[line.index(b'"subscription":') + 15 :]
        subscription = int(head[: head.index(b",")])
        at = line.rindex(_CURSOR) + len(_CURSOR)
        cursor = line[at : line.index(b'"', at)].decode()
        if not self.times or cursor == self._head:
            entries = json.loads(line)["params"]["entries"]
            self.times = [*self.times[:1], entries[-1]["at"] if self.times else entries[0]["at"]]
        if cursor == self._head:
            self._call("presence.unsubscribe", subscription=subscription)
            self._call("presence.subscribe", namespace="/chat", cursor=self._begin)
        else:
            self._call("presence.ack", subscription=subscription, cursor=cursor)


def main(path: str, count: str, seconds: str, warmup: str) -> None:
    followers = [Follower(path) for _ in range(int(count))]
    with selectors.DefaultSelector() as selector:
        for follower in followers:
            selector.register(follower.lines.peer, selectors.EVENT_READ, follower)

        def follow(duration_s: float) -> tuple[float, float]:
            """Return the entries in a second, and the part of the time that this was busy."""
            before = sum(one.entries for one in followers)
            began, busy = time.monotonic(), time.process_time()
            while time.monotonic() < began + duration_s:
                for key, _ in selector.select(0.1):
                    key.data.receive()
            took = time.monotonic() - began
            entries = sum(one.entries for one in followers) - before
            return entries / took, (time.process_time() - busy) / took

        follow(float(warmup))
        while any(len(one.times) < 2 for one in followers):  # until the log was read once
            follow(0.1)
        per_second, busy = follow(float(seconds))
    first, last = followers[0].times
    _, _, entries = followers[0]._head.partition("-")
    told = {"per_second": per_second, "written": int(entries) / (last - first), "busy": busy}
    print(json.dumps(told))


if __name__ == "__main__":
    main(*sys.argv[1:])
