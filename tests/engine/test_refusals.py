"""Requests that open nothing and reach nothing, and how each is answered.

The answers were taken from the reference's `verify`, `abortRequest` and `abortUpgrade`.
"""

from collections.abc import Sequence
from typing import Final

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.engine.harness import (
    MESSAGES,
    PATH,
    POLLING,
    UPGRADE_HEADERS,
    WEBSOCKET,
    Engine,
    assert_refused,
    assert_upgrade_refused,
    in_trio,
    open_engine,
    split,
)
from tests.properties import examples

TRANSPORT, SID, METHOD, BAD, FORBIDDEN, REVISION = range(6)

HTTP_REFUSALS: Final = [
    # a transport that is missing or unknown
    ("GET", "", TRANSPORT),
    ("GET", "EIO=4", TRANSPORT),
    ("GET", "EIO=4&transport=", TRANSPORT),
    ("GET", "EIO=4&transport=abc", TRANSPORT),
    ("GET", "EIO=4&transport=Polling", TRANSPORT),
    ("GET", "EIO=4&transport=webtransport", TRANSPORT),
    ("GET", "EIO=4&transport=constructor", TRANSPORT),
    ("GET", "EIO=4&transport=__proto__", TRANSPORT),
    ("GET", "EIO=4&transport=polling&transport=abc", TRANSPORT),
    ("POST", "EIO=4&transport=abc", TRANSPORT),
    # a sid that nobody has
    ("GET", "EIO=4&transport=polling&sid=abc", SID),
    ("POST", "EIO=4&transport=polling&sid=abc", SID),
    ("GET", "EIO=4&transport=websocket&sid=abc", SID),
    ("GET", "EIO=4&transport=polling&sid=__proto__", SID),
    ("GET", "EIO=4&transport=polling&sid=constructor", SID),
    ("GET", "EIO=4&transport=polling&sid=%00%ff%2e%2e/", SID),
    ("GET", "EIO=4&transport=polling&sid=" + "a" * 10_000, SID),
    # not a GET, and no sid
    ("POST", "EIO=4&transport=polling", METHOD),
    ("PUT", "EIO=4&transport=polling", METHOD),
    ("DELETE", "EIO=4&transport=polling", METHOD),
    ("PATCH", "EIO=4&transport=polling", METHOD),
    ("OPTIONS", "EIO=4&transport=polling", METHOD),
    ("POST", "EIO=4&transport=websocket", METHOD),
    ("POST", "EIO=4&transport=polling&sid=", METHOD),
    # WebSocket without an upgrade
    ("GET", "EIO=4&transport=websocket", BAD),
    # a revision that is not served
    ("GET", "transport=polling", REVISION),
    ("GET", "EIO=3&transport=polling", REVISION),
    ("GET", "EIO=5&transport=polling", REVISION),
    ("GET", "EIO=&transport=polling", REVISION),
    ("GET", "EIO=04&transport=polling", REVISION),
    ("GET", "EIO=4.0&transport=polling", REVISION),
    ("GET", "EIO=abc&transport=polling", REVISION),
    ("GET", "EIO=4&EIO=3&transport=polling", REVISION),
    ("GET", "eio=4&transport=polling", REVISION),
]

UPGRADE_REFUSALS: Final = [
    ("", TRANSPORT),
    ("EIO=4", TRANSPORT),
    ("EIO=4&transport=abc", TRANSPORT),
    ("EIO=4&transport=webtransport", TRANSPORT),
    ("EIO=4&transport=websocket&sid=abc", SID),
    ("EIO=4&transport=websocket&sid=__proto__", SID),
    ("EIO=4&transport=polling", BAD),
    ("transport=websocket", REVISION),
    ("EIO=3&transport=websocket", REVISION),
    ("EIO=abc&transport=websocket", REVISION),
]


@pytest.mark.req("EIO4-02", "EIO4-03", "EIO4-04", "EIO4-05", "EIO4-06", "EIO4-08", "EIO4-09")
@in_trio
async def test_refused_requests_are_answered_as_by_the_reference() -> None:
    async with open_engine() as engine:
        http = engine.http()
        for method, query, code in HTTP_REFUSALS:
            assert_refused(await http.request(method, f"{PATH}?{query}"), code)
        assert engine.listeners == []
        assert engine.engine.sessions == {}


@pytest.mark.req("EIO4-10", "EIO4-26")
@pytest.mark.parametrize(("query", "code"), UPGRADE_REFUSALS)
@in_trio
async def test_refused_upgrades_are_answered_as_by_the_reference(query: str, code: int) -> None:
    async with open_engine() as engine:
        stream = await engine.connect()
        head = [f"GET {PATH}?{query} HTTP/1.1", "Host: here"]
        head += [f"{name}: {value}" for name, value in UPGRADE_HEADERS]
        await stream.send_all("\r\n".join([*head, "", ""]).encode())
        answer = b""
        while part := bytes(await stream.receive_some()):  # and then it is closed
            answer += part
        assert answer.startswith(b"HTTP/1.1 400 Bad Request\r\n")
        response = await engine.request("GET", f"{PATH}?{query}", UPGRADE_HEADERS)
        assert_upgrade_refused(response, code)
        assert answer.endswith(b"\r\n\r\n" + response.body)
        assert engine.listeners == []


@pytest.mark.req("EIO4-10", "WSP-01")
@pytest.mark.parametrize(
    "headers",
    [
        [item for item in UPGRADE_HEADERS if item[0] != "Sec-WebSocket-Key"],
        [item for item in UPGRADE_HEADERS if item[0] != "Sec-WebSocket-Version"],
        [*UPGRADE_HEADERS[:3], ("Sec-WebSocket-Key", "c2hvcnQ=")],
        [*UPGRADE_HEADERS[:3], ("Sec-WebSocket-Key", "dGhlIHNhbXBsZSBub25jZQ")],
        [*UPGRADE_HEADERS[:3], ("Sec-WebSocket-Key", "")],
    ],
)
@in_trio
async def test_an_invalid_websocket_handshake_is_refused(headers: list[tuple[str, str]]) -> None:
    async with open_engine() as engine:
        assert_upgrade_refused(await engine.request("GET", WEBSOCKET, headers), BAD)
        assert engine.listeners == []


@pytest.mark.req("WSP-02")
@pytest.mark.parametrize("version", ["8", "0", "14", "13, 8", "013"])
@in_trio
async def test_another_version_of_websocket_is_told_ours(version: str) -> None:
    async with open_engine() as engine:
        named = (*UPGRADE_HEADERS[:2], ("Sec-WebSocket-Version", version), UPGRADE_HEADERS[3])
        answer = await answer_to(engine, [f"GET {WEBSOCKET} HTTP/1.1", "Host: here"], named)
        head, _, body = answer.partition(b"\r\n\r\n")
        assert head.startswith(b"HTTP/1.1 426 Upgrade Required\r\n")
        for line in (b"Sec-WebSocket-Version: 13", b"Upgrade: websocket"):
            assert line in head.split(b"\r\n")
        for option in (b"Upgrade", b"close"):
            assert b"Connection: " + option in head.split(b"\r\n")
        assert body == MESSAGES[BAD].encode()
        assert engine.listeners == []


@pytest.mark.req("WSP-03")
@pytest.mark.parametrize(
    ("header", "body"),
    [
        (("Content-Length", "5"), b"hello"),
        (("Content-Length", "5"), b""),
        (("Transfer-Encoding", "chunked"), b"0\r\n\r\n"),
    ],
)
@in_trio
async def test_a_websocket_handshake_with_a_body_is_refused(
    header: tuple[str, str], body: bytes
) -> None:
    async with open_engine() as engine:
        lines = [f"GET {WEBSOCKET} HTTP/1.1", "Host: here"]
        answer = await answer_to(engine, lines, (*UPGRADE_HEADERS, header), body)
        assert answer.startswith(b"HTTP/1.1 400 Bad Request\r\n")
        assert answer.endswith(b"\r\n\r\nBad request")
        assert engine.listeners == []


@pytest.mark.req("HTTP-09")
@in_trio
async def test_http_1_0_cannot_ask_for_an_upgrade() -> None:
    async with open_engine() as engine:
        lines = [f"GET {WEBSOCKET} HTTP/1.0", "Host: here"]
        answer = await answer_to(engine, lines, UPGRADE_HEADERS)
        assert answer.startswith(b"HTTP/1.1 400 Bad Request\r\n")
        assert answer.endswith(b'{"code":3,"message":"Bad request"}')
        assert engine.listeners == []


async def answer_to(
    engine: Engine, lines: list[str], headers: Sequence[tuple[str, str]], body: bytes = b""
) -> bytes:
    """Everything that comes back until the server closes."""
    stream = await engine.connect()
    lines = [*lines, *(f"{name}: {value}" for name, value in headers)]
    await stream.send_all("\r\n".join([*lines, "", ""]).encode() + body)
    answer = b""
    while part := bytes(await stream.receive_some()):
        answer += part
    return answer


async def code_of(engine: Engine, method: str, query: str, *, upgrade: bool = False) -> int:
    """How a request is refused."""
    headers = UPGRADE_HEADERS if upgrade else ()
    response = await engine.request(method, f"{PATH}?{query}", headers)
    if upgrade:
        messages = ["Transport unknown", "Session ID unknown", "Bad handshake method"]
        messages += ["Bad request", "Forbidden", "Unsupported protocol version"]
        return messages.index(response.text)
    code: int = response.json()["code"]
    assert_refused(response, code)
    return code


@pytest.mark.req("EIO4-11")
@in_trio
async def test_the_first_failing_check_decides() -> None:
    async with open_engine() as engine:
        sid = (await engine.polling()).handshake["sid"]
        # Each request fails a check and every later one that it can.
        assert await code_of(engine, "PUT", "EIO=3&transport=x&sid=none") == TRANSPORT
        assert await code_of(engine, "PUT", "EIO=3&transport=x") == TRANSPORT
        assert await code_of(engine, "PUT", "EIO=3&transport=websocket&sid=none") == SID
        assert await code_of(engine, "PUT", f"EIO=3&transport=websocket&sid={sid}") == BAD
        assert await code_of(engine, "PUT", "EIO=3&transport=websocket") == METHOD
        assert await code_of(engine, "GET", "EIO=3&transport=websocket") == BAD
        assert await code_of(engine, "GET", "EIO=3&transport=polling") == REVISION
        assert await code_of(engine, "GET", "EIO=3&transport=x&sid=no", upgrade=True) == TRANSPORT
        query = "EIO=3&transport=websocket"
        assert await code_of(engine, "GET", query + "&sid=none", upgrade=True) == SID
        assert await code_of(engine, "PUT", query, upgrade=True) == METHOD
        assert engine.session.is_open
        assert len(engine.listeners) == 1


@pytest.mark.req("EIO4-06")
@in_trio
async def test_a_request_must_name_its_sessions_transport() -> None:
    async with open_engine() as engine:
        polling = (await engine.polling()).handshake["sid"]
        websocket = (await engine.websocket()).handshake["sid"]
        for method in ("GET", "POST"):
            response = await engine.request(method, f"{WEBSOCKET}&sid={polling}")
            assert_refused(response, BAD)
            response = await engine.request(method, f"{POLLING}&sid={websocket}")
            assert_refused(response, BAD)
        response = await engine.request("GET", f"{POLLING}&sid={polling}", UPGRADE_HEADERS)
        assert_upgrade_refused(response, BAD)
        assert all(listener.session.is_open for listener in engine.listeners)


@pytest.mark.req("EIO4-12")
@pytest.mark.parametrize("eio", ["", "EIO=3&", "EIO=5&", "EIO=abc&"])
@in_trio
async def test_every_request_of_a_session_names_the_revision(eio: str) -> None:
    async with open_engine() as engine:
        polling = await engine.polling()
        sid = polling.handshake["sid"]
        target = f"{PATH}?{eio}transport=polling&sid={sid}"
        assert_refused(await engine.request("GET", target), REVISION)
        assert_refused(await engine.request("POST", target, body=b"4lost"), REVISION)
        target = f"{PATH}?{eio}transport=websocket&sid={sid}"
        assert_upgrade_refused(await engine.request("GET", target, UPGRADE_HEADERS), REVISION)
        await polling.send("4kept")
        assert split(await polling.poll()) == ["4kept"]
        assert engine.listener.received == ["kept"]


@pytest.mark.req("EIO4-25")
@pytest.mark.parametrize("method", ["PUT", "DELETE", "PATCH", "HEAD"])
@in_trio
async def test_another_method_does_not_disturb_a_session(method: str) -> None:
    async with open_engine() as engine:
        polling = await engine.polling()
        response = await engine.request(method, polling.target)
        if method == "HEAD":
            assert (response.status, response.body) == (400, b"")
        else:
            assert_refused(response, BAD)
        await polling.send("4on")
        assert split(await polling.poll()) == ["4on"]


@pytest.mark.req("EIO4-01")
@pytest.mark.parametrize("path", ["/", "/engine.io", "/other/", "/Engine.io/", "//engine.io/"])
@in_trio
async def test_elsewhere_there_is_nothing(path: str) -> None:
    async with open_engine() as engine:
        response = await engine.request("GET", f"{path}?EIO=4&transport=polling")
        assert response.status == 404
        upgrade = f"{path}?EIO=4&transport=websocket"
        assert (await engine.request("GET", upgrade, UPGRADE_HEADERS)).status == 404
        assert engine.listeners == []
        assert engine.server.statistics().sessions == 0


@pytest.mark.req("EIO4-01")
@in_trio
async def test_the_two_paths_of_a_server_do_not_know_each_others_sessions() -> None:
    async with open_engine() as engine:
        polling = await engine.polling()
        elsewhere = polling.target.replace(PATH, "/socket.io/")
        assert_refused(await engine.request("GET", elsewhere), SID)
        assert engine.session.is_open


@pytest.mark.parametrize(
    "query",
    [
        "transport=abc&EIO=3&transport=polling&EIO=4",  # the last one counts
        "%45IO=%34&transport=%70olling",
        "EIO=4&transport=polling&sid=",  # as if it were not there
        "&&EIO=4&=&transport=polling&x&y=%zz",
        "EIO=4&transport=polling&pad=" + "a" * 10_000,
    ],
)
@in_trio
async def test_odd_queries_that_say_enough_open_a_session(query: str) -> None:
    async with open_engine() as engine:
        response = await engine.request("GET", f"{PATH}?{query}")
        assert response.status == 200
        assert response.text.startswith("0{")
        assert len(engine.listeners) == 1


@in_trio
async def test_a_query_without_end_is_refused_and_nobody_else_notices() -> None:
    async with open_engine() as engine:
        polling = await engine.polling()
        stream = await engine.connect()
        await stream.send_all(f"GET {POLLING}&pad={'a' * 40_000}".encode())
        assert (await stream.receive_some()).startswith(b"HTTP/1.1 431 ")
        await polling.send("4on")
        assert split(await polling.poll()) == ["4on"]


@pytest.mark.parametrize(
    "headers",
    [
        [("Connection", "Upgrade"), ("Upgrade", "h2c")],
        [("Connection", "keep-alive"), ("Upgrade", "websocket")],
    ],
)
@in_trio
async def test_a_request_that_asks_for_no_websocket_is_an_ordinary_one(
    headers: list[tuple[str, str]],
) -> None:
    async with open_engine() as engine:
        assert split(await engine.request("GET", POLLING, headers))[0][0] == "0"
        assert_refused(await engine.request("GET", WEBSOCKET, headers), BAD)


QUERY: Final = st.text(st.characters(min_codepoint=0x21, max_codepoint=0x7E), max_size=60)
PIECES: Final = st.sampled_from(
    ["EIO=4", "EIO=3", "transport=polling", "transport=websocket", "sid=", "sid=x", "&", "%", "="]
)


@pytest.mark.req("EIO4-09")
@settings(max_examples=examples(20), deadline=None)
@given(st.lists(QUERY | st.lists(PIECES, max_size=8).map("&".join), max_size=20))
def test_any_query_is_answered_in_a_known_way(queries: list[str]) -> None:
    @in_trio
    async def ask() -> None:
        async with open_engine() as engine:
            http = engine.http()
            for query in queries:
                response = await http.request("GET", f"{PATH}?{query}")
                if response.status != 200:
                    assert_refused(response, response.json()["code"])
            opened = len(engine.listeners)
            assert opened == len(engine.engine.sessions) <= len(queries)

    ask()
