"""What tokens allow is asked at each call: of peers, of requests over HTTP, and of backends."""

from functools import partial
from pathlib import Path

import pytest
import trio
from tests.control.serving import SECRET, Controlled, controlled, peer, tcp_peer, write_token
from tests.control.test_http import call, over_http, post
from trio.testing import trio_test

from trio_socketio.codec.json_rpc import Code
from trio_socketio.control import ControlToken, TokenTable
from trio_socketio.control.options import BackendOptions, ForwardedEvents

TCP = "tcp:127.0.0.1:0"
FORWARD = BackendOptions(forward=(ForwardedEvents(),))


def token(folder: Path, *methods: str, name: str = "ops", secret: str = SECRET) -> ControlToken:
    return ControlToken(name=name, file=write_token(folder, name, secret), methods=methods)


async def events_go_nowhere(where: Controlled) -> None:
    async with where.client() as (client, _):
        await client.emit("secret", "payload")
        _, told = await client.receive_event()
        assert told["code"] == Code.UNAVAILABLE
    assert where.service.statistics().backends == 0


@pytest.mark.req("CONTROL-76")
@trio_test
async def test_a_backend_whose_token_is_narrowed_is_given_no_events(tmp_path: Path) -> None:
    wide, narrow = token(tmp_path, "*"), token(tmp_path, "system.*")
    async with (
        controlled(tmp_path, listen=(TCP,), backends=FORWARD, tokens=(wide,)) as where,
        tcp_peer(where) as raw,
    ):
        await raw.call("auth", token=SECRET)
        await raw.call("backend.register")
        assert where.service.statistics().backends == 1
        where.service.apply(TokenTable([narrow]))
        await events_go_nowhere(where)
        assert (await raw.call("system.info"))["pid"] == 1  # and nothing before it
        where.service.apply(TokenTable([wide]))
        async with where.client() as (client, _):
            await client.emit("again")
            assert (await raw.receive())["params"]["event"] == "again"


@pytest.mark.req("CONTROL-76")
@trio_test
async def test_a_backend_that_gives_a_lesser_token_is_given_no_events(tmp_path: Path) -> None:
    lesser = token(tmp_path, "system.*")
    async with (
        controlled(tmp_path, backends=FORWARD, tokens=(lesser,)) as where,
        peer(where) as raw,
    ):
        await raw.call("backend.register")
        await raw.call("auth", token=SECRET)
        await events_go_nowhere(where)
        assert (await raw.call("system.info"))["pid"] == 1


@pytest.mark.req("CONTROL-75")
@trio_test
async def test_a_batch_ends_with_its_token(tmp_path: Path) -> None:
    async with (
        controlled(tmp_path, tokens=(token(tmp_path, "*"),)) as where,
        where.client() as (client, _),
        peer(where) as raw,
    ):
        await raw.call("auth", token=SECRET)
        ask = partial(raw.request, "emit_with_ack", all=True)
        await raw.send([ask(event="first"), ask(event="second"), raw.request("system.info")])
        assert (await client.receive())[0] == '20["first"]'
        where.service.apply(TokenTable([token(tmp_path, "system.*")]))
        await client.send("30[]")
        first, second, info = await raw.receive()
        assert first["result"]["asked"] == 1
        assert second["error"]["code"] == Code.FORBIDDEN
        assert info["result"]["pid"] == 1


@pytest.mark.req("CONTROL-75")
@trio_test
async def test_a_batch_over_http_ends_with_its_token(tmp_path: Path) -> None:
    async with over_http(tmp_path) as (where, http), where.client() as (client, _):
        calls = [call("emit_with_ack", event="first", all=True), call("emit", event="e", all=True)]
        async with trio.open_nursery() as nursery:

            async def revoke() -> None:
                assert (await client.receive())[0] == '20["first"]'
                where.service.apply(TokenTable())
                await client.send("30[]")

            nursery.start_soon(revoke)
            response = await post(http, calls)
        first, second = response.json()
        assert first["result"]["asked"] == 1
        assert second["error"]["code"] == Code.UNAUTHORIZED
