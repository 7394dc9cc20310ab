"""Errors of every kind, as a page of an allowed origin gets them; and what is not repeated."""

from typing import Any, Final

import pytest
from tests.engine.harness import PATH, POLLING, Engine, in_trio, open_engine
from tests.engine.test_origins import cors_of

FRIEND: Final = "https://friend.example"
FOREIGN: Final = "https://elsewhere.example"
LIMIT: Final = 100

ERRORS: Final[dict[str, tuple[int, bytes]]] = {
    "400 of Engine.IO": (400, b"GET /engine.io/?EIO=4&transport=x HTTP/1.1\r\n\r\n"),
    "400 of HTTP": (400, b"GET /engine.io/ HTTP/1.1\r\nX: \x01\r\n\r\n"),
    "404": (404, b"GET /nowhere HTTP/1.1\r\n\r\n"),
    "404 of the client": (404, b"GET /socket.io/socket.io.js HTTP/1.1\r\n\r\n"),
    "405": (405, b"CONNECT a:1 HTTP/1.1\r\n\r\n"),
    "405 of the client": (405, b"POST /socket.io/socket.io.js HTTP/1.1\r\n\r\n"),
    "413": (413, b"POST {polling} HTTP/1.1\r\nContent-Length: 101\r\n\r\n"),
    "413 of chunks": (
        413,
        b"POST {polling} HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n65\r\n" + b"x" * 101,
    ),
    "431": (431, b"GET /engine.io/ HTTP/1.1\r\nX: " + b"y" * 20_000 + b"\r\n\r\n"),
    "501": (501, b"POST {polling} HTTP/1.1\r\nTransfer-Encoding: gzip\r\n\r\n"),
    "505": (505, b"GET / HTTP/3.0\r\n\r\n"),
}


async def ask(engine: Engine, request: bytes, origin: str) -> tuple[int, dict[str, str], bytes]:
    """The first answer to a request of a page."""
    line, _, rest = request.partition(b"\r\n")
    head = b"%b\r\nHost: here\r\nOrigin: %b\r\n%b" % (line, origin.encode(), rest)
    stream = await engine.connect()
    await stream.send_all(head)
    answer = bytes(await stream.receive_some())
    lines, _, body = answer.partition(b"\r\n\r\n")
    pairs = [line.decode("latin-1").lower().partition(": ") for line in lines.split(b"\r\n")[1:]]
    headers = {name: value for name, _, value in pairs}
    return int(answer[9:12]), headers, body


@pytest.mark.req("HTTP-25")
@pytest.mark.parametrize("name", ERRORS)
@pytest.mark.parametrize(
    ("options", "named"),
    [
        (
            {"cors_origins": FRIEND, "cors_credentials": True},
            {
                "access-control-allow-origin": FRIEND,
                "access-control-allow-credentials": "true",
                "vary": "origin",
            },
        ),
        ({"cors_origins": "*"}, {"access-control-allow-origin": "*"}),
        ({}, {}),
    ],
)
@in_trio
async def test_an_allowed_page_can_read_every_error(
    options: dict[str, Any], named: dict[str, str], name: str
) -> None:
    status, request = ERRORS[name]
    async with open_engine(max_http_buffer_size_bytes=LIMIT, **options) as engine:
        polling = await engine.polling()
        request = request.replace(b"{polling}", polling.target.encode())
        got, headers, _ = await ask(engine, request, FRIEND if options else "http://here")
        assert got == status
        told = {k: v for k, v in headers.items() if k == "vary" or k.startswith("access-control-")}
        assert told == named


@pytest.mark.req("HTTP-25")
@pytest.mark.parametrize("name", [name for name in ERRORS if name[:3] in ("431", "404", "505")])
@in_trio
async def test_a_page_that_is_not_allowed_is_told_nothing(name: str) -> None:
    async with open_engine(cors_origins=FRIEND) as engine:
        status, headers, _ = await ask(engine, ERRORS[name][1], FOREIGN)
        assert status == ERRORS[name][0]
        assert "access-control-allow-origin" not in headers
        assert headers["vary"] == "origin"


@pytest.mark.req("HTTP-25")
@pytest.mark.parametrize(("origins", "told"), [("*", True), (FRIEND, False)])
@in_trio
async def test_one_connection_too_many_is_told_what_is_known_without_its_head(
    origins: str, told: bool
) -> None:
    async with open_engine(cors_origins=origins, max_connections=1) as engine:
        await engine.connect()
        stream = await engine.connect()
        answer = bytes(await stream.receive_some())
        assert answer.startswith(b"HTTP/1.1 503 ")
        assert (b"\r\nAccess-Control-Allow-Origin: *\r\n" in answer) is told


@pytest.mark.req("EIO4-80")
@pytest.mark.parametrize("name", ["413", "413 of chunks"])
@in_trio
async def test_413_has_no_body_as_in_the_reference(name: str) -> None:
    async with open_engine(max_http_buffer_size_bytes=LIMIT) as engine:
        polling = await engine.polling()
        request = ERRORS[name][1].replace(b"{polling}", polling.target.encode())
        status, headers, body = await ask(engine, request, "http://here")
        assert (status, body, headers["content-length"]) == (413, b"", "0")
        assert "content-type" not in headers
        assert engine.session.is_open


@pytest.mark.req("HTTP-24")
@pytest.mark.parametrize("origin", ["http://a\x85b", "http://a\tb", "http://a b", "http://é.b"])
@in_trio
async def test_an_origin_that_no_browser_writes_is_not_repeated(origin: str) -> None:
    async with open_engine(cors_origins=lambda _: True) as engine:
        response = await engine.request(
            "GET",
            POLLING,
            [("Origin", origin.encode("latin-1"))],
        )
        assert response.status == 403
        assert "access-control-allow-origin" not in response.headers


@pytest.mark.req("HTTP-24")
@pytest.mark.parametrize("asked", ["x a", 'x"', "x:y", "x, \xe9", "x;y", "a\tb"])
@in_trio
async def test_what_names_no_headers_is_not_repeated_to_a_preflight(asked: str) -> None:
    async with open_engine(cors_origins=FRIEND) as engine:
        response = await engine.request(
            "OPTIONS",
            POLLING,
            [
                ("Origin", FRIEND),
                ("Access-Control-Request-Headers", asked.encode("latin-1")),
            ],
        )
        assert response.status == 204
        assert "access-control-allow-headers" not in response.headers
        assert cors_of(response)["access-control-allow-origin"] == FRIEND


@pytest.mark.req("HTTP-24")
@pytest.mark.parametrize("name", ["sid", "j", "transport", "EIO", "b64", "t"])
@in_trio
async def test_a_query_is_not_repeated(name: str) -> None:
    mark = "Zq7%22%3Cscript%3E"
    async with open_engine(cors_origins="*") as engine:
        for target in (f"{PATH}?{name}={mark}", f"{POLLING}&{name}={mark}", f"/{mark}"):
            response = await engine.request("GET", target, [("User-Agent", mark)])
            assert "Zq7" not in response.text
            assert "Zq7" not in str(response.headers)
