"""Scenario 9: a replica that is behind takes the place of the master."""

from pathlib import Path
from typing import Final

import trio

from tests.faults.presence.history import boottime
from tests.faults.presence.of_redis import REBUILT_S
from tests.faults.presence.scenarios import scenario
from tests.faults.presence.world import World
from tests.faults.relay import open_relay
from tests.redis_server import RedisServer

SYNCED_S: Final = 20.0


@scenario("9", "a replica that is behind is promoted", with_relays=True)
async def promote_stale_replica(world: World) -> None:
    async with open_relay(world.redis.port, speaks_resp=False) as link:
        folder = world.folder / "replica"
        replica = await trio.to_thread.run_sync(_start_replica, folder, link.port)
        try:
            with trio.fail_after(SYNCED_S):
                while not _is_synced(replica, world.redis):  # noqa: ASYNC110 - it does not tell
                    await trio.sleep(0.05)
            link.is_away = True
            link.cut()  # from here on it is behind
            users = world.users[: world.size.take(300, 30)]
            later = [node.port for node in world.nodes.values()][1:]
            gone = world.users[-world.size.take(100, 10) :]
            await world.enter(users, later)
            world.wanted -= set(gone)
            await world.crowd.tell("leave", users=gone)
            assert await world.time_until_right(boottime(), 20) is not None
            notes = len(world.crowd.notes)
            world.redis.stop()
            replica.command("REPLICAOF", "NO", "ONE")
            since = boottime()
            for relay in world.relays.values():
                relay.target = replica.port
                relay.cut()
            right = await world.time_until(
                lambda: world.reader.resets > 0 and world.is_right(), since, 30
            )
            world.note_time("all rebuilt, later logins have won", right, REBUILT_S)
            world.note_count("generations that have begun", world.reader.resets, 1)
            outs = sum(note.do == "out" for note in world.crowd.notes[notes:])
            world.note_count("clients that were closed", outs)
            await world.judge()
        finally:
            replica.stop()


def _start_replica(folder: Path, master: int) -> RedisServer:
    folder.mkdir()
    replica = RedisServer(folder, ("--replicaof", "127.0.0.1", str(master)))
    replica.start()
    return replica


def _is_synced(replica: RedisServer, master: RedisServer) -> bool:
    its, ours = (server.command("INFO", "replication") for server in (replica, master))
    is_up: bool = its["master_link_status"] == "up"
    at: int = its["slave_repl_offset"]
    return is_up and at == int(ours["master_repl_offset"])
