"""auth.revoke on one of two processes that share a Redis."""

from pathlib import Path

import pytest
import trio
from trio.testing import trio_test

from tests.cli_process import ServingProcess, serving
from tests.im.identity.identified import ANN, BOB
from tests.interop.server_process import free_port
from tests.redis_server import RedisServer
from tests.test_cli_redis import ready
from tests.wire import open_client
from trio_socketio.control import Control, open_control

IDENTITY = f"""
[redis]
prefix = "revoking"

[identity]
tokens = [{{ user = "ann", token = "{ANN}" }}, {{ user = "bob", token = "{BOB}" }}]
"""


async def lets_in(node: ServingProcess, token: str) -> bool:
    """Whether a client gets in with a token; it leaves at once."""
    async with open_client(await node.wait_port()) as client:
        await client.send(f'0{{"token":"{token}"}}')
        return (await client.receive())[0].startswith("0")


async def wait_together(control: Control) -> None:
    with trio.fail_after(10):
        while len((await control.call("system.nodes"))["nodes"]) < 2:
            await trio.lowlevel.checkpoint()


@pytest.mark.req("IDENT-81", "IDENT-82", "IDENT-86")
@trio_test
async def test_a_user_stays_out_of_all_processes(shared_redis: RedisServer, tmp_path: Path) -> None:
    conf, socket, admin = tmp_path / "conf.toml", tmp_path / "run" / "c.sock", free_port()
    await trio.Path(conf).write_text(IDENTITY)
    common = ("--redis", shared_redis.tcp_url, "--config", str(conf))
    where = ("--control", f"unix:{socket}")
    admin_port = ("--admin", f"127.0.0.1:{admin}")
    async with serving(*common, "--node", "b", *admin_port, limit_s=40) as b:
        await ready(admin)
        async with serving(*common, "--node", "a", *where, limit_s=40) as a:
            await a.wait_port()
            async with (
                open_control(f"unix:{socket}") as control,
                open_client(await b.wait_port()) as client,
            ):
                await wait_together(control)
                await client.connect("/", {"token": ANN})
                found = await control.call("auth.revoke", {"user": "ann"})
                assert (found["done"], found["nodes"]) == (1, {"a": 0, "b": 1})
                assert await client.receive_event("/") == [
                    "logic/error",
                    {"errcode": 3, "errmsg": "the token was revoked"},
                ]
            for node in (a, b):
                assert not await lets_in(node, ANN)
                assert await lets_in(node, BOB)
            assert await a.end() == 0
        async with serving(*common, "--node", "a", *where, limit_s=40) as a:
            assert not await lets_in(a, ANN)
            async with open_control(f"unix:{socket}") as control:
                await wait_together(control)
                assert await control.call("auth.unrevoke", {"user": "ann"}) == {"done": True}
            for node in (a, b):
                assert await lets_in(node, ANN)
