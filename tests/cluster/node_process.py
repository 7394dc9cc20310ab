"""A node in a process of its own: python -m tests.cluster.node_process REDIS_URL NAME SOCKET_PATH.

It prints a line of JSON with its port once it serves.
"""

import json
import sys
from functools import partial

import trio
from tests.control.serving import FakeSystem

from trio_socketio import RedisPubSub, Server, TcpEndpoint, open_redis, open_runtime
from trio_socketio.cluster.nodes import ClusterNodes
from trio_socketio.control.options import BackendOptions, ControlOptions, ForwardedEvents
from trio_socketio.control.service import ControlService
from trio_socketio.im.presence.user_methods import UserMethods


async def serve(url: str, name: str, path: str) -> None:
    async with open_redis(url) as redis, open_runtime() as runtime:
        server = Server(adapter=RedisPubSub(redis))
        nodes = ClusterNodes(redis, server, name)
        options = ControlOptions(
            listen=(f"unix:{path}",),
            backends=BackendOptions(forward=(ForwardedEvents(events=("order",)),)),
        )
        users = [UserMethods(server)]
        control = ControlService(server, FakeSystem(), options, further=users, nodes=nodes)
        async with (
            server.mounted(runtime) as connections,
            runtime.listening(connections, TcpEndpoint(port=0)) as addresses,
        ):
            await runtime.start_service("nodes", nodes.run)
            await runtime.start_service("control", partial(control.run, runtime))
            sys.stdout.write(json.dumps({"port": addresses[0][1]}) + "\n")
            sys.stdout.flush()
            await trio.sleep_forever()


if __name__ == "__main__":
    url, name, path = sys.argv[1:]
    trio.run(serve, url, name, path)
