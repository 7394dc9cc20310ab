"""Webhooks and backends: what they are asked, and that whatever goes wrong refuses the client."""

import hmac
import time
from hashlib import sha256
from math import inf
from pathlib import Path
from typing import Any

import pytest
import trio
from tests.http.answering import Asked, answer, answering
from tests.im.identity.tokens import attempt
from trio.testing import MockClock, trio_test

from trio_socketio.codec.json_rpc import Code
from trio_socketio.errors import ConfigurationError, ControlError
from trio_socketio.im.identity.backend_verifier import BackendVerifier
from trio_socketio.im.identity.identity import (
    EXPIRED,
    LATER,
    MALFORMED,
    REFUSED,
    TOO_LARGE,
    UNAVAILABLE,
    Identity,
    Reason,
    Refusal,
)
from trio_socketio.im.identity.options import WebhookOptions
from trio_socketio.im.identity.webhook import Webhook

SECRET = "a secret that signs what webhooks are asked"


@pytest.fixture
def autojump_clock() -> MockClock:
    return MockClock(autojump_threshold=0)


def webhook(folder: Path, url: str, deadline_s: float = 3.0, **options: Any) -> Webhook:
    path = folder / "secret"
    path.write_text(SECRET + "\n")
    return Webhook(WebhookOptions(url=url, secret_file=str(path), **options), deadline_s)


async def judge(hook: Webhook, token: str = "opaque", **changes: Any) -> Identity | Refusal:
    assert hook.verify_now(attempt(token)) is LATER
    return await hook.verify(attempt(token, **changes))


@pytest.mark.req("IDENT-25")
@trio_test
async def test_a_webhook_is_asked_with_a_signed_post(tmp_path: Path) -> None:
    async with answering(
        {"user": 7, "token_id": "t", "expires_at_s": 4e9, "claims": {"a": [1]}}
    ) as server:
        hook = webhook(tmp_path, server.url)
        found = await judge(hook, auth={"device": "phone"}, asked_at_s=123.0)
        assert found == Identity(
            user="7",
            token_id="t",
            issued_at_s=123.0,
            is_dated=False,
            expires_at_s=4e9,
            claims={"a": [1]},
        )
        asked = server.asked[0]
        assert asked.method == "POST"
        assert asked.json == {
            "namespace": "/chat",
            "token": "opaque",
            "auth": {"device": "phone"},
            "address": "203.0.113.9",
            "socket": "s" * 20,
        }
        fields = dict(one.split("=") for one in asked.headers["trio-socketio-signature"].split(","))
        signed = f"{fields['t']}.{fields['n']}.".encode() + asked.body
        assert fields["v1"] == hmac.new(SECRET.encode(), signed, sha256).hexdigest()
        assert abs(int(fields["t"]) - time.time()) < 10
        server.answers({"user": "ann"})
        found = await judge(hook, asked_at_s=5.0)
        assert isinstance(found, Identity)
        assert found == Identity(
            user="ann", token_id=found.token_id, issued_at_s=5.0, is_dated=False, expires_at_s=inf
        )
        again = await judge(hook), await judge(hook, "another")
        ids = {one.token_id for one in (found, *again) if isinstance(one, Identity)}
        assert len(ids) == 2, "each token has a name (IDENT-76)"
        assert sha256(b"opaque").hexdigest() not in str(ids)
        await hook.aclose()


def reason(found: Identity | Refusal) -> Reason:
    assert isinstance(found, Refusal)
    return found.reason


@pytest.mark.req("IDENT-24", "IDENT-64")
@pytest.mark.parametrize(
    ("response", "why"),
    [
        (answer("", 401), UNAVAILABLE),
        (answer({"user": "ann"}, 403), UNAVAILABLE),
        (answer({"error": "bad signature"}, 403), UNAVAILABLE),
        (answer({"refused": "banned"}, 401), REFUSED),
        (answer({"refused": "banned"}, 403), REFUSED),
        (answer({"refused": "banned"}), REFUSED),
        (answer({"refused": "banned", "user": "ann"}), REFUSED),
        (answer({"refused": ""}), REFUSED),
        (answer({"user": "ann", "expires_at_s": 1}), EXPIRED),
        (answer({"user": "ann"}, 404), UNAVAILABLE),
        (answer({"user": "ann"}, 500), UNAVAILABLE),
        (answer({"user": "ann"}, 201), UNAVAILABLE),
        (answer({"user": "ann"}, 302, "Location: /\r\n"), UNAVAILABLE),
        (answer({}), UNAVAILABLE),
        (answer(""), UNAVAILABLE),
        (answer("ok"), UNAVAILABLE),
        (answer("[]"), UNAVAILABLE),
        (answer('{"user": "ann"'), UNAVAILABLE),
        (answer({"user": ""}), UNAVAILABLE),
        (answer({"user": None}), UNAVAILABLE),
        (answer({"user": True}), UNAVAILABLE),
        (answer({"user": 1.5}), UNAVAILABLE),
        (answer({"user": "a\nb"}), UNAVAILABLE),
        (answer({"user": "x" * 257}), UNAVAILABLE),
        (answer({"user": "ann", "token_id": ""}), UNAVAILABLE),
        (answer({"user": "ann", "token_id": 7}), UNAVAILABLE),
        (answer({"user": "ann", "expires_at_s": "never"}), UNAVAILABLE),
        (answer('{"user": "ann", "expires_at_s": NaN}'), UNAVAILABLE),
        (answer({"user": "ann", "expires_at_s": 1.9e12}), UNAVAILABLE),
        (answer({"user": "ann", "issued_at_s": 1.7e12}), UNAVAILABLE),
        (answer({"user": "ann", "issued_at_s": -1e11}), UNAVAILABLE),
        (answer({"user": "ann", "issued_at_s": 9e10}), UNAVAILABLE),
        (answer('{"user": "ann", "claims": []}'), UNAVAILABLE),
        (answer('{"user": "ann", "claims": %s}' % ("[" * 5000)), UNAVAILABLE),
        (answer({"user": "ann", "x": "y" * 70_000}), UNAVAILABLE),
    ],
)
@trio_test
async def test_whatever_is_not_a_user_refuses_the_client(
    tmp_path: Path, response: bytes, why: Reason
) -> None:
    async def give(_: object) -> bytes:
        return response

    async with answering("") as server:
        server.answering = give
        hook = webhook(tmp_path, server.url)
        assert reason(await judge(hook)) is why
        await hook.aclose()


@pytest.mark.req("IDENT-80")
@pytest.mark.parametrize("status", [401, 403])
@trio_test
async def test_a_webhook_that_refuses_us_is_logged(
    status: int, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async def give(_: object) -> bytes:
        return answer("Unauthorized", status)

    async with answering("") as server:
        server.answering = give
        hook = webhook(tmp_path, server.url)
        for _ in range(100):
            assert reason(await judge(hook)) is UNAVAILABLE
        await hook.aclose()
    lines = [one.getMessage() for one in caplog.records if one.levelname == "WARNING"]
    assert 1 <= len(lines) < 20, "they are sampled"
    assert lines[0] == (
        f"the webhook {hook._outgoing.target}: it answered {status} without a reason in 'refused': "
        "perhaps it has another secret than secret_file of [identity] webhook"
    )


@trio_test
async def test_the_client_is_told_what_the_webhook_says(tmp_path: Path) -> None:
    async with answering({"refused": "banned\r\nuntil tomorrow" + "x" * 500}) as server:
        hook = webhook(tmp_path, server.url)
        found = await judge(hook)
        assert isinstance(found, Refusal)
        assert found.message.startswith("banneduntil tomorrowxx")
        assert len(found.message) <= 200
        await hook.aclose()


@pytest.mark.req("IDENT-26")
@trio_test
async def test_a_stuck_webhook_denies_within_3_s(
    tmp_path: Path, autojump_clock: MockClock, caplog: pytest.LogCaptureFixture
) -> None:
    async with answering() as server:
        hook = webhook(tmp_path, server.url)
        began = trio.current_time()
        assert await judge(hook) == Refusal(UNAVAILABLE)
        assert trio.current_time() - began <= 3.0
        await hook.aclose()
    assert "no answer within 3 s" in caplog.text
    assert "opaque" not in caplog.text


@pytest.mark.req("IDENT-20")
@trio_test
async def test_a_webhook_that_fails_again_and_again_is_not_asked(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async with answering("", 500) as server:
        hook = webhook(tmp_path, server.url, max_failures=3, open_s=0.2)
        for _ in range(20):
            assert await judge(hook) == Refusal(UNAVAILABLE)
        assert len(server.asked) == 3
        assert caplog.text.count("is not asked for 0.2 s, and clients are refused") == 1
        server.answers({"user": "ann"})
        await trio.sleep(0.25)
        assert isinstance(await judge(hook), Identity)
        server.answers({"refused": "no"}, 401)
        for _ in range(20):
            assert reason(await judge(hook)) is REFUSED, "a refusal is an answer"
        assert len(server.asked) == 24
        await hook.aclose()


@pytest.mark.req("IDENT-71")
@pytest.mark.parametrize(
    "response",
    [
        answer("", 413),
        answer("", 404),
        answer("nonsense"),
        answer("", 302, "Location: /login\r\n"),
        answer("x" * 70_000),
    ],
    ids=["413", "404", "no user", "redirect", "huge"],
)
@trio_test
async def test_an_answer_to_one_client_refuses_no_other(tmp_path: Path, response: bytes) -> None:
    async def give(asked: Asked) -> bytes:
        return response if asked.json["token"] == "stranger" else answer({"user": "ann"})

    async with answering("") as server:
        server.answering = give
        hook = webhook(tmp_path, server.url, max_failures=2)
        for _ in range(5):
            assert await judge(hook, "stranger") == Refusal(UNAVAILABLE)
        assert isinstance(await judge(hook), Identity)
        await hook.aclose()


@pytest.mark.req("IDENT-71")
@pytest.mark.parametrize("status", [429, 500, 503])
@trio_test
async def test_a_webhook_that_says_it_fails_is_not_asked(tmp_path: Path, status: int) -> None:
    async with answering("", status) as server:
        hook = webhook(tmp_path, server.url, max_failures=2)
        for _ in range(5):
            assert await judge(hook) == Refusal(UNAVAILABLE)
        assert len(server.asked) == 2
        await hook.aclose()


LARGE: list[dict[str, Any]] = [
    {"x": "y" * 8192},
    {"x": "ü" * 2800},
    {"x": b"y" * 8192},
    {"x": [1e15] * 400},
    {"x": [[]] * 5000},
    {"x": [[["y" * 3000] * 3] * 3]},
    {str(number): None for number in range(500)},
    {"y" * 8192: 1},
]


@pytest.mark.req("IDENT-70")
@pytest.mark.parametrize("auth", LARGE)
@trio_test
async def test_little_is_sent_along_with_a_token(tmp_path: Path, auth: dict[str, Any]) -> None:
    async with answering({"user": "ann"}) as server:
        hook = webhook(tmp_path, server.url)
        by, asked = backend(b'{"user": "ann"}')
        assert reason(await judge(hook, auth=auth)) is TOO_LARGE
        assert reason(await by.verify(attempt("t", auth=auth))) is TOO_LARGE
        assert not server.asked
        assert not asked
        usual = {"device": "x" * 4000, "sizes": [1, 2.5, None, True] * 20, "a": {"b": [{}] * 100}}
        assert isinstance(await judge(hook, auth=usual), Identity)
        assert isinstance(await by.verify(attempt("t", auth=usual)), Identity)
        await hook.aclose()


@pytest.mark.req("IDENT-22")
@trio_test
async def test_clients_that_leave_do_not_count_as_failures(tmp_path: Path) -> None:
    async with answering() as server:
        hook = webhook(tmp_path, server.url, max_failures=2, max_in_flight=1)
        for _ in range(5):
            with trio.move_on_after(0.02):
                await judge(hook)
        server.answers({"user": "ann"})
        assert isinstance(await judge(hook), Identity)
        await hook.aclose()


@trio_test
async def test_questions_are_bounded(tmp_path: Path) -> None:
    async with answering() as server, trio.open_nursery() as nursery:
        hook = webhook(tmp_path, server.url, max_in_flight=3)
        for _ in range(3):
            nursery.start_soon(judge, hook)
        while len(server.asked) < 3:  # noqa: ASYNC110 - on the other side of a socket
            await trio.sleep(0.01)
        with trio.fail_after(0.5):
            assert await judge(hook) == Refusal(UNAVAILABLE)
        assert len(server.asked) == 3
        nursery.cancel_scope.cancel()


@trio_test
async def test_what_is_no_json_is_not_sent(tmp_path: Path) -> None:
    hook = webhook(tmp_path, "http://127.0.0.1:1/")
    assert reason(await judge(hook, auth={"x": object()})) is MALFORMED


@pytest.mark.req("IDENT-62")
@pytest.mark.parametrize("content", [None, "short", "x" * 31 + "\n", "x" * 4097])
def test_a_secret_that_cannot_be_used(tmp_path: Path, content: str | None) -> None:
    path = tmp_path / "other"
    if content is not None:
        path.write_text(content)
    with pytest.raises(ConfigurationError) as caught:
        Webhook(WebhookOptions(url="https://a.example/", secret_file=str(path)), 3)
    assert str(path) in str(caught.value)


# -- backends


@pytest.mark.req("IDENT-64")
@trio_test
async def test_the_clock_of_a_backend_may_be_a_little_ahead() -> None:
    now = time.time()
    for ahead_s, good in ((4.0, True), (30.0, False)):
        by, _ = backend(b'{"user": "ann", "issued_at_s": %f}' % (now + ahead_s))
        found = await by.verify(attempt("t"))
        if good:
            assert isinstance(found, Identity)
            assert found.issued_at_s == pytest.approx(now + ahead_s, abs=1e-3)
            assert found.leeway_s == 5.0
        else:
            assert reason(found) is UNAVAILABLE


def backend(result: bytes | Exception) -> tuple[BackendVerifier, list[Any]]:
    asked: list[Any] = []

    async def ask(namespace: str, question: Any, timeout_s: float) -> bytes:
        asked.append((namespace, question, timeout_s))
        if isinstance(result, Exception):
            raise result
        return result

    verifier = BackendVerifier(3.0)
    verifier.ask = ask
    return verifier, asked


@trio_test
async def test_a_backend_is_asked_the_same() -> None:
    by, asked = backend(b'{"user": "ann"}')
    assert by.verify_now(attempt("t")) is LATER
    found = await by.verify(attempt("t", asked_at_s=9.0))
    assert isinstance(found, Identity)
    assert (found.user, found.issued_at_s, found.is_dated) == ("ann", 9.0, False)
    ((namespace, question, timeout_s),) = asked
    assert (namespace, question.token, timeout_s) == ("/chat", "t", 3.0)


@pytest.mark.req("IDENT-28")
@pytest.mark.parametrize(
    ("result", "why"),
    [
        (ControlError(Code.UNAUTHORIZED, "no"), REFUSED),
        (ControlError(Code.FORBIDDEN, "no"), REFUSED),
        (ControlError(Code.TIMEOUT, "late"), UNAVAILABLE),
        (ControlError(Code.UNAVAILABLE, "nobody"), UNAVAILABLE),
        (ControlError(Code.METHOD_NOT_FOUND, "what?"), UNAVAILABLE),
        (b"null", UNAVAILABLE),
        (b"{}", UNAVAILABLE),
        (b'{"refused": "no"}', REFUSED),
    ],
)
@trio_test
async def test_a_backend_that_fails_refuses_the_client(
    result: bytes | Exception, why: Reason
) -> None:
    by, _ = backend(result)
    assert reason(await by.verify(attempt("t"))) is why
