"""The garbage collector of a server process: how much it looks at at a time, and when at all."""

import json
from pathlib import Path

import pytest
from trio.testing import trio_test

from tests.cli_process import serving
from tests.wire import open_client

APP = """
import gc

from trio_socketio import Server


class Node:
    def __init__(self, other):
        self.other = other


seen = {0: 0, 1: 0, 2: 0}
kept = []


def note(phase, details):
    if phase == "start":
        oldest = details["generation"]
        count = sum(len(gc.get_objects(number)) for number in range(oldest + 1))
        seen[oldest] = max(seen[oldest], count)


def begin():
    gc.collect()
    gc.callbacks.append(note)


def watch(most):
    "Keep cycles until they are old and drop them, until the collector has looked at everything."
    made = 0
    while not seen[2] and made < most:
        kept.append(ring := Node(None))
        ring.other = Node(ring)
        made += 2
        if len(kept) > 10_000:
            del kept[:5_000]
    return [made, bool(seen[2]), seen[0], seen[1], gc.get_freeze_count()]


def create(options):
    sio = Server(options)
    sio.on("begin")(lambda socket: begin())
    sio.on("watch")(lambda socket, most: watch(most))
    return sio
"""


@pytest.mark.req("CMD-14", "CMD-15")
@trio_test
async def test_the_collector_looks_at_little_at_a_time_and_at_all_in_time(tmp_path: Path) -> None:
    path = tmp_path / "collected.py"
    path.write_text(APP)
    async with serving("--app", f"{path}:create") as server:
        async with open_client(await server.wait_port(), "websocket") as client:
            await client.connect()
            await client.emit("begin")
            made, has_ended = 0, False
            while not has_ended and made < 6_000_000:  # in pieces, as each answer has its time
                await client.emit("watch", 200_000, ack_id=1)
                text, _ = await client.receive()
                assert text.startswith("31")
                ((more, has_ended, young, older, frozen),) = json.loads(text.removeprefix("31"))
                made += more
        assert young < 2_500
        assert older < 15_000
        assert 1_500_000 < made < 4_500_000
        assert frozen > 20_000  # the modules, which are never looked at
        assert await server.end() == 0
