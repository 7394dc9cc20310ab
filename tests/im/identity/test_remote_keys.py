"""The keys of a JWKS URL: kept, fetched by one, and never more often than strangers may cause."""

import pytest
import trio
from tests.http.answering import answer, answering
from tests.im.identity.identified import identified
from tests.im.identity.tokens import attempt, key_set, other_key, public_jwk, token
from trio.testing import MockClock, trio_test

from trio_socketio.codec.json_web_signature import SignedToken, decode_compact
from trio_socketio.http.client import Response
from trio_socketio.http.outgoing import Outgoing, RequestFailed, parse_target
from trio_socketio.im.identity import jwt_verifier
from trio_socketio.im.identity.claims import ClaimRules
from trio_socketio.im.identity.identity import LATER, UNAVAILABLE, UNKNOWN_KEY, Identity, Refusal
from trio_socketio.im.identity.jwt_verifier import JwtVerifier
from trio_socketio.im.identity.key_cache import STALE_S, KeyCache
from trio_socketio.im.identity.keys import read_key_set
from trio_socketio.im.identity.options import JwtOptions
from trio_socketio.im.identity.remote_keys import UNKNOWN_KID_S, RemoteKeys

A, B = public_jwk("RS256", "a"), public_jwk("ES256", "b")


@pytest.fixture
def autojump_clock() -> MockClock:
    return MockClock(autojump_threshold=0)


class Fetched:
    """Answers fetches in memory, after a while."""

    def __init__(self, *keys: dict[str, object]) -> None:
        self.body = key_set(*keys)
        self.status = 200
        self.takes_s = 0.5
        self.fetches = 0
        self.fails = False

    async def request(self, method: str, *, timeout_s: float) -> Response:
        assert method == "GET"
        self.fetches += 1
        body, status = self.body, self.status
        with trio.move_on_after(timeout_s):
            await trio.sleep(self.takes_s)
            if self.fails:
                raise RequestFailed("Connection refused")
            return Response(status, [], body)
        raise RequestFailed(f"no answer within {timeout_s:g} s")


def names(keys: RemoteKeys) -> list[str | None]:
    return sorted((key.kid for key in keys.current()), key=str)


@trio_test
async def test_keys_are_fetched_and_kept(autojump_clock: MockClock) -> None:
    source = Fetched(A, B)
    keys = RemoteKeys(source, "https://a.example/", KeyCache(300), refresh_s=300)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(keys.run)
        await keys.wait_fetched()
        assert names(keys) == ["a", "b"]
        await trio.sleep(299)
        assert source.fetches == 1
        await trio.sleep(2)
        assert source.fetches == keys.fetches == 2
        assert keys.failures == 0
        nursery.cancel_scope.cancel()


@pytest.mark.req("IDENT-23")
@trio_test
async def test_many_who_ask_make_one_fetch(autojump_clock: MockClock) -> None:
    source = Fetched(A)
    keys = RemoteKeys(source, "https://a.example/", KeyCache(300))
    answers: list[bool] = []

    async def ask() -> None:
        await keys.ask_again()
        answers.append(keys.are_current)

    async with trio.open_nursery() as nursery:
        nursery.start_soon(keys.run)
        await keys.wait_fetched()
        await trio.sleep(60)
        async with trio.open_nursery() as asking:
            for _ in range(50):
                asking.start_soon(ask)
        assert answers == [True] * 50
        assert source.fetches == 2
        nursery.cancel_scope.cancel()


@pytest.mark.req("IDENT-17")
@trio_test
async def test_an_unknown_key_asks_again_at_most_once_in_30_s(autojump_clock: MockClock) -> None:
    source = Fetched(A)
    keys = RemoteKeys(source, "https://a.example/", KeyCache(300))
    by = JwtVerifier((), ClaimRules(), keys)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(keys.run)
        await keys.wait_fetched()
        assert by.verify_now(attempt(token("ES256", kid="x1"))) is LATER
        assert await by.verify(attempt(token("ES256", kid="x1"))) == Refusal(UNKNOWN_KEY)
        assert source.fetches == 2
        for number in range(100):  # each of a name of its own
            text = token("ES256", kid=f"y{number}")
            assert by.verify_now(attempt(text)) == Refusal(UNKNOWN_KEY)
        await trio.sleep(UNKNOWN_KID_S - 1)
        assert by.verify_now(attempt(token("ES256", kid="z"))) == Refusal(UNKNOWN_KEY)
        assert source.fetches == 2
        await trio.sleep(1)
        source.body = key_set(A, B)
        assert by.verify_now(attempt(token("ES256", kid="b"))) is LATER
        assert isinstance(await by.verify(attempt(token("ES256", kid="b"))), Identity)
        assert source.fetches == 3
        nursery.cancel_scope.cancel()


@pytest.mark.req("IDENT-45")
@trio_test
async def test_a_key_that_is_gone_is_taken_for_a_while(autojump_clock: MockClock) -> None:
    source = Fetched(A)
    keys = RemoteKeys(source, "https://a.example/", KeyCache(200), refresh_s=300)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(keys.run)
        await keys.wait_fetched()
        source.body = key_set(B)
        await trio.sleep(301)
        assert names(keys) == ["a", "b"]
        await trio.sleep(201)
        assert names(keys) == ["b"]
        source.body = key_set(A, B)
        await trio.sleep(301)
        source.body = key_set(B)
        await keys.ask_again()
        source.body = key_set(A, B)  # it comes back: it is not gone any more
        await trio.sleep(100)
        await keys.ask_again()
        await trio.sleep(250)
        assert names(keys) == ["a", "b"]
        nursery.cancel_scope.cancel()


@trio_test
async def test_keys_without_names_are_rotated_too(autojump_clock: MockClock) -> None:
    source = Fetched(public_jwk("RS256"))
    keys = RemoteKeys(source, "https://a.example/", KeyCache(200), refresh_s=50)
    by = JwtVerifier((), ClaimRules(), keys)
    old, new = token("RS256"), token("RS256", key=other_key("RS256"))
    async with trio.open_nursery() as nursery:
        nursery.start_soon(keys.run)
        await keys.wait_fetched()
        source.body = key_set(public_jwk("RS256", key=other_key("RS256")))
        assert by.verify_now(attempt(new)) is LATER
        assert isinstance(await by.verify(attempt(new)), Identity)
        for text in (old, new):
            assert isinstance(by.verify_now(attempt(text)), Identity)
        await trio.sleep(1000)
        assert len(keys.current()) <= 2
        nursery.cancel_scope.cancel()


@pytest.mark.req("IDENT-45")
def test_keys_that_are_still_there_are_not_gone() -> None:
    cache = KeyCache(300)
    first, second = (other_key(name) for name in ("RS256", "ES256"))
    document = key_set(public_jwk("RS256", key=first), public_jwk("ES256", key=second))
    for now in (0.0, 10.0, 20.0):
        assert cache.replace(read_key_set(document)[0], now) == 0
        assert len(cache.current(now)) == 2
    cache.replace(read_key_set(key_set(public_jwk("RS256")))[0], 30.0)
    assert len(cache.current(30.0)) == 3
    cache.replace(read_key_set(document)[0], 40.0)
    assert len(cache.current(40.0)) == 3, "two have come back, one is gone"
    assert len(cache.current(340.0)) == 2


@pytest.mark.req("IDENT-67")
@trio_test
async def test_while_keys_cannot_be_fetched_no_token_is_called_bad(
    autojump_clock: MockClock,
) -> None:
    source = Fetched(A)
    source.fails = True
    keys = RemoteKeys(source, "https://a.example/", KeyCache(300))
    by = JwtVerifier((), ClaimRules(), keys)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(keys.run)
        await keys.wait_fetched()
        for text in (attempt(token("RS256", kid="a")), attempt(token("RS256"))):
            assert by.verify_now(text) in (LATER, Refusal(UNAVAILABLE))
            assert await by.verify(text) == Refusal(UNAVAILABLE)
            assert by.verify_now(text) == Refusal(UNAVAILABLE)
        source.fails = False
        await trio.sleep(UNKNOWN_KID_S + 1)
        assert isinstance(by.verify_now(attempt(token("RS256", kid="a"))), Identity)
        nursery.cancel_scope.cancel()


@pytest.mark.req("IDENT-19")
@trio_test
async def test_keys_that_cannot_be_fetched_again_are_kept_for_a_day(
    autojump_clock: MockClock, caplog: pytest.LogCaptureFixture
) -> None:
    source = Fetched(A)
    keys = RemoteKeys(source, "https://a.example/", KeyCache(300), refresh_s=3600)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(keys.run)
        await keys.wait_fetched()
        source.fails = True
        await keys.ask_again()
        assert not keys.are_current
        await trio.sleep(STALE_S - 100)
        assert names(keys) == ["a"]
        assert keys.failures < 24 * 130, "it is tried every half minute, not more often"
        await trio.sleep(101)
        assert names(keys) == []
        source.fails = False
        await trio.sleep(UNKNOWN_KID_S + 1)
        assert names(keys) == ["a"]
        source.fails, failures = True, keys.failures
        await keys.ask_again()
        await trio.sleep(2.5)
        assert keys.failures - failures == 2, "it begins with short waits again"
        nursery.cancel_scope.cancel()
    assert "cannot fetch the keys of https://a.example/: Connection refused" in caplog.text
    assert "the last ones are kept" in caplog.text


@trio_test
async def test_a_source_that_hangs_lets_nobody_wait_longer(autojump_clock: MockClock) -> None:
    source = Fetched(A)
    source.takes_s = 1e9
    keys = RemoteKeys(source, "https://a.example/", KeyCache(300), timeout_s=3)
    by = JwtVerifier((), ClaimRules(), keys)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(keys.run)
        await trio.testing.wait_all_tasks_blocked()
        began = trio.current_time()
        assert by.verify_now(attempt(token("RS256", kid="a"))) is LATER
        assert await by.verify(attempt(token("RS256", kid="a"))) == Refusal(UNAVAILABLE)
        assert trio.current_time() - began <= 3
        nursery.cancel_scope.cancel()


@trio_test
async def test_a_token_that_has_to_wait_is_read_twice(monkeypatch: pytest.MonkeyPatch) -> None:
    read: list[str] = []

    def decode(text: str) -> SignedToken:
        read.append(text)
        return decode_compact(text)

    monkeypatch.setattr(jwt_verifier, "decode_compact", decode)
    async with (
        answering(key_set(A)) as server,
        identified(jwt=JwtOptions(jwks_url=server.url)) as here,
        here.client() as client,
    ):
        server.answers(key_set(A, B))
        await client.connect("/chat", {"token": token("ES256", kid="b")})
        assert len(read) == 2, "with the old keys, and with the new ones"


@pytest.mark.req("IDENT-67")
@trio_test
async def test_while_a_fetch_hangs_no_token_is_called_bad(autojump_clock: MockClock) -> None:
    class Hanging(Fetched):
        async def request(self, method: str, *, timeout_s: float) -> Response:
            if self.fetches:
                await trio.sleep_forever()
            return await super().request(method, timeout_s=timeout_s)

    keys = RemoteKeys(Hanging(A), "https://a.example/", KeyCache(300))
    by = JwtVerifier((), ClaimRules(), keys)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(keys.run)
        await keys.wait_fetched()
        assert keys.are_current
        assert await by.verify(attempt(token("ES256", kid="b"))) == Refusal(UNAVAILABLE)
        assert isinstance(by.verify_now(attempt(token("RS256", kid="a"))), Identity)
        nursery.cancel_scope.cancel()


@pytest.mark.parametrize(
    ("document", "why"),
    [
        (answer("", 302, "Location: http://127.0.0.1:1/\r\n"), "redirects are not followed"),
        (answer(b'{"keys": [' + b"1," * 40_000 + b"1]}"), "more than 65536 bytes"),
        (answer("<html>", 200), "not JSON"),
        (answer('{"keys": []}'), "no key that can be used"),
        (answer("{}", 500), "it answered 500"),
        (b"nonsense\r\n\r\n", "not HTTP"),
    ],
    ids=["redirect", "huge", "html", "empty", "500", "no HTTP"],
)
@pytest.mark.req("IDENT-18")
@trio_test
async def test_a_bad_document_changes_nothing(
    document: bytes, why: str, caplog: pytest.LogCaptureFixture
) -> None:
    async with answering(key_set(A)) as server, trio.open_nursery() as nursery:
        outgoing = Outgoing(parse_target(server.url))
        keys = RemoteKeys(outgoing, server.url, KeyCache(300))
        nursery.start_soon(keys.run)
        await keys.wait_fetched()

        async def give(_: object) -> bytes:
            return document

        server.answering = give
        await keys.ask_again()
        assert not keys.are_current
        assert keys.failures == 1
        assert names(keys) == ["a"]
        assert why in caplog.text
        await outgoing.aclose()
        nursery.cancel_scope.cancel()


@trio_test
async def test_keys_that_are_left_out_are_told(
    autojump_clock: MockClock, caplog: pytest.LogCaptureFixture
) -> None:
    source = Fetched(A, {"kty": "oct", "k": "c2VjcmV0"})
    keys = RemoteKeys(source, "https://a.example/", KeyCache(300))
    async with trio.open_nursery() as nursery:
        nursery.start_soon(keys.run)
        await keys.wait_fetched()
        for _ in range(3):
            await keys.ask_again()
        assert caplog.text.count("is left out") == 1, "it is told once"
        source.body = key_set({"kty": "oct", "k": "c2VjcmV0"}, A)
        await keys.ask_again()
        assert caplog.text.count("is left out") == 2, "something else is left out"
        nursery.cancel_scope.cancel()
    assert "key 1: it is a secret, and secrets are not read from a URL is left out" in caplog.text
    assert "c2VjcmV0" not in caplog.text
