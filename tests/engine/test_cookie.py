"""The cookie of a session: what it looks like, when it is set, and what cannot be put into it."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.engine.harness import POLLING, UPGRADE_HEADERS, WEBSOCKET, in_trio, open_engine

from trio_socketio import ConfigurationError, Cookie, ResponseHeaders
from trio_socketio.engine.cookie import encode_cookie


@pytest.mark.req("EIO4-72")
@pytest.mark.parametrize(
    ("cookie", "text"),
    [
        (Cookie(), "io=S; Path=/; HttpOnly; SameSite=Lax"),
        (Cookie(name="sid", path=None, http_only=False, same_site=None), "sid=S"),
        (
            Cookie(
                domain="a.example", max_age_s=0, secure=True, same_site="none", partitioned=True
            ),
            "io=S; Max-Age=0; Domain=a.example; Path=/; HttpOnly; Secure; Partitioned"
            "; SameSite=None",
        ),
        (Cookie(same_site="strict", path="/x"), "io=S; Path=/x; HttpOnly; SameSite=Strict"),
    ],
)
def test_a_cookie_has_the_attributes_that_were_set(cookie: Cookie, text: str) -> None:
    assert encode_cookie(cookie, "S") == text


@pytest.mark.req("EIO4-72")
@in_trio
async def test_only_the_answer_that_opens_a_polling_session_sets_it() -> None:
    async with open_engine(cookie=Cookie()) as engine:
        opened = await engine.request("GET", POLLING)
        sid = engine.session.sid
        assert opened.headers["set-cookie"] == f"io={sid}; Path=/; HttpOnly; SameSite=Lax"
        target = f"{POLLING}&sid={sid}"
        posted = await engine.request("POST", target, body=b"4x")
        polled = await engine.request("GET", target)
        refused = await engine.request("GET", POLLING + "x")
        for response in (posted, polled, refused):
            assert "set-cookie" not in response.headers
        stream = await engine.connect()
        lines = [f"GET {WEBSOCKET} HTTP/1.1", "Host: x"]
        lines += [f"{name}: {value}" for name, value in UPGRADE_HEADERS]
        await stream.send_all("\r\n".join([*lines, "", ""]).encode())
        assert b"cookie" not in (await stream.receive_some()).lower()


@in_trio
async def test_by_default_there_is_none() -> None:
    async with open_engine() as engine:
        assert "set-cookie" not in (await engine.request("GET", POLLING)).headers


@pytest.mark.req("EIO4-71", "EIO4-72")
@pytest.mark.parametrize(
    "given",
    [
        {"name": ""},
        {"name": "a b"},
        {"name": "a=b"},
        {"name": "a\r\nX: y"},
        {"path": "/a; Domain=evil.example"},
        {"path": "/\r\nX: y"},
        {"path": ""},
        {"domain": "a.example\n"},
        {"same_site": "Lax; Secure"},
        {"same_site": "none"},
        {"partitioned": True},
        {"max_age_s": -1},
        {"max_age_s": 0.5},
        {"max_age_s": "1; Secure"},
    ],
)
def test_what_is_no_cookie_is_refused(given: dict[str, Any]) -> None:
    with pytest.raises(ConfigurationError):
        Cookie(**given)


@pytest.mark.req("EIO4-71")
@given(name=st.text(max_size=8), path=st.text(max_size=8), domain=st.text(max_size=8))
def test_no_cookie_breaks_out_of_its_header(name: str, path: str, domain: str) -> None:
    try:
        cookie = Cookie(name=name, path=path, domain=domain)
    except ConfigurationError:
        return
    text = encode_cookie(cookie, "S")
    assert text.count(";") == 4
    ResponseHeaders().add("Set-Cookie", text)  # raises if it is not a header
