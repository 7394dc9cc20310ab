"""The composition root in this process: reloads that fail, and names of options in errors."""

import logging
import os
import ssl
from pathlib import Path

import pytest
import trio
import trustme
from trio.testing import trio_test, wait_all_tasks_blocked

from tests.socketio.serving import until
from trio_socketio.configuration.loading import Sources, load
from trio_socketio.errors import ConfigurationError
from trio_socketio.net.tls import create_context
from trio_socketio.ops.log import open_log
from trio_socketio.reloading import read_certificate
from trio_socketio.standalone import Program, load_program

APP = """
from trio_socketio import Server, ServerOptions

sio = Server(ServerOptions(ping_interval_s=1000))
"""


class Loader:
    """Loads programs from a file."""

    def __init__(self, folder: Path) -> None:
        self.file = folder / "conf.toml"
        self.app = folder / "slow_app.py"
        self.app.write_text(APP)

    def write(self, text: str) -> None:
        self.file.write_text(f'[app]\nspec = "{self.app}"\n{text}')

    def load(self) -> Program:
        sources = Sources(self.file, {}, {}, {})
        loaded = load(sources)
        with open_log(loaded.configuration.log) as log:
            return load_program(sources, loaded, log)


@pytest.fixture
def loader(tmp_path: Path) -> Loader:
    return Loader(tmp_path)


TOO_LONG = "[engine]\nping_timeout_s = 2147000\n"
SAYS = r"\[engine\] ping_interval_s: must be at most 2147483 together with ping_timeout_s"


def test_an_option_that_does_not_go_with_the_apps_own_is_named(loader: Loader) -> None:
    loader.write(TOO_LONG)
    with pytest.raises(ConfigurationError, match=SAYS):
        loader.load()


@pytest.mark.req("CFG-13")
@trio_test
async def test_a_reload_checks_options_against_the_apps_own(loader: Loader) -> None:
    loader.write("")
    program = loader.load()
    before = program.configuration
    loader.write(TOO_LONG)
    with pytest.raises(ConfigurationError, match=SAYS):
        await program.reload()
    assert program.configuration is before
    loader.write("[connections]\nmax_connections = 5\n")
    reloaded = await program.reload()
    assert [str(one) for one in reloaded.changed] == ["[connections] max_connections: 100000 -> 5"]
    assert reloaded.needs_restart == ()
    assert program.server.options.max_connections == 5


@pytest.mark.req("CFG-12")
@trio_test
async def test_reloads_come_one_after_another(loader: Loader) -> None:
    """What is read last holds, also when several are asked for at once."""
    loader.write("")
    program = loader.load()
    changes: list[str] = []

    async def reload() -> None:
        changes.extend(map(str, (await program.reload()).changed))

    loader.write("[connections]\nmax_connections = 5\n")
    async with trio.open_nursery() as nursery:
        for _ in range(5):
            nursery.start_soon(reload)
    assert changes == ["[connections] max_connections: 100000 -> 5"]


@pytest.mark.req("CFG-13")
@trio_test
async def test_a_reload_that_is_cancelled_changes_nothing(loader: Loader) -> None:
    loader.write("")
    program = loader.load()
    before = program.configuration
    loader.write("[connections]\nmax_connections = 5\n")
    with trio.CancelScope() as scope:
        scope.cancel()
        await program.reload()
    assert program.configuration is before
    assert (await program.reload()).changed


@trio_test
async def test_a_reload_that_fails_unexpectedly_ends_nothing(
    loader: Loader, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    loader.write("")
    program = loader.load()

    def fail() -> None:
        raise RuntimeError("can't start new thread")

    async with trio.open_nursery() as nursery:
        nursery.start_soon(program._reload_when_asked)
        with monkeypatch.context() as patched, caplog.at_level(logging.ERROR):
            patched.setattr(program, "_plan", fail)
            program._ask_to_reload()
            await until(lambda: bool(caplog.records))
        assert "nothing was reloaded" in caplog.text
        assert "can't start new thread" in caplog.text
        loader.write("[connections]\nmax_connections = 5\n")
        program._ask_to_reload()
        await until(lambda: program.server.options.max_connections == 5)
        await wait_all_tasks_blocked()
        nursery.cancel_scope.cancel()


@pytest.mark.req("CFG-32")
def test_a_certificate_that_is_replaced_while_it_is_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    authority = trustme.CA()
    chain = tmp_path / "chain.pem"

    def replace() -> None:
        authority.issue_cert("localhost").private_key_and_cert_chain_pem.write_to_path(str(chain))

    def create_slowly(certfile: Path, keyfile: Path | None) -> ssl.SSLContext:
        context = create_context(certfile, keyfile)
        replace()
        return context

    replace()
    with monkeypatch.context() as patched:
        patched.setattr("trio_socketio.reloading.create_context", create_slowly)
        first = read_certificate(chain, None)
    second = read_certificate(chain, None)
    assert first.digest != second.digest  # so a reload loads it
    assert second.digest == read_certificate(chain, None).digest


@pytest.mark.req("CFG-30")
@trio_test
async def test_files_that_never_answer_keep_no_later_reload_from_being_made(
    loader: Loader,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    loader.write("")
    program = loader.load()
    os.mkfifo(tmp_path / "token")
    monkeypatch.setattr("trio_socketio.standalone.READ_S", 0.1)
    loader.write(f"[control]\ntokens = [{{name = 'a', file = '{tmp_path}/token'}}]\n")
    for _ in range(2):
        with pytest.raises(TimeoutError, match="were not read within"):
            await program.reload()
    monkeypatch.setattr("trio_socketio.standalone.READ_S", 10.0)
    loader.write("[connections]\nmax_connections = 5\n")
    assert (await program.reload()).changed
    assert caplog.text.count("nothing was reloaded") == 2
