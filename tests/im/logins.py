"""Many users who log in again and again: ``python -m tests.im.logins [USERS [LOGINS [SEED]]]``.

Two servers share a presence store. Clients of every kind, in processes of their own, log users in,
each while the client before is in, or leaves, or breaks its connection, or comes at the same
moment. Meanwhile the log is read through the interface of the store, and compared with the state at
the same cursors; observers of the servers note who is in. Without arguments it is 1,000 users with
50 logins each. Exits 1 if anything is wrong.

With ``--nodes 3`` the servers are processes of their own that share a Redis, and each reads the
log. ``--rounds 1000`` adds as many rounds for each policy, in which a user logs in on all nodes at
the same moment.
"""

import argparse
import sys
from functools import partial
from typing import Final

import trio
from tests.crowd import need_descriptors
from tests.im.inside import Inside
from tests.im.login_drivers import drive_logins
from tests.im.login_judging import Outcome, judge_clients, judge_doubts, judge_log, judge_stays
from tests.im.login_node import LOOKS_S, OPTIONS, SETTLES_S, identify
from tests.im.node_logins import run_over_nodes
from tests.im.presence_reader import Reader
from tests.im.raw_clients import CHAT

from trio_socketio import JoiningState, Server, Step
from trio_socketio.im.presence import MemoryStore, Presence
from trio_socketio.socketio.open_server import open_server

DEFAULTS: Final = (1000, 50, 1)


async def run_logins(
    users: int, logins: int, seed: int = 1, store: MemoryStore | None = None
) -> Outcome:
    """Log users in on two servers of this process, and return what that has shown.

    Args:
        users: how many.
        logins: of each.
        seed: of the dice.
        store: that the servers share; None means a new one.
    """
    need_descriptors(users * 8 + 500)
    outcome = Outcome()
    store, inside = MemoryStore() if store is None else store, Inside()
    reader = Reader(store, CHAT, page=500)
    one, other = _create(store, inside), _create(store, inside)
    async with (
        open_server(one) as here,
        open_server(other) as there,
        trio.open_nursery() as nursery,
    ):
        nursery.start_soon(_follow, reader)
        await drive_logins(outcome, [here[0][1], there[0][1]], users, logins, seed)
        with trio.move_on_after(SETTLES_S):
            while inside.by_user or reader.users:  # noqa: ASYNC110 - nothing tells of both
                await trio.sleep(0.02)
        nursery.cancel_scope.cancel()
    await _judge(outcome, reader, inside)
    return outcome


def _create(store: MemoryStore, inside: Inside) -> Server:
    server = Server(OPTIONS)
    chat = server.of(CHAT)
    chat.add_steps([Step(JoiningState.AUTHENTICATING, identify)])
    chat.on("here")(inside.answer)
    Presence(server, store).seat(CHAT)
    chat.observe(inside)
    return server


async def _follow(reader: Reader) -> None:
    """Compare the log with the state again and again, as it grows (I1 to I4, I8)."""
    while True:
        await reader.follow()
        await trio.sleep(LOOKS_S)


async def _judge(outcome: Outcome, reader: Reader, inside: Inside) -> None:
    judge_clients(outcome)
    complaints = outcome.complaints
    complaints += inside.complaints
    await reader.follow()
    if inside.by_user or reader.users:  # I6
        complaints.append(f"left behind: {list(inside.by_user)[:3]}, {list(reader.users)[:3]}")
    judge_log(outcome, reader.entries)
    judge_stays(outcome, reader.entries, inside.stays)
    judge_doubts(outcome, reader.entries)
    if not outcome.entered.issubset(stay.id for stay in inside.stays):
        complaints.append("clients were let in of which the servers know nothing")


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.im.logins")
    for name, default in zip(("users", "logins", "seed"), DEFAULTS, strict=True):
        parser.add_argument(name, type=int, nargs="?", default=default)
    parser.add_argument("--nodes", type=int, default=0, help="processes that share a Redis")
    parser.add_argument("--rounds", type=int, default=0, help="of logins at the same moment")
    asked = parser.parse_args()
    numbers = asked.users, asked.logins, asked.seed
    if asked.nodes:
        outcome = trio.run(partial(run_over_nodes, asked.nodes, *numbers, rounds=asked.rounds))
    else:
        outcome = trio.run(run_logins, *numbers)
    print(outcome)  # noqa: T201 - what the command is for
    sys.exit(bool(outcome.complaints))


if __name__ == "__main__":
    main()
