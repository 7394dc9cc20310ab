"""Fixtures of the interop tests: one server for all of them, its output beside every failure."""

from collections.abc import Generator, Iterator

import pytest
from tests.interop.server_process import ServerProcess


def assert_clean(server: ServerProcess) -> None:
    """Stop the server: it ends with 0 and no test made it write a traceback."""
    if not server.running:
        return  # it failed in the middle of a restart, and the test said so
    code = server.stop()
    said = server.output()
    assert code == 0, f"the server ended with {code} after SIGTERM\n{server.tail()}"
    assert "Traceback" not in said, f"something failed inside the server\n{server.tail()}"


@pytest.fixture(scope="session")
def shared_server() -> Iterator[ServerProcess]:
    """The interop app; tests share it and must not restart it."""
    with ServerProcess() as server:
        yield server
        assert_clean(server)


@pytest.fixture
def own_server() -> Iterator[ServerProcess]:
    """The interop app for one test, which may stop and restart it."""
    with ServerProcess() as server:
        yield server
        assert_clean(server)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item,
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    report = yield
    if report.failed and isinstance(item, pytest.Function):
        for name, value in item.funcargs.items():
            if isinstance(value, ServerProcess) and value.readable():
                report.sections.append((f"output of {name}", value.tail()))
    return report
