"""``python -m tests.im.namespaces.crowd CLIENTS SEED``: clients that come and go.

A line of JSON on its standard input tells which namespaces and ports there are, or that all is
over. Then it prints, as JSON, what the clients have seen.
"""

import json
import sys
from collections import Counter
from contextlib import suppress
from random import Random
from typing import Any, Final

import trio
from tests import wire
from tests.crowd import need_descriptors
from tests.im.identity.identified import ANN, BOB
from tests.wire import ConnectionEnded, Rejected, SocketIOClient
from wsproto.utilities import RemoteProtocolError

END_S: Final = 10.0
TOLD: Final = {"0": "joined", "1": "put out", "4": "refused"}
LOST: Final = (
    ConnectionEnded,
    Rejected,
    RemoteProtocolError,  # a node was ended in the middle of a handshake
    OSError,
    trio.BrokenResourceError,
    trio.TooSlowError,
)


class Crowd:
    """What the clients know, and have seen.

    Args:
        clients: how many there are.
    """

    def __init__(self, clients: int) -> None:
        self.names: list[str] = []
        self.ports: list[int] = []
        self.is_over = False
        self.pause_s = clients / 100  # so 100 sessions are opened in a second
        self.done: Counter[str] = Counter()
        self.faults: list[str] = []
        self.told = trio.Event()


class Guest:
    """A client that comes and goes; it notes which namespaces it is in."""

    def __init__(self, crowd: Crowd, number: int) -> None:
        self._crowd = crowd
        self._random = Random(number)
        self.inside: set[str] = set()

    async def run(self) -> None:
        crowd = self._crowd
        await crowd.told.wait()
        while True:
            await trio.sleep(self._random.random() * crowd.pause_s)
            with suppress(*LOST):
                async with wire.open_client(self._random.choice(crowd.ports)) as client:
                    await self._visit(client)
            self.inside = set()

    async def _visit(self, client: SocketIOClient) -> None:
        crowd = self._crowd
        for name in self._random.choices(crowd.names, k=2):
            token = self._random.choice((ANN, BOB))
            await client.send(f'0{name},{{"token":"{token}"}}')
        with trio.move_on_after(self._random.random() * crowd.pause_s):
            while True:
                await self._take(client)
        if self._random.random() < 0.5:  # the others stay until their namespaces end
            return
        with trio.move_on_after(2 * crowd.pause_s):
            while self.inside:
                await self._take(client)

    async def _take(self, client: SocketIOClient) -> None:
        try:
            packet = str((await client.receive())[0])
        except trio.TooSlowError:
            return  # nothing has come for a while
        kind, name = packet[0], packet[1:].partition(",")[0]
        self._crowd.done[TOLD.get(kind, "events")] += 1
        if kind == "0":
            self.inside.add(name)
        elif kind == "1":
            self.inside.discard(name)
        elif kind == "2" and name not in self.inside:
            self._crowd.faults.append(f"an event for a client that is not in: {packet}")


async def main(clients: int, seed: int) -> dict[str, Any]:
    crowd, random = Crowd(clients), Random(seed)
    guests = [Guest(crowd, random.getrandbits(32)) for _ in range(clients)]
    told = trio.wrap_file(sys.stdin)
    sys.stdout.write("ready\n")
    sys.stdout.flush()
    async with trio.open_nursery() as nursery:
        for guest in guests:
            nursery.start_soon(guest.run)
        async for line in told:
            news = json.loads(line)
            if news.get("over"):
                break
            crowd.names, crowd.ports = news["names"], news["ports"]
            crowd.told.set()
        with trio.move_on_after(END_S):  # on a busy machine, it may take a while to hear of it
            while any(guest.inside for guest in guests):  # noqa: ASYNC110 - there is no one event
                await trio.sleep(0.1)
        for guest in guests:
            if guest.inside:
                crowd.faults.append(f"a client was not told that it is out of {guest.inside}")
        nursery.cancel_scope.cancel()
    return {"done": crowd.done, "faults": crowd.faults[:20]}


if __name__ == "__main__":
    count, number = map(int, sys.argv[1:])
    need_descriptors(count + 100)
    sys.stdout.write(json.dumps(trio.run(main, count, number)))
