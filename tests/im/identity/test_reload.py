"""Keys and tokens that are read again while the server serves."""

import hmac
import re
import time
from functools import partial
from hashlib import sha256
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
from trio_socketio.codec.json_rpc import Code
from trio_socketio.configuration.loading import Loaded, Sources
from trio_socketio.configuration.tables import Configuration
from trio_socketio.configuration.text import visible_value
from trio_socketio.control.tokens import TokenTable
from trio_socketio.errors import ControlError
from trio_socketio.im.identity.options import (
    IdentityOptions,
    JwtKey,
    JwtOptions,
    NamespaceIdentity,
    StaticToken,
    WebhookOptions,
)
from trio_socketio.im.identity.verifiers import prepare
from trio_socketio.reloading import Held, Plan, plan, put_into

FIRST_SECRET, OTHER_SECRET = "one-secret-of-the-webhook" * 2, "another-of-the-webhook" * 2


async def reload(here: Identified, **options: Any) -> Plan:
    """Plan a reload in a thread, as the program does, and apply it."""
    prepared = here.service._prepared
    own = ServerOptions(max_connections=100)  # which every limit of open files allows
    configuration = put_into(Configuration(identity=prepared.options), own)
    held = Held(configuration, own, {}, TokenTable(), prepared)
    loaded = Loaded(Configuration(identity=IdentityOptions(**options)), {})
    sources = Sources(None, {}, {}, {})
    read = partial(plan, held, loaded, own, sources, runs_control=False, forwards=False)
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
        assert told == [
            "[identity] tokens: changed for ann",
            "[identity] jwt: its files have new contents",
        ]
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
async def test_the_users_whose_tokens_have_changed_are_told() -> None:
    many = tuple(StaticToken(user=f"u{n:02}", token=f"token-of-{n:02}") for n in range(12))
    async with identified(tokens=STATIC) as here:
        for tokens, told in (
            (STATIC[:1], "changed for bob"),
            (STATIC[:1] * 2, "changed for ann"),
            (
                (*many, STATIC[0]),
                f"changed for {', '.join(['ann', *(t.user for t in many[:9])])} and 3 more",
            ),
            ((STATIC[0], *many), "changed for nobody: their order is another"),
        ):
            (change,) = (await reload(here, tokens=tokens)).changed
            assert str(change) == f"[identity] tokens: {told}"


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
        await here.revoke(token_id="t")
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


def hook_options(folder: Path, url: str, **options: Any) -> WebhookOptions:
    path = folder / "hook-secret"
    if not path.exists():
        path.write_text(FIRST_SECRET)
    return WebhookOptions(url=url, secret_file=str(path), **options)


@pytest.mark.req("IDENT-43")
@pytest.mark.req("IDENT-20")
@trio_test
async def test_a_webhook_that_fails_is_still_not_asked_after_a_reload(tmp_path: Path) -> None:
    async with answering("", 500) as server:
        hook = hook_options(tmp_path, server.url, max_failures=2, open_s=60.0)
        async with identified(webhook=hook) as here, here.client() as client:
            for _ in range(3):
                await refused(client, {"token": "opaque"})
                await reload(here, webhook=hook)
            assert len(server.asked) == 2
            await reload(here, webhook=hook_options(tmp_path, server.url, open_s=1.0))
            await refused(client, {"token": "opaque"})
            assert len(server.asked) == 3, "one with other options has not failed yet"


@pytest.mark.req("IDENT-43")
@trio_test
async def test_the_secret_of_a_webhook_changes(tmp_path: Path) -> None:
    async with answering({"user": "ann"}) as server:
        hook = hook_options(tmp_path, server.url)
        async with identified(webhook=hook) as here, here.client() as client:
            await client.connect("/chat", {"token": "opaque"})
            assert not (await reload(here, webhook=hook)).changed
            await client.connect("/", {"token": "opaque"})
            assert server.connections == 1, "the connection is kept"
            (tmp_path / "hook-secret").write_text(OTHER_SECRET)
            planned = await reload(here, webhook=hook)
            told = list(map(str, planned.changed))
            assert told == ["[identity] webhook: its files have new contents"]
            await until(lambda: server.open_now == 0)
            await client.connect("/", {"token": "opaque"})
            for asked, secret in zip(
                server.asked, (FIRST_SECRET, FIRST_SECRET, OTHER_SECRET), strict=True
            ):
                parts = asked.headers["trio-socketio-signature"].split(",")
                fields = dict(part.split("=") for part in parts)
                signed = f"{fields['t']}.{fields['n']}.".encode() + asked.body
                assert fields["v1"] == hmac.new(secret.encode(), signed, sha256).hexdigest()
            assert server.open_now == 1
        await until(lambda: server.open_now == 0)


@pytest.mark.req("IDENT-43")
@trio_test
async def test_bounds_and_times_change(tmp_path: Path) -> None:
    jwt = jwt_options(tmp_path)
    async with (
        identified(jwt=jwt, tokens=STATIC, expiry_grace_s=60.0) as here,
        here.client() as client,
        here.client() as other,
    ):
        await reload(here, jwt=jwt, tokens=STATIC, expiry_grace_s=0.0, max_token_bytes=64)
        error = await refused(other, {"token": token()})
        assert error["message"] == "the token is too large"
        await reload(here, jwt=jwt, tokens=STATIC, expiry_grace_s=0.0)
        await client.connect("/chat", {"token": token(exp=time.time() + 0.2)})
        with trio.fail_after(5):
            assert (await client.receive_event("/chat"))[0] == "logic/error"


@pytest.mark.req("IDENT-43")
@trio_test
async def test_a_backend_is_asked_after_a_reload_as_before() -> None:
    async def ask(namespace: str, question: Any, timeout_s: float) -> bytes:
        return b'{"user": "ann"}'

    async with identified(backend=True, ask_backend=ask) as here, here.client() as client:
        await reload(here, backend=True, max_token_bytes=100)
        await client.connect("/chat", {"token": "opaque"})


@pytest.mark.req("IDENT-75")
def test_what_waits_for_the_restart_is_read_as_well(tmp_path: Path) -> None:
    missing = JwtOptions(keys=(JwtKey(file=str(tmp_path / "nowhere")),))
    own = ServerOptions(max_connections=100)
    configuration = put_into(Configuration(), own)
    held = Held(configuration, own, {}, TokenTable())
    loaded = Loaded(Configuration(identity=IdentityOptions(jwt=missing)), {})
    with pytest.raises(ConfigurationError, match="nowhere"):
        plan(held, loaded, own, Sources(None, {}, {}, {}), runs_control=False, forwards=False)


@pytest.mark.req("CFG-09")
@trio_test
async def test_the_query_of_a_url_is_not_shown(tmp_path: Path) -> None:
    hook = hook_options(tmp_path, "https://a.example/hook?key=canary")
    async with identified(webhook=hook, tokens=STATIC) as here:
        other = hook_options(tmp_path, "https://a.example/hook?key=canary2")
        planned = await reload(here, webhook=other, tokens=STATIC)
        (told,) = map(str, planned.changed)
        assert 'url = "https://a.example/hook?********"' in told
        assert "canary" not in told
        urls = JwtOptions(jwks_url="https://a.example/?canary"), JwtOptions(jwks_url=None)
        assert [visible_value(one, "jwks_url") for one in urls] == [
            "https://a.example/?********",
            None,
        ]


@pytest.mark.parametrize("asked", ["backend", "webhook"])
@trio_test
async def test_failures_that_were_only_counted_are_told_at_the_end(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, asked: str
) -> None:
    async def ask(namespace: str, question: Any, timeout_s: float) -> bytes:
        raise ControlError(Code.UNAVAILABLE, "nobody is there")

    async with answering("", 404) as server:
        options: dict[str, Any] = {"backend": True}
        if asked == "webhook":
            options = {"webhook": hook_options(tmp_path, server.url)}
        async with identified(ask_backend=ask, **options) as here:
            for _ in range(12):
                async with here.client() as client:
                    await refused(client, {"token": "opaque"})
            entry = here.service._lines._sampler.deadline_entry
            assert entry is not None, "it is told in time, too, if the server goes on"
    kind = {
        "backend": "clients that no backend has authenticated",
        "webhook": "questions that the webhook has not answered",
    }[asked]
    assert re.search(rf"{kind}: \d more in", caplog.text)
