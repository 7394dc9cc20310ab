"""Fixtures of the browser's tests: one browser and two servers for all of them."""

from collections.abc import Iterator
from pathlib import Path
from typing import Final

import pytest
from tests.browser.chromium import Chromium, open_chromium
from tests.interop.conftest import pytest_runtest_makereport
from tests.interop.server_process import ServerProcess, assert_clean

__all__ = ["pytest_runtest_makereport"]  # the server's output beside a failure

APP: Final = "tests/apps/browser_app.py:create"
MODULES: Final = Path(__file__).parent.parent / "interop" / "node_modules"


@pytest.fixture(scope="session")
def browser() -> Iterator[Chromium]:
    with open_chromium() as browser:
        yield browser


@pytest.fixture(scope="session")
def legacy() -> Iterator[ServerProcess]:
    """Serves the client of 2.5, and clients of that age; what it sends is compressed."""
    dist = MODULES / "socket.io-client-2" / "dist"
    arguments = ["--serve-client", str(dist), "--allow-eio3", "--per-message-deflate"]
    with ServerProcess(APP, arguments=arguments) as server:
        yield server
        assert_clean(server)


@pytest.fixture(scope="session")
def server(legacy: ServerProcess) -> Iterator[ServerProcess]:
    """Serves the client of 4.8; pages of the other server are welcome."""
    arguments = [
        *("--serve-client", str(MODULES / "socket.io-client" / "dist")),
        *("--cors-origin", legacy.url, "--cors-credentials"),
        *("--cookie", "sid"),
    ]
    with ServerProcess(APP, arguments=arguments) as server:
        yield server
        assert_clean(server)


@pytest.fixture(scope="session")
def recovering_server() -> Iterator[ServerProcess]:
    """Serves the client of 4.8; sockets outlive their connection."""
    dist = MODULES / "socket.io-client" / "dist"
    arguments = ["--serve-client", str(dist), "--state-recovery"]
    with ServerProcess(APP, arguments=arguments) as server:
        yield server
        assert_clean(server)


@pytest.fixture(scope="session")
def msgpack_server() -> Iterator[ServerProcess]:
    """Serves the client of 4.8, and speaks MessagePack."""
    dist = MODULES / "socket.io-client" / "dist"
    arguments = ["--serve-client", str(dist), "--parser", "msgpack"]
    with ServerProcess(APP, arguments=arguments) as server:
        yield server
        assert_clean(server)
