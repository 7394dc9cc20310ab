"""Polling by scripts and forms, and pages that may not."""

import json
from typing import Final
from urllib.parse import quote_plus

import pytest
from tests.engine.harness import PATH, Engine, assert_refused, in_trio, open_engine
from tests.wire import HttpClient, Response

FOREIGN: Final = "https://elsewhere.example"
FRIEND: Final = "https://friend.example"
SCRIPT_3: Final = f"{PATH}?EIO=3&transport=polling&j=7"
SCRIPT_4: Final = f"{PATH}?EIO=4&transport=polling&j=7"
FORM: Final = ("Content-Type", "application/x-www-form-urlencoded")


def payload_of(response: Response) -> str:
    assert response.status == 200, response
    assert response.headers["content-type"] == "text/javascript; charset=UTF-8"
    assert response.headers["x-content-type-options"] == "nosniff"
    assert response.headers["cache-control"] == "no-store"
    script = response.text
    assert script.startswith('___eio[7]("')
    assert script.endswith('");')
    payload: str = json.loads(script[10:-2])
    return payload


async def open_session(engine: Engine, target: str) -> tuple[HttpClient, str]:
    http = engine.http()
    payload_of(await http.request("GET", target))
    return http, f"{target}&sid={engine.session.sid}"


@pytest.mark.req("EIO3-23", "EIO3-25", "EIO3-26")
@in_trio
async def test_a_session_on_scripts_and_forms() -> None:
    async with open_engine(allow_eio3=True) as engine:
        http, target = await open_session(engine, SCRIPT_3)
        for sent in ("hello", "a\nb\\nc", '"quotes" \u2028 </script>', "é€😀 + & %"):
            units = len(sent.encode("utf-16-le")) // 2 + 1
            escaped = f"{units}:4{sent}".replace("\\n", "\\\n").replace("\n", "\\n")
            body = b"d=" + quote_plus(escaped).encode()
            response = await http.request("POST", target, [FORM], body)
            assert (response.status, response.text) == (200, "ok")
            assert engine.listener.received.pop() == sent
            response = await http.request("GET", target)
            assert payload_of(response) == f"{units}:4{sent}"
            assert "\u2028" not in response.text
        await http.request("POST", target, [FORM], b"d=6%3Ab4AQID")
        assert engine.listener.received == [b"\1\2\3"]
        assert payload_of(await http.request("GET", target)) == "6:b4AQID"


@pytest.mark.req("EIO3-23")
@in_trio
async def test_revision_4_has_it_too() -> None:
    async with open_engine() as engine:
        http, target = await open_session(engine, SCRIPT_4)
        assert (await http.request("POST", target, [FORM], b"d=4a%1E4b")).text == "ok"
        assert payload_of(await http.request("GET", target)) == "4a\x1e4b"


@pytest.mark.req("EIO3-24")
@pytest.mark.parametrize("index", ["", "x", "1x", "-1", "1.5", "%D9%A3", "1](alert)(", "1" * 11])
@in_trio
async def test_an_index_is_a_number(index: str) -> None:
    async with open_engine(allow_eio3=True) as engine:
        for revision in (3, 4):
            target = f"{PATH}?EIO={revision}&transport=polling&j={index}"
            assert_refused(await engine.request("GET", target), 3)
        assert engine.engine.sessions == {}


@pytest.mark.req("EIO3-25")
@pytest.mark.parametrize("body", [b"", b"6:4hello", b"e=6:4hello", b"d=", b"d=9:4hello"])
@in_trio
async def test_a_broken_form_ends_the_session(body: bytes) -> None:
    async with open_engine(allow_eio3=True) as engine:
        http, target = await open_session(engine, SCRIPT_3)
        assert_refused(await http.request("POST", target, [FORM], body), 3)
        assert engine.listener.reasons == ["parse error"]


@in_trio
async def test_a_form_is_never_binary() -> None:
    async with open_engine(allow_eio3=True) as engine:
        http, target = await open_session(engine, SCRIPT_3)
        binary = [("Content-Type", "application/octet-stream")]
        assert_refused(await http.request("POST", target, binary, b"d=1:2"), 3)
        assert engine.listener.reasons == ["transport error"]


# --- pages elsewhere

STRANGERS: Final = [
    [("Referer", f"{FOREIGN}/page")],
    [("Referer", "http://[nonsense")],
    [("Referer", "about:blank")],
    [("Sec-Fetch-Site", "cross-site")],
    [("Sec-Fetch-Site", "same-site")],
    [("Sec-Fetch-Site", "cross-site"), ("Referer", f"{FOREIGN}/")],
    [("Cookie", "session=1")],
    [("Origin", FOREIGN), ("Sec-Fetch-Site", "same-origin")],
]


@pytest.mark.req("EIO3-27")
@pytest.mark.parametrize("headers", STRANGERS)
@pytest.mark.parametrize("target", [SCRIPT_3, SCRIPT_4])
@in_trio
async def test_a_page_elsewhere_reads_nothing(headers: list[tuple[str, str]], target: str) -> None:
    async with open_engine(allow_eio3=True, cors_origins=(FRIEND,)) as engine:
        assert_refused(await engine.request("GET", target, headers), 4)
        assert engine.engine.sessions == {}


@pytest.mark.req("EIO3-27")
@in_trio
async def test_nor_with_the_session_of_another() -> None:
    async with open_engine(allow_eio3=True) as engine:
        http, target = await open_session(engine, SCRIPT_3)
        for headers in STRANGERS:
            assert_refused(await engine.request("GET", target, headers), 4)
        assert engine.session.is_open
        await http.aclose()


@pytest.mark.req("EIO3-27")
@in_trio
async def test_own_pages_and_programs_and_friends_may() -> None:
    async with open_engine(allow_eio3=True, cors_origins=(FRIEND,)) as engine:
        own = f"http://127.0.0.1:{engine.port}"
        cookie = ("Cookie", "session=1")
        for headers in (
            [],
            [("Referer", f"{own}/page?x=1"), cookie],
            [("Sec-Fetch-Site", "same-origin"), cookie],
            [("Sec-Fetch-Site", "none"), cookie],
            [("Referer", f"{FRIEND}/page"), ("Sec-Fetch-Site", "cross-site"), cookie],
            [("Origin", own)],
        ):
            payload_of(await engine.request("GET", SCRIPT_3, headers))


@pytest.mark.req("EIO3-27")
@pytest.mark.parametrize("headers", STRANGERS)
@in_trio
async def test_any_page_may_where_any_origin_may(headers: list[tuple[str, str]]) -> None:
    async with open_engine(allow_eio3=True, cors_origins=("*",)) as engine:
        payload_of(await engine.request("GET", SCRIPT_3, headers))
