"""SIGHUP to a process: what is reloaded, what needs a restart, and that nobody is put out."""

import os
import ssl
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from signal import SIGHUP
from typing import Any

import pytest
import trio
import trustme
from trio.testing import trio_test

from tests.cli_process import ServingProcess, serving
from tests.interop.server_process import free_port
from tests.ops.test_systemd import manager
from tests.test_cli_options import get
from tests.wire import PATH, open_client
from trio_socketio import Client, ClientOptions
from trio_socketio import open_client as open_own_client
from trio_socketio.control import open_control
from trio_socketio.errors import TrioSocketIOError

QUERY = f"{PATH}?EIO=4&transport=polling"
DONE = "reloaded"


class Certificate:
    """A certificate in files that can be replaced."""

    def __init__(self, folder: Path) -> None:
        self.certfile, self.keyfile = folder / "chain.pem", folder / "key.pem"
        self.cafile = folder / "authority.pem"
        self.trust = ssl.create_default_context()
        self._authority = trustme.CA()
        self._authority.configure_trust(self.trust)
        self._authority.cert_pem.write_to_path(str(self.cafile))
        self.replace()

    def replace(self) -> bytes:
        """Write a new one; gives it in DER form."""
        issued = self._authority.issue_cert("127.0.0.1")
        pem = issued.cert_chain_pems[0].bytes()
        self.certfile.write_bytes(pem)
        issued.private_key_pem.write_to_path(str(self.keyfile))
        return ssl.PEM_cert_to_DER_cert(pem.decode())

    async def served_at(self, port: int) -> Any:
        """The certificate that a new connection is shown, in DER form."""
        stream = await trio.open_ssl_over_tcp_stream("127.0.0.1", port, ssl_context=self.trust)
        async with stream:
            await stream.do_handshake()
            shown = stream.getpeercert(binary_form=True)
            await trio.aclose_forcefully(stream)
            return shown


@pytest.fixture
def certificate(tmp_path: Path) -> Certificate:
    return Certificate(tmp_path)


class Conf:
    """A configuration file, and the server that reads it."""

    def __init__(self, path: Path) -> None:
        self.path = path

    @asynccontextmanager
    async def serving(self, text: str, *arguments: str) -> AsyncIterator[ServingProcess]:
        self.path.write_text(text)
        async with serving("--config", str(self.path), *arguments) as server:
            yield server

    async def reload(self, server: ServingProcess, text: str | None = None) -> list[str]:
        """Reload; gives what is logged about it, by level, up to and including the result."""
        if text is not None:
            self.path.write_text(text)
        server.log.clear()
        server.process.send_signal(SIGHUP)
        await server.wait_logged("loading the configuration again")
        server.log.clear()
        await server.wait_logged("reloaded")
        with trio.move_on_after(0.1):  # what follows is logged in the same step
            await server.wait_logged("there is no such line")
        return [
            line.partition(" ")[2].replace("trio_socketio.standalone: ", "") for line in server.log
        ]


@pytest.fixture
def conf(tmp_path: Path) -> Conf:
    return Conf(tmp_path / "conf.toml")


async def get_status(port: int, origin: str) -> int:
    return (await get(port, QUERY, [("Origin", origin)])).status


@pytest.mark.req("CFG-12", "CFG-14", "CFG-16")
@trio_test
async def test_origins_and_limits_are_reloaded_and_the_rest_is_named(conf: Conf) -> None:
    a, b = "https://a.example", "https://b.example"
    text = f'[cors]\norigins = ["{a}"]\n[engine]\nping_interval_s = 20\n'
    async with conf.serving(text, "--max-payload", "7777") as server:
        port = await server.wait_port()
        assert [await get_status(port, origin) for origin in (a, b)] == [200, 403]
        async with open_client(port) as client, open_client(port) as other:
            await client.connect()
            told = await conf.reload(
                server,
                f'[cors]\norigins = ["{b}"]\n[engine]\nping_interval_s = 21\n'
                "max_http_buffer_size_bytes = 5\n[connections]\nmax_connections = 2\n"
                "max_connections_per_address = 2\n",
            )
            assert sorted(told) == [
                f"INFO reloaded [connections] max_connections: {await fitting(told)} -> 2",
                "INFO reloaded [connections] max_connections_per_address: false -> 2",
                f'INFO reloaded [cors] origins: ["{a}"] -> ["{b}"]',
                "WARNING [engine] ping_interval_s: 20.0 -> 21.0 needs a restart",
            ]
            assert await get_status(port, a) == 503  # both connections are taken by clients
            await other.connect()  # and they go on
            await client.emit("list", ack_id=1)
            assert await client.receive() == ("31[{}]", [])
            await client.emit("list", ack_id=2)
            assert await client.receive() == ("32[{}]", [])
        told = await conf.reload(server, f'[cors]\norigins = ["{b}"]\n')
        assert [line for line in told if "max_connections_per_address" in line] == [
            "INFO reloaded [connections] max_connections_per_address: 2 -> false"
        ]
        assert not [line for line in told if "20.0 -> 21.0" in line]
        assert [await get_status(port, origin) for origin in (a, b)] == [403, 200]
        answer = await get(port, QUERY, [("Origin", b)])
        assert answer.headers["access-control-allow-origin"] == b
        assert '"pingInterval":20000' in answer.text
        assert await server.end() == 0


async def fitting(told: list[str]) -> str:
    """How many connections there may be by default on this machine; see descriptors.py."""
    await trio.lowlevel.checkpoint()
    (line,) = [line for line in told if "] max_connections: " in line]
    return line.partition("max_connections: ")[2].partition(" ")[0]


@pytest.mark.req("CFG-12", "CFG-15")
@trio_test
async def test_a_certificate_is_renewed_under_live_clients(
    conf: Conf, certificate: Certificate
) -> None:
    first = ssl.PEM_cert_to_DER_cert(certificate.certfile.read_text())
    text = f'[listen]\ncertfile = "{certificate.certfile}"\nkeyfile = "{certificate.keyfile}"\n'
    async with conf.serving(text) as server, AsyncExitStack() as stack:
        port = await server.wait_port()
        assert await certificate.served_at(port) == first
        clients: list[Client] = []
        lost: list[str] = []
        for transports in (("websocket",), ("polling",), ("polling", "websocket")):
            client = await stack.enter_async_context(
                open_own_client(
                    f"https://127.0.0.1:{port}",
                    ssl_context=certificate.trust,
                    transports=transports,
                    options=ClientOptions(reconnect=False),
                )
            )
            client.on("disconnect")(lost.append)
            clients.append(client)

        async def all_are_there() -> None:
            for client in clients:
                assert await client.emit_with_ack("list", timeout_s=5) == {}
            assert lost == []

        await all_are_there()
        second = certificate.replace()
        line = f"[listen] certfile: {certificate.certfile} has a new certificate or key"
        assert await conf.reload(server) == [f"INFO reloaded {line}"]
        assert second != first
        assert await certificate.served_at(port) == second
        await all_are_there()
        assert await conf.reload(server) == ["INFO reloaded the configuration: nothing has changed"]
        await check_bad_certificate(conf, server, certificate)
        assert await certificate.served_at(port) == second
        await all_are_there()


@pytest.mark.req("CFG-12")
@trio_test
async def test_the_certificate_of_the_admin_port_is_renewed(
    conf: Conf, certificate: Certificate
) -> None:
    admin = free_port()
    text = (
        f'[admin]\nlisten = "127.0.0.1:{admin}"\n'
        f'certfile = "{certificate.certfile}"\nkeyfile = "{certificate.keyfile}"\n'
    )
    async with conf.serving(text) as server:
        await server.wait_port()
        first = await certificate.served_at(admin)
        second = certificate.replace()
        line = f"[admin] certfile: {certificate.certfile} has a new certificate or key"
        assert await conf.reload(server) == [f"INFO reloaded {line}"]
        assert first != second == await certificate.served_at(admin)


async def check_bad_certificate(
    conf: Conf, server: ServingProcess, certificate: Certificate
) -> None:
    """It is refused, together with everything else that is new."""
    text = conf.path.read_text()
    certificate.certfile.write_text("not a certificate")
    (told,) = await conf.reload(server, text + '[log]\nlevel = "debug"\n')
    assert told.startswith("ERROR nothing was reloaded, and the configuration stays as it is: ")
    assert str(certificate.certfile) in told
    conf.path.write_text(text)


@pytest.mark.req("CFG-13")
@pytest.mark.parametrize(
    ("bad", "says"),
    [
        ("[engine]\nping_interval_s = 'x'", "[engine] ping_interval_s: expected a number"),
        ("[engine", "is not TOML"),
        ("[engine]\nping_timeout_s = 2147483", "[engine] ping_timeout_s: ping_interval_s must be"),
        ("[listen]\ncertfile = 'none.pem'", "certificate file not found: none.pem"),
    ],
)
def test_a_bad_configuration_changes_nothing(conf: Conf, bad: str, says: str) -> None:
    a, b = "https://a.example", "https://b.example"

    async def main() -> None:
        async with conf.serving(f'[cors]\norigins = ["{a}"]\n') as server:
            port = await server.wait_port()
            (told,) = await conf.reload(server, f'[cors]\norigins = ["{b}"]\n{bad}\n')
            assert told.startswith("ERROR nothing was reloaded")
            assert says in told
            assert [await get_status(port, origin) for origin in (a, b)] == [200, 403]
            told, *more = await conf.reload(server, f'[cors]\norigins = ["{b}"]\n')
            assert (told, more) == (f'INFO reloaded [cors] origins: ["{a}"] -> ["{b}"]', [])
            assert [await get_status(port, origin) for origin in (a, b)] == [403, 200]

    trio.run(main)


@pytest.mark.req("CFG-12")
@trio_test
async def test_the_level_of_the_log_is_reloaded(conf: Conf) -> None:
    async with conf.serving("") as server:
        await server.wait_url()
        told = await conf.reload(server, '[log]\nlevel = "debug"\nformat = "json"\n')
        assert '"message": "reloaded [log] level: \\"info\\" -> \\"debug\\""' in "".join(told)
        assert await server.end() == 0
        assert server.log[-1].startswith('{"time"')


@pytest.mark.req("CFG-16")
@trio_test
async def test_tls_is_not_turned_on_without_a_restart(conf: Conf, certificate: Certificate) -> None:
    text = f'[listen]\ncertfile = "{certificate.certfile}"\nkeyfile = "{certificate.keyfile}"\n'
    async with conf.serving("") as server:
        port = await server.wait_port()
        told = await conf.reload(server, text)
        assert told == [
            f'WARNING [listen] certfile: false -> "{certificate.certfile}" needs a restart',
            f'WARNING [listen] keyfile: false -> "{certificate.keyfile}" needs a restart',
            "INFO reloaded the configuration: nothing has changed that can be changed now",
        ]
        assert (await get(port, QUERY)).status == 200


@pytest.mark.req("CFG-06")
@trio_test
async def test_an_app_has_its_own_options_again_when_they_are_no_longer_given(
    conf: Conf, tmp_path: Path
) -> None:
    app = tmp_path / "origins.py"
    app.write_text(
        "from dataclasses import replace\n"
        "from trio_socketio import Server\n\n"
        "def create(options):\n"
        "    origins = options.cors_origins or ('https://own.example',)\n"
        "    return Server(replace(options, cors_origins=origins))\n"
    )
    own, given = "https://own.example", "https://given.example"
    async with conf.serving("", "--app", str(app)) as server:
        port = await server.wait_port()
        assert [await get_status(port, origin) for origin in (own, given)] == [200, 403]
        await conf.reload(server, f'[cors]\norigins = ["{given}"]\n')
        assert [await get_status(port, origin) for origin in (own, given)] == [403, 200]
        await conf.reload(server, "")
        assert [await get_status(port, origin) for origin in (own, given)] == [200, 403]
    async with conf.serving(f'[cors]\norigins = ["{given}"]\n', "--app", str(app)) as server:
        port = await server.wait_port()
        assert [await get_status(port, origin) for origin in (own, given)] == [403, 200]
        await conf.reload(server, "")  # what the function was given is not the app's own
        assert await get_status(port, given) == 403


# -- tokens


def with_token(address: str, file: Path) -> str:
    return f'[control]\nlisten = ["{address}"]\ntokens = [{{name = "ops", file = "{file}"}}]\n'


@pytest.fixture
def secret(tmp_path: Path) -> Path:
    file = tmp_path / "secret"
    file.write_text("0123456789abcdef")
    return file


@pytest.mark.req("CFG-31")
@trio_test
async def test_a_secret_that_is_replaced_is_told(conf: Conf, secret: Path) -> None:
    address = f"unix:{secret.parent}/run/control.sock"
    async with conf.serving(with_token(address, secret)) as server:
        await server.wait_url()
        await trio.Path(secret).write_text("fedcba9876543210")
        async with open_control(address) as control:
            told = await control.call("system.reload")
        assert told == {"changed": ["[control] tokens"], "needs_restart": []}
        line = await server.wait_logged("reloaded")
        assert line.endswith("reloaded [control] tokens: ops has a new secret")
        told = await conf.reload(server)
        assert told[-1] == "INFO reloaded the configuration: nothing has changed"


@pytest.mark.req("CFG-31")
@trio_test
async def test_the_first_tokens_need_a_restart(conf: Conf, secret: Path) -> None:
    admin = free_port()
    text = f'[admin]\nlisten = "127.0.0.1:{admin}"\n'
    async with conf.serving(text) as server:
        await server.wait_url()
        more = f'{text}[control]\ntokens = [{{name = "ops", file = "{secret}"}}]\n'
        first, second = await conf.reload(server, more)
        assert first.startswith("WARNING [control] tokens: [] -> [{")
        assert first.endswith("}] needs a restart")
        assert second.endswith("nothing has changed that can be changed now")
        assert (await get(admin, "/rpc")).status == 404
    async with conf.serving(with_token(f"unix:{secret.parent}/run/c.sock", secret)) as server:
        await server.wait_url()
        (line,) = await conf.reload(
            server, f'[control]\nlisten = ["unix:{secret.parent}/run/c.sock"]'
        )
        assert line.startswith("INFO reloaded [control] tokens: [{")


@pytest.mark.req("CFG-13", "CFG-16")
@trio_test
async def test_a_tcp_address_and_its_tokens_are_removed(conf: Conf, secret: Path) -> None:
    """The address stays until the restart, but nobody is let in there."""
    address, origin = f"tcp:127.0.0.1:{free_port()}", "https://a.example"
    async with conf.serving(with_token(address, secret)) as server:
        port = await server.wait_port()
        async with open_control(address, token="0123456789abcdef") as control:
            told = await conf.reload(server, f'[cors]\norigins = ["{origin}"]\n')
            assert [line.partition("]")[0] for line in told if "listen: " in line] == [
                "WARNING [control"
            ]
            assert any(line.startswith("INFO reloaded [control] tokens: ") for line in told)
            with pytest.raises(TrioSocketIOError):
                await control.call("system.info")
        with pytest.raises(TrioSocketIOError):
            async with open_control(address, token="0123456789abcdef"):
                raise AssertionError
        assert await get_status(port, origin) == 200
        told = await conf.reload(server, with_token(address, secret))
        assert f'INFO reloaded [cors] origins: ["{origin}"] -> []' in told
        async with open_control(address, token="0123456789abcdef") as control:
            await control.call("system.info")


# -- files that never answer, and a program that does not serve


@pytest.mark.req("CFG-30")
@trio_test
async def test_a_file_that_never_answers_holds_up_no_stop(conf: Conf, secret: Path) -> None:
    address = f"unix:{secret.parent}/run/control.sock"
    async with conf.serving(with_token(address, secret)) as server:
        await server.wait_url()
        await trio.Path(secret).unlink()
        os.mkfifo(secret)
        server.process.send_signal(SIGHUP)
        await server.wait_logged("loading the configuration again")

        async def reload() -> None:
            with pytest.raises(TrioSocketIOError):
                await control.call("system.reload")

        async with open_control(address) as control, trio.open_nursery() as nursery:
            nursery.start_soon(reload)
            await control.call("system.info")
            with trio.fail_after(8):
                assert await server.end() == 0
        given_up = [line for line in server.log if "a reload was given up" in line]
        assert len(given_up) == 2


@pytest.mark.req("OPS-45")
@trio_test
async def test_systemd_is_told_of_reloads_of_a_program_that_serves_alone(
    conf: Conf, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    app, address = tmp_path / "slow.py", f"unix:{tmp_path}/run/control.sock"
    app.write_text(
        "import trio\nfrom trio_socketio import Server\n\nsio = Server()\n\n@sio.lifespan\n"
        f"async def lifespan(_):\n    go_on = trio.Path({str(tmp_path / 'go')!r})\n"
        "    while not await go_on.exists():\n        await trio.sleep(0.02)\n"
        "    yield\n    await trio.sleep(0.5)\n"
    )
    with manager(str(tmp_path / "notify")) as systemd:
        monkeypatch.setenv("NOTIFY_SOCKET", systemd.address)
        text = f'[app]\nspec = "{app}:sio"\n[control]\nlisten = ["{address}"]\n'
        async with conf.serving(text) as server:
            await server.wait_logged("the control socket is at")
            async with open_control(address) as control:
                await control.call("system.reload")
                assert systemd.messages() == []
                await trio.Path(tmp_path / "go").touch()
                await server.wait_url()
                await control.call("system.reload")
                ready, reloading, again = systemd.messages()
                assert ready == again  # with the same status
                assert (ready[0], reloading[0]) == ("READY=1", "RELOADING=1")
                await control.call("system.drain")
                await server.wait_logged("draining")
                await control.call("system.reload")
            assert await server.wait_end() == 0
            assert {lines[0] for lines in systemd.messages()} <= {
                "STOPPING=1",
                "STATUS=draining: 0 sessions left",
            }
