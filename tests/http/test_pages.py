"""A page with its headers: what the browser is told to allow, and how the page is sent."""

import base64
import gzip
import hashlib
import re
from pathlib import Path
from typing import Any, Final

import pytest

from trio_socketio.http.pages import Page, describe_policy, read_page

ROOT: Final = Path(__file__).resolve().parents[2] / "src" / "trio_socketio"
PAGES: Final = [ROOT / "lobby" / "chat.html", ROOT / "ops" / "dashboard.html"]
TEXT: Final = '<!doctype html><html lang="en"><style>a{}</style><script>\nlet é;\n</script></html>'


class Asked:
    """A request that notes its answer."""

    def __init__(self, method: str = "GET", **headers: str) -> None:
        self.method = method
        self.headers = {name.replace("_", "-"): value for name, value in headers.items()}
        self.status = 0
        self.answered: dict[str, str] = {}
        self.body = b""

    def respond(self, status: int, headers: Any = (), body: bytes = b"") -> None:
        self.status, self.body = status, body
        self.answered = {name.decode().lower(): value.decode() for name, value in headers}


def ask(page: Page, method: str = "GET", **headers: str) -> Asked:
    asked: Any = Asked(method, **headers)
    page.receive_request(asked)
    return asked  # type: ignore[no-any-return]  # it stands for a request until here


@pytest.fixture
def page(tmp_path: Path) -> Page:
    file = tmp_path / "page.html"
    file.write_text(TEXT, encoding="utf-8")
    return Page(file, {"path": '/a"b/<'})


def digest(content: str) -> str:
    return base64.b64encode(hashlib.sha256(content.encode()).digest()).decode()


@pytest.mark.req("PAGE-02")
def test_the_policy_allows_what_is_in_the_page_and_nothing_else() -> None:
    policy = dict(one.partition(" ")[::2] for one in describe_policy(TEXT).split("; "))
    assert policy == {
        "default-src": "'none'",
        "script-src": f"'sha256-{digest(chr(10) + 'let é;' + chr(10))}'",
        "style-src": f"'sha256-{digest('a{}')}'",
        "connect-src": "'self'",
        "img-src": "data:",
        "base-uri": "'none'",
        "form-action": "'none'",
        "frame-ancestors": "'none'",
        "require-trusted-types-for": "'script'",
        "trusted-types": "'none'",
    }


@pytest.mark.req("PAGE-03")
def test_a_page_is_sent_with_headers_that_keep_it_safe(page: Page) -> None:
    asked = ask(page)
    assert asked.status == 200
    assert b'<html data-path="/a&quot;b/&lt;" lang="en">' in asked.body
    assert asked.answered["content-type"] == "text/html; charset=utf-8"
    assert asked.answered["content-security-policy"] == describe_policy(TEXT)
    assert asked.answered["x-content-type-options"] == "nosniff"
    assert asked.answered["referrer-policy"] == "no-referrer"
    assert asked.answered["x-frame-options"] == "DENY"
    assert "content-encoding" not in asked.answered
    assert "set-cookie" not in asked.answered


@pytest.mark.req("PAGE-03")
def test_a_page_is_compressed_and_sent_once(page: Page) -> None:
    plain, packed = ask(page), ask(page, accept_encoding="gzip")
    assert packed.answered["content-encoding"] == "gzip"
    assert gzip.decompress(packed.body) == plain.body
    known = ask(page, if_none_match=plain.answered["etag"])
    assert (known.status, known.body) == (304, b"")
    assert ask(page, if_none_match='W/"other"').status == 200


@pytest.mark.req("PAGE-01")
def test_a_page_is_for_get_and_head(page: Page) -> None:
    assert ask(page, "HEAD").status == 200
    for method in ("POST", "PUT", "DELETE", "OPTIONS"):
        refused = ask(page, method)
        assert (refused.status, refused.answered["allow"]) == (405, "GET, HEAD")


@pytest.mark.req("PAGE-02", "PAGE-05")
@pytest.mark.parametrize("file", PAGES, ids=lambda file: file.name)
def test_our_pages_need_no_exception_from_the_policy(file: Path) -> None:
    text = read_page(file)
    markup = re.sub(r"<(script|style)>.*?</\1>", "", text, flags=re.DOTALL)
    assert "<script" not in markup
    assert "<style" not in markup
    assert not re.search(r"<[^>]*\s(style|on[a-z]+)=", markup), "an inline style or handler"
    assert not re.search(r"""(src|href|action)=["'](?!#|data:|["'])""", markup), "something foreign"
    sinks = r"innerHTML|outerHTML|insertAdjacentHTML|document\.write|\beval\(|new Function|srcdoc"
    assert not re.search(sinks, text)
    assert re.findall(r"https?://[^\s'\"`<]*", text.replace("http://www.w3.org/2000/svg", "")) == []


@pytest.mark.req("PAGE-08")
@pytest.mark.parametrize("file", PAGES, ids=lambda file: file.name)
def test_our_pages_look_alike(file: Path) -> None:
    """What both look like and can do is written down once, and put into each."""
    text, own = read_page(file), file.read_text(encoding="utf-8")
    for name in ("page.css", "page.js"):
        shared = (ROOT / "http" / name).read_text(encoding="utf-8")
        assert text.count(shared) == 1
        assert shared not in own
        assert name not in text
