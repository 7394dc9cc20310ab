"""The browser's client: its files, their caching and compression, and what is said without them."""

import gzip
import logging
import zlib
from pathlib import Path

import pytest
from tests.engine.harness import Engine, in_trio, open_engine, settle
from tests.wire import Response

from trio_socketio.errors import ConfigurationError
from trio_socketio.http import files
from trio_socketio.http.files import load_bundle
from trio_socketio.socketio.client_files import FILES, FOLDERS, find_client

SCRIPT = b"var io = 'hello'; " * 500
GZIP = ("Accept-Encoding", "gzip, deflate, br")


@pytest.fixture
def dist(tmp_path: Path) -> Path:
    for name in FILES:
        (tmp_path / name).write_bytes(SCRIPT + name.encode())
    (tmp_path / "secret.js").write_bytes(b"secret")
    return tmp_path


def decode(response: Response) -> bytes:
    coding = response.headers.get("content-encoding")
    if coding == "gzip":
        return gzip.decompress(response.body)
    return zlib.decompress(response.body) if coding == "deflate" else response.body


async def get(
    engine: Engine, name: str, *headers: tuple[str, str], method: str = "GET"
) -> Response:
    return await engine.request(method, f"/socket.io/{name}", headers)


@pytest.mark.req("SIO5-70")
@pytest.mark.parametrize("name", FILES)
@in_trio
async def test_each_file_is_served_as_the_reference_does(name: str, dist: Path) -> None:
    async with open_engine(client_dist=dist) as engine:
        for accepted, coding in (
            ("", None),
            ("gzip, deflate, br", "gzip"),
            ("deflate", "deflate"),
            ("br", None),
        ):
            response = await get(engine, name, ("Accept-Encoding", accepted))
            assert response.status == 200
            assert response.headers.get("content-encoding") == coding
            assert decode(response) == SCRIPT + name.encode()
            kind = "json" if name.endswith(".map") else "javascript"
            assert response.headers["content-type"] == f"application/{kind}; charset=utf-8"
            assert response.headers["cache-control"] == "public, max-age=0"
            assert response.headers["vary"] == "Accept-Encoding"
        versioned = await get(engine, name + "?v=1")
        assert versioned.body == SCRIPT + name.encode()


@pytest.mark.req("SIO5-71")
@in_trio
async def test_a_client_that_has_the_file_is_not_sent_it_again(dist: Path) -> None:
    async with open_engine(client_dist=dist) as engine:
        etag = (await get(engine, FILES[0])).headers["etag"]
        assert etag.startswith('W/"')
        assert (await get(engine, FILES[1])).headers["etag"] != etag
        for known in (etag, etag.removeprefix("W/"), f'"x", {etag}', "*"):
            http = engine.http()
            response = await http.request(
                "GET", f"/socket.io/{FILES[0]}", [("If-None-Match", known)]
            )
            assert (response.status, response.body) == (304, b"")
            assert response.headers["etag"] == etag
            assert "content-length" not in response.headers
            again = await http.request("GET", f"/socket.io/{FILES[0]}")  # on the same connection
            assert again.status == 200
        for unknown in ('"x"', "", etag[:-2] + '"'):
            assert (await get(engine, FILES[0], ("If-None-Match", unknown))).status == 200
        strange = ("If-None-Match", etag), ("Connection", "close")  # read by h11
        closed = await get(engine, FILES[0], *strange)
        assert (closed.status, "content-length" in closed.headers) == (304, False)


@pytest.mark.req("SIO5-72")
@in_trio
async def test_nothing_else_of_the_folder_is_served(dist: Path) -> None:
    async with open_engine(client_dist=dist) as engine:
        for name in ("secret.js", "../secret.js", "%2e%2e/secret.js", "socket.io.js/", ""):
            response = await get(engine, name)
            assert response.status in (400, 404)
            assert b"secret" not in response.body
        posted = await get(engine, FILES[0], method="POST")
        assert (posted.status, posted.headers["allow"]) == (405, "GET, HEAD")
        head = await get(engine, FILES[0], method="HEAD")
        assert (head.status, head.body) == (200, b"")
        assert head.headers["content-length"] == str(len(SCRIPT) + len(FILES[0]))


@pytest.mark.req("SIO5-72")
@in_trio
async def test_off_and_not_installed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.chdir(tmp_path)
    with caplog.at_level(logging.INFO):
        async with open_engine() as engine:
            missing = await get(engine, FILES[0])
            assert missing.status == 404
            assert b"not installed" in missing.body
    (line,) = [record.message for record in caplog.records if "socket.io.js" in record.message]
    assert "npm install socket.io-client" in line
    caplog.clear()
    async with open_engine(serve_client=False) as engine:
        assert (await get(engine, FILES[0])).json() == {"code": 0, "message": "Transport unknown"}
    assert caplog.records == []


@in_trio
async def test_a_file_is_read_once_however_many_ask(
    dist: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    read: list[str] = []

    def load(file: Path) -> files.Bundle:
        read.append(file.name)
        return load_bundle(file)

    monkeypatch.setattr(files, "load_bundle", load)
    async with open_engine(client_dist=dist) as engine:
        clients = [engine.http() for _ in range(5)]
        for http in clients:
            await http.send("GET", f"/socket.io/{FILES[0]}", [GZIP])
        for http in clients:
            assert gzip.decompress((await http.receive()).body) == SCRIPT + FILES[0].encode()
        await settle()
        assert (await get(engine, FILES[0])).status == 200
        assert read == [FILES[0]]


@in_trio
async def test_a_file_that_is_missing_or_too_large_is_not_found(
    dist: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    (dist / FILES[0]).unlink()
    monkeypatch.setattr(files, "MAX_FILE_BYTES", len(SCRIPT) + len(FILES[1]) - 1)
    async with open_engine(client_dist=dist) as engine:
        with caplog.at_level(logging.CRITICAL):
            assert (await get(engine, FILES[0])).status == 404
            assert (await get(engine, FILES[1])).status == 404
        (dist / FILES[0]).write_bytes(b"there")
        assert (await get(engine, FILES[0])).body == b"there"


@in_trio
async def test_whoever_waits_for_a_file_is_answered_whatever_fails(
    dist: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def load(file: Path) -> files.Bundle:
        raise MemoryError(f"{file.name} is too much")

    monkeypatch.setattr(files, "load_bundle", load)
    async with open_engine(client_dist=dist) as engine:
        for _ in range(3):
            assert (await get(engine, FILES[0])).status == 404
    assert caplog.text.count("is too much") == 1  # clients cannot fill the log
    caplog.clear()


@in_trio
async def test_pages_of_other_origins_may_load_it_and_read_it_if_allowed(dist: Path) -> None:
    origin = ("Origin", "https://friend.example")
    async with open_engine(client_dist=dist) as engine:
        response = await get(engine, FILES[0], origin)
        assert (response.status, "access-control-allow-origin" in response.headers) == (200, False)
    async with open_engine(client_dist=dist, cors_origins=origin[1]) as engine:
        response = await get(engine, FILES[0], origin)
        assert response.headers["access-control-allow-origin"] == origin[1]


@pytest.mark.parametrize("folder", FOLDERS)
def test_it_is_found_in_the_working_directory(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert find_client(None) is None
    folder.mkdir(parents=True)
    assert find_client(None) is None
    (folder / FILES[2]).write_bytes(b"x")
    assert find_client(None) == tmp_path / folder
    assert find_client(folder) == tmp_path / folder
    assert find_client(folder.parent) == tmp_path / folder  # the package
    with pytest.raises(
        ConfigurationError, match="not a folder of the browser's client: name that of the npm"
    ):
        find_client(tmp_path)
