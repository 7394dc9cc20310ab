"""Fixtures of the interop tests: one server for all of them, its output beside every failure."""

from collections.abc import Generator, Iterator

import pytest
from tests.interop.server_process import ServerProcess, assert_clean


@pytest.fixture(scope="session")
def shared_server() -> Iterator[ServerProcess]:
    """The interop app; tests share it and must not restart it."""
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
