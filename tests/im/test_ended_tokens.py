"""What becomes of the seats of users whose tokens end."""

import time
from pathlib import Path
from typing import Any

import pytest
import trio
from tests.im.identity.identified import ANN, STATIC, identified, jwt_options
from tests.im.identity.tokens import token
from tests.im.presence_reader import Reader
from tests.socketio.serving import until
from trio.testing import trio_test

from trio_socketio import Joining, JoiningState, Server, ServerOptions, Step
from trio_socketio.im.identity.options import IdentityOptions
from trio_socketio.im.presence import Presence
from trio_socketio.im.presence.options import PresenceOptions

LINGER_S = 60.0


def make_server(*, by_name: bool) -> tuple[Server, Presence]:
    """A server with seats in /chat, given by the configuration or by the app."""
    server = Server(ServerOptions(state_recovery=True))
    server.of("/chat")
    presence = Presence(server)
    if by_name:
        asks = IdentityOptions(tokens=STATIC).asks_in
        presence.seat_by_name(PresenceOptions(linger_s=LINGER_S), asks)
    else:
        presence.seat("/chat", linger_s=LINGER_S)
        presence.seat("/news")
    return server, presence


async def read_log(presence: Presence) -> list[tuple[str, str | None]]:
    reader = Reader(presence.store, "/chat")
    await reader.follow()
    return [(entry.type, entry.reason) for entry in reader.entries]


async def is_offline(presence: Presence) -> None:
    await until(lambda: presence.statistics().claims == 0)
    assert (await presence.store.count("/chat")).users == 0


@pytest.mark.req("PRES-86")
@trio_test
async def test_a_revoked_user_does_not_linger() -> None:
    server, presence = make_server(by_name=True)
    async with identified(server, tokens=STATIC) as here:
        here.service.use_seats(presence)
        async with here.client() as client:
            await client.connect("/chat", {"token": ANN})
            await client.engine.aclose()
            await until(lambda: presence.statistics().lingering == 1)
        assert await here.revoke(user="bob") == 0
        assert await here.revoke(token_id="t") == 0
        assert presence.statistics().lingering == 1
        assert await here.revoke(user="ann") == 1
        await is_offline(presence)
        assert presence.statistics().lingering == 0
        assert await read_log(presence) == [("online", None), ("offline", "revoked")]
        assert await here.revoke(user="ann") == 0


@pytest.mark.req("PRES-87")
@pytest.mark.parametrize("by_name", [True, False])
@pytest.mark.parametrize("reason", ["revoked", "expired"])
@trio_test
async def test_the_log_says_why_a_client_was_put_out(
    tmp_path: Path, reason: str, *, by_name: bool
) -> None:
    server, presence = make_server(by_name=by_name)
    reasons: list[str] = []
    server.of("/chat").on("disconnect")(lambda _, reason: reasons.append(reason))
    async with (
        identified(server, jwt=jwt_options(tmp_path, leeway_s=0.0), expiry_grace_s=0.0) as here,
        here.client() as client,
    ):
        here.service.use_seats(presence)
        exp = time.time() + (0.3 if reason == "expired" else 60.0)
        await client.connect("/chat", {"token": token(exp=exp)})
        if reason == "revoked":
            assert await here.revoke(user="ann") == 1
        await is_offline(presence)
        assert await read_log(presence) == [("online", None), ("offline", reason)]
        assert reasons == ["server namespace disconnect"]


@pytest.mark.req("PRES-87")
@trio_test
async def test_the_log_says_why_a_client_has_not_joined() -> None:
    server, presence = make_server(by_name=True)
    has_seat = trio.Event()

    async def wait(joining: Joining) -> Any:
        has_seat.set()
        await trio.sleep_forever()

    server.of("/chat").add_steps([Step(JoiningState.SEAT, wait)])
    async with identified(server, tokens=STATIC) as here, here.client() as client:
        here.service.use_seats(presence)
        await client.send(f'0/chat,{{"token":"{ANN}"}}')
        await has_seat.wait()
        await until(lambda: presence.statistics().users == {"/chat": 1})
        assert await here.revoke(user="ann") == 1
        await is_offline(presence)
        assert await read_log(presence) == [("online", None), ("offline", "revoked")]
