"""Keys and tokens that are read again while the server serves."""

import time
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import trio
import trustme
from tests.http.answering import answering
from tests.im.identity.identified import ANN, BOB, OK, STATIC, Identified, identified, jwt_options
from tests.im.identity.test_gate import refused
from tests.im.identity.tokens import key_set, other_key, public_jwk, token
from tests.socketio.serving import until
from trio.testing import trio_test

from trio_socketio import ConfigurationError, Server, ServerOptions
from trio_socketio.configuration.loading import Loaded, Sources
from trio_socketio.configuration.tables import Configuration
from trio_socketio.control.tokens import TokenTable
from trio_socketio.im.identity.options import (
    IdentityOptions,
    JwtOptions,
    NamespaceIdentity,
    StaticToken,
)
from trio_socketio.im.identity.verifiers import prepare
from trio_socketio.reloading import Held, Plan, plan, put_into


async def reload(here: Identified, **options: Any) -> Plan:
    """Plan a reload in a thread, as the program does, and apply it."""
    prepared = here.service._prepared
    own = ServerOptions(max_connections=100)  # which every limit of open files allows
    configuration = put_into(Configuration(identity=prepared.options), own)
    held = Held(configuration, own, {}, TokenTable(), prepared)
    loaded = Loaded(Configuration(identity=IdentityOptions(**options)), {})
    read = partial(plan, held, loaded, own, Sources(None, {}, {}, {}), runs_control=False)
    planned: Plan = await trio.to_thread.run_sync(read)
    assert planned.held.identity is not None
    here.service.apply(planned.held.identity)
    return planned


@pytest.mark.req("IDENT-43")
@trio_test
async def test_keys_and_tokens_change_and_clients_stay(tmp_path: Path) -> None:
    server = Server()
    server.of("/chat").on("ping")(lambda _: "pong")
    jwt = jwt_options(tmp_path)
    async with (
        identified(server, tokens=STATIC, jwt=jwt) as here,
        here.client() as client,
        here.client() as other,
    ):
        await client.connect("/chat", {"token": token()})
        assert not (await reload(here, tokens=STATIC, jwt=jwt)).changed
        (tmp_path / "secret").write_bytes(other_key("HS256"))
        tokens = (StaticToken(user="ann", token="another-token"), STATIC[1])
        planned = await reload(here, tokens=tokens, jwt=jwt)
        told = list(map(str, planned.changed))
        assert [line.partition(":")[0] for line in told] == ["[identity] tokens", "[identity] jwt"]
        assert told[1] == "[identity] jwt: its files have new contents"
        await client.emit("ping", namespace="/chat", ack_id=1)
        assert (await client.receive())[0] == '3/chat,1["pong"]'
        for old in (ANN, token()):
            await refused(other, {"token": old})
        await client.emit("auth", {"token": token(key=other_key("HS256"))}, namespace="/chat")
        assert await client.receive_event("/chat") == ["auth/reply", OK]
        await other.connect("/chat", {"token": "another-token"})
        await reload(here, tokens=tokens)  # no JWTs any more
        await refused(other, {"token": token(key=other_key("HS256"))}, "/")
        await other.connect("/", {"token": BOB})


@pytest.mark.req("IDENT-43")
@trio_test
async def test_a_reload_that_fails_changes_nothing(tmp_path: Path) -> None:
    jwt = jwt_options(tmp_path)
    namespaces = (NamespaceIdentity(name="/chat", methods=("jwt",)),)
    async with (
        identified(jwt=jwt, tokens=STATIC, namespaces=namespaces) as here,
        here.client() as client,
    ):
        (tmp_path / "secret").write_text("short")
        with pytest.raises(ConfigurationError, match="at least 32 bytes"):
            await reload(here, jwt=jwt, tokens=STATIC)
        with pytest.raises(ConfigurationError, match=r"names the method jwt.* needs a restart"):
            await reload(here, tokens=STATIC)
        jwt_options(tmp_path)  # writes the secret again
        await client.connect("/chat", {"token": token()})
        planned = await reload(here)  # turned off: that needs a restart, too
        assert not planned.changed
        needed = [change.option for change in planned.needs_restart]
        assert needed == ["[identity] tokens", "[identity] jwt", "[identity] namespaces"]
        await refused(client, {"token": ANN})


@pytest.mark.req("IDENT-65")
@trio_test
async def test_revocations_are_kept_by_the_new_leeway(tmp_path: Path) -> None:
    ahead_s, month_s = 0.0, 30 * 86_400
    async with (
        identified(
            jwt=jwt_options(tmp_path, leeway_s=0.0), clock=lambda: time.time() + ahead_s
        ) as here,
        here.client() as client,
    ):
        await reload(here, jwt=jwt_options(tmp_path, leeway_s=60.0))
        longest = token(jti="t", exp=int(time.time()) + month_s + 50)
        await here.service.revoke(token_id="t")
        ahead_s = month_s + 55.0
        error = await refused(client, {"token": longest})
        assert error["data"] == {"errcode": 3, "errmsg": "the token was revoked"}


@pytest.mark.req("IDENT-43")
@trio_test
async def test_another_jwks_url(tmp_path: Path) -> None:
    async with (
        answering(key_set(public_jwk("RS256", "a"))) as first,
        answering(key_set(public_jwk("ES256", "b"))) as second,
    ):
        old, new = (JwtOptions(jwks_url=one.url) for one in (first, second))
        async with identified(jwt=old) as here, here.client() as client:
            await client.connect("/chat", {"token": token("RS256", kid="a")})
            assert len(first.asked) == 1, "the keys were there before the first client"
            await reload(here, jwt=JwtOptions(jwks_url=first.url, leeway_s=9.0))
            await client.connect("/", {"token": token("RS256", kid="a")})
            assert len(first.asked) == 1, "its keys are kept"
            await reload(here, jwt=new)
            await client.connect("/chat", {"token": token("ES256", kid="b")})
            await refused(client, {"token": token("RS256", kid="a")}, "/")
            await until(lambda: first.open_now == 0)
            assert here.service.statistics().fetches == len(first.asked) + len(second.asked)


@pytest.mark.req("IDENT-43")
def test_other_certificates_to_trust(tmp_path: Path) -> None:
    trusted = tmp_path / "ca.pem"
    trustme.CA().cert_pem.write_to_path(str(trusted))
    jwt = JwtOptions(jwks_url="https://issuer.example/keys", ca_file=str(trusted))
    first = prepare(IdentityOptions(jwt=jwt))
    same = prepare(first.options, before=first)
    assert same.remote is first.remote, "its keys are kept"
    trustme.CA().cert_pem.write_to_path(str(trusted))
    other = prepare(first.options, before=same)
    assert other.remote is not first.remote
    assert other.digests != first.digests == same.digests


@trio_test
async def test_a_jwks_url_that_hangs_does_not_stop_the_start(tmp_path: Path) -> None:
    async with answering() as server:
        with trio.fail_after(5):
            async with (
                identified(
                    jwt=JwtOptions(jwks_url=server.url), tokens=STATIC, deadline_s=0.3
                ) as here,
                here.client() as client,
            ):
                began = trio.current_time()
                error = await refused(client, {"token": token("RS256", kid="a")})
                assert error["data"]["errcode"] == 1
                assert trio.current_time() - began < 2
                await client.connect("/chat", {"token": ANN})
                assert here.service.statistics().fetches_failed > 0
