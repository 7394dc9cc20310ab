"""The pages of the Admin UI on the admin port."""

from pathlib import Path
from typing import Any

import pytest
from tests.ops.operated import operated
from tests.wire import HttpClient, Response
from trio.testing import trio_test

from trio_socketio import ConfigurationError, Server
from trio_socketio.ops.admin_ui import page as page_module
from trio_socketio.ops.admin_ui.page import Page

FILES = {
    "index.html": "<!DOCTYPE html>",
    "favicon.png": "png",
    "js/app.js": "let x;",
    "js/app.js.map": "{}",
    "css/app.css": "a {}",
    "img/logo.svg": "<svg/>",
    "other/x.js": "no",
    ".hidden": "no",
}


def write(folder: Path) -> Path:
    """Write something like the UI."""
    for name, text in FILES.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text)
    return folder


@pytest.mark.req("AUI-25", "AUI-26")
@trio_test
async def test_the_pages_are_served_with_a_policy(tmp_path: Path) -> None:
    page = Page(write(tmp_path), outside_fonts=False)
    page.load()
    routes: dict[str, Any] = {
        path.removeprefix("/"): answer for path, answer in page.routes.items()
    }
    async with operated(Server(), **routes) as server:
        http = HttpClient(server.admin)

        async def get(path: str, method: str = "GET", **headers: Any) -> Response:
            return await http.request(method, f"/admin-ui{path}", headers=[*headers.items()])

        for path, kind in (
            ("/", "text/html; charset=utf-8"),
            ("/index.html", "text/html; charset=utf-8"),
            ("/js/app.js", "application/javascript; charset=utf-8"),
            ("/css/app.css", "text/css; charset=utf-8"),
            ("/img/logo.svg", "image/svg+xml"),
            ("/favicon.png", "image/png"),
        ):
            answer = await get(path)
            assert (answer.status, answer.headers["content-type"]) == (200, kind)
            assert answer.headers["x-content-type-options"] == "nosniff"
            policy = answer.headers["content-security-policy"]
            assert "script-src 'self';" in policy
            assert "frame-ancestors 'none'" in policy
            assert "googleapis" not in policy
            etag = answer.headers["etag"]
        assert (await get("/favicon.png", **{"If-None-Match": etag})).status == 304
        moved = await get("")
        assert (moved.status, moved.headers["location"]) == (308, "/admin-ui/")
        for path in ("/js/app.js.map", "/other/x.js", "/.hidden", "/../x", "/js", "/%2e%2e/x"):
            assert (await get(path)).status == 404
        assert (await get("/", "POST")).status == 405
        await http.aclose()


@pytest.mark.req("AUI-26")
def test_fonts_from_outside_have_to_be_asked_for() -> None:
    policy = page_module._policy(outside_fonts=True).decode()
    assert "style-src 'self' 'unsafe-inline' https://fonts.googleapis.com" in policy
    assert "font-src 'self' https://fonts.googleapis.com https://fonts.gstatic.com" in policy
    assert "script-src 'self';" in policy


@pytest.mark.req("AUI-25")
def test_a_folder_that_is_not_that_of_the_ui_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(ConfigurationError, match=r"holds no index.html: name the folder ui/dist"):
        Page(tmp_path, outside_fonts=False).load()
    with pytest.raises(ConfigurationError, match=r"holds no index.html"):
        Page(tmp_path / "missing", outside_fonts=False).load()
    folder = write(tmp_path)
    monkeypatch.setattr("trio_socketio.http.files.MAX_FILE_BYTES", 5)
    with pytest.raises(ConfigurationError, match=r"folder: .* is too large to be served"):
        Page(folder, outside_fonts=False).load()
    monkeypatch.setattr(page_module, "MAX_FILES", 2)
    monkeypatch.setattr("trio_socketio.http.files.MAX_FILE_BYTES", 500)
    with pytest.raises(ConfigurationError, match="more than 2 files"):
        Page(folder, outside_fonts=False).load()
