"""The files of the real npm package, as they are served."""

import gzip
from collections.abc import Iterator

import pytest
from tests.interop.drivers import NODE_MODULES
from tests.interop.server_process import ServerProcess, assert_clean
from tests.wire import HttpClient
from trio.testing import trio_test

from trio_socketio.socketio.client_files import FILES

DIST = NODE_MODULES / "socket.io-client" / "dist"


@pytest.fixture(scope="module")
def server() -> Iterator[ServerProcess]:
    with ServerProcess(arguments=["--serve-client", str(DIST)]) as server:
        yield server
        assert_clean(server)


@pytest.mark.parametrize("name", FILES)
@trio_test
async def test_every_bundle_of_the_package_is_served(server: ServerProcess, name: str) -> None:
    http = HttpClient(server.port)
    packed = await http.request("GET", f"/socket.io/{name}", [("Accept-Encoding", "gzip")])
    assert packed.status == 200
    assert gzip.decompress(packed.body) == (DIST / name).read_bytes()
    again = await http.request(
        "GET", f"/socket.io/{name}", [("If-None-Match", packed.headers["etag"])]
    )
    assert again.status == 304
    await http.aclose()
