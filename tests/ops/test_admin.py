"""Who may ask the admin port for what, and that its clients take nothing from others."""

import logging
import os
import socket
import ssl
from collections.abc import AsyncIterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import trio
import trustme
from tests.ops.operated import LOCAL, ask_admin, operated
from tests.socketio.serving import ask, joined, until
from tests.wire import HttpClient
from trio.testing import trio_test

from trio_socketio import (
    ConfigurationError,
    InheritedEndpoint,
    Server,
    ServerOptions,
    TcpEndpoint,
    UnixEndpoint,
    open_runtime,
)
from trio_socketio.http.request import Request
from trio_socketio.net.tls import create_context
from trio_socketio.ops.admin import AdminPort, admin_endpoints, dashboard_url
from trio_socketio.ops.admin_options import AdminOptions
from trio_socketio.ops.health import Health, check_server
from trio_socketio.runtime.addresses import is_local

PATHS = ("/livez", "/readyz", "/metrics")


@pytest.mark.req("OPS-01", "OPS-02", "OPS-04")
@trio_test
async def test_reading_is_for_get_and_head() -> None:
    async with operated(Server()) as program:
        assert (await program.get("/livez")).text == "ok\n"
        assert (await program.get("/readyz")).text == "ready\n"
        for path in PATHS:
            read = await program.get(path)
            head = await ask_admin(program.admin, "HEAD", path)
            assert (head.status, head.body) == (200, b"")
            assert read.status == 200
            assert read.headers["cache-control"] == "no-store"
            assert read.headers["content-type"].startswith("text/plain")
            for method in ("POST", "PUT", "DELETE", "OPTIONS"):
                refused = await ask_admin(program.admin, method, path)
                assert refused.status == 405
                assert refused.headers["allow"] == "GET, HEAD"
        assert (await program.get("/other")).status == 404


@pytest.mark.req("OPS-02")
@trio_test
async def test_readiness_says_why() -> None:
    health = Health()
    assert health.reasons() == ["starting: no server has started yet"]
    server = Server()
    health.add(check_server(server))
    assert health.reasons() == ["not serving: the server has not started yet, or has ended"]
    health.add(lambda: "Redis is away")
    assert len(health.reasons()) == 2

    async with operated(Server()) as program:
        program.health.add(lambda: "Redis is away")
        program.health.add(lambda: "the moon is full")
        answer = await program.get("/readyz")
        assert (answer.status, answer.text) == (503, "Redis is away\nthe moon is full\n")
        assert (await program.scrape())["tsio_ready"] == 0


@pytest.mark.req("OPS-50")
@trio_test
async def test_what_costs_only_some_clients_something_is_told_beside_ready() -> None:
    async with operated(Server()) as program:
        program.health.add_note(lambda: "")
        assert (await program.get("/readyz")).text == "ready\n"
        program.health.add_note(lambda: "a node is not reached")
        answer = await program.get("/readyz")
        assert (answer.status, answer.text) == (200, "ready\na node is not reached\n")
        assert (await program.scrape())["tsio_ready"] == 1
        program.health.add(lambda: "Redis is away")
        answer = await program.get("/readyz")
        assert (answer.status, answer.text) == (503, "Redis is away\n")


@trio_test
async def test_the_port_answers_while_the_server_starts() -> None:
    server, reached, go_on = Server(), trio.Event(), trio.Event()

    @server.lifespan
    async def lifespan(_: Server) -> AsyncIterator[None]:
        reached.set()
        await go_on.wait()
        yield

    health = Health()
    health.add(check_server(server))
    port = AdminPort(LOCAL, health, NoMetrics())

    async with open_runtime() as runtime, trio.open_nursery() as nursery:
        addresses = await runtime.start_service(
            "admin",
            lambda task_status: port.serve(
                runtime, admin_endpoints(LOCAL), task_status=task_status
            ),
        )

        async def serve() -> None:
            async with server.mounted(runtime):
                await server.wait_stopping()

        nursery.start_soon(serve)
        await reached.wait()
        answer = await ask_admin(addresses[0][1], "GET", "/readyz")
        assert answer.status == 503
        assert answer.text == "starting: the app and its adapters are not ready yet\n"
        assert (await ask_admin(addresses[0][1], "GET", "/livez")).status == 200
        go_on.set()
        await until(lambda: server.state == "serving")
        assert (await ask_admin(addresses[0][1], "GET", "/readyz")).status == 200
        server.stop()
        assert health.reasons()[0].startswith("draining")


class NoMetrics:
    """Metrics that cannot be measured."""

    async def encode(self) -> bytes:
        raise ValueError("a collector is broken")


@trio_test
async def test_metrics_that_cannot_be_measured(caplog: pytest.LogCaptureFixture) -> None:
    port = AdminPort(LOCAL, Health(), NoMetrics())
    async with open_runtime() as runtime:
        addresses = await runtime.start_service(
            "admin",
            lambda task_status: port.serve(
                runtime, admin_endpoints(LOCAL), task_status=task_status
            ),
        )
        for _ in range(2):
            assert (await ask_admin(addresses[0][1], "GET", "/metrics")).status == 500
        assert (await ask_admin(addresses[0][1], "GET", "/livez")).status == 200
    assert "a collector is broken" in caplog.text


@pytest.mark.req("OPS-05")
@pytest.mark.parametrize(
    ("host", "status"),
    [
        ("127.0.0.1:9", 200),
        ("10.1.2.3", 200),
        ("[::1]:9100", 200),
        ("localhost", 200),
        ("LOCALHOST:80", 200),
        ("localhost.", 200),
        ("chat.internal:9100", 200),
        ("evil.example", 403),
        ("127.0.0.1.evil.example", 403),
        ("chat.internal.evil.example", 403),
        ("localhost.evil.example:80", 403),
    ],
)
@trio_test
async def test_the_host_is_an_address_or_a_known_name(host: str, status: int) -> None:
    options = AdminOptions(listen="127.0.0.1:0", hosts=("Chat.Internal",))
    async with operated(Server(), options) as program:
        for path in PATHS:
            stream = await trio.open_tcp_stream("127.0.0.1", program.admin)
            await stream.send_all(f"GET {path} HTTP/1.1\r\nHost: {host}\r\n\r\n".encode())
            answer = bytes(await stream.receive_some())
            assert answer.startswith(b"HTTP/1.1 %d " % status)
            assert b"evil" not in answer
            await stream.aclose()


@pytest.mark.req("OPS-05")
@trio_test
async def test_a_probe_of_http_1_0_names_no_host() -> None:
    async with operated(Server()) as program:
        stream = await trio.open_tcp_stream("127.0.0.1", program.admin)
        await stream.send_all(b"GET /readyz HTTP/1.0\r\n\r\n")
        assert b" 200 " in bytes(await stream.receive_some())
        await stream.aclose()


@pytest.mark.req("OPS-06", "OPS-46")
@trio_test
async def test_off_loopback_everything_needs_a_token() -> None:
    def further(request: Request) -> None:
        request.respond(200, [], b"of another floor")

    options = AdminOptions(listen="0.0.0.0:0", allow_cleartext=True)
    async with operated(
        Server(), options, check_token=lambda token: token == "s3cret", rpc=further
    ) as program:
        for path in PATHS:
            for header in (
                "",
                "Bearer wrong",
                "Basic s3cret",
                "s3cret",
                "Bearer",
                "Bearer s3cret s3cret",
            ):
                refused = await program.get(path, **({"Authorization": header} if header else {}))
                assert refused.status == 401
                assert refused.headers["www-authenticate"] == "Bearer"
                assert "s3cret" not in refused.text
            assert (await program.get(path, Authorization="bearer s3cret")).status == 200
        assert (await program.get("/rpc")).text == "of another floor"
        assert (await program.get("/")).status == 200  # which shows nothing by itself


@pytest.mark.req("PAGE-20")
@trio_test
async def test_the_dashboard_is_at_the_root(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "trio_socketio.ops.admin")
    async with operated(Server()) as program:
        page = await program.get("/")
        assert page.status == 200
        assert "<title>Dashboard" in page.text
        assert "default-src 'none'" in page.headers["content-security-policy"]
        assert (await ask_admin(program.admin, "HEAD", "/")).body == b""
        assert (await ask_admin(program.admin, "POST", "/")).status == 405
        assert f"the dashboard is at http://127.0.0.1:{program.admin}/" in caplog.text


@pytest.mark.parametrize(
    ("addresses", "secure", "url"),
    [
        ([("127.0.0.1", 9100)], False, "http://127.0.0.1:9100/"),
        (["/run/admin.sock", ("::1", 9100, 0, 0)], True, "https://[::1]:9100/"),
        (["/run/admin.sock"], False, ""),
        ([], False, ""),
    ],
)
def test_the_url_of_the_dashboard(addresses: list[Any], secure: bool, url: str) -> None:
    assert dashboard_url(addresses, secure=secure) == url


@pytest.mark.req("OPS-06")
@trio_test
async def test_off_loopback_without_tokens_it_does_not_start() -> None:
    with pytest.raises(ConfigurationError, match="open to other machines"):
        async with operated(Server(), AdminOptions(listen="0.0.0.0:0", allow_cleartext=True)):
            raise AssertionError


@pytest.mark.req("OPS-49")
@trio_test
async def test_the_health_can_be_open_to_probes_of_other_machines() -> None:
    options = AdminOptions(listen="0.0.0.0:0", allow_cleartext=True, open_health=True)
    for check in (None, lambda token: token == "s3cret"):
        async with operated(Server(), options, check_token=check) as program:
            found = {path: (await program.get(path)).status for path in PATHS}
            assert found == {"/livez": 200, "/readyz": 200, "/metrics": 401}
            allowed = await program.get("/metrics", Authorization="Bearer s3cret")
            assert allowed.status == (401 if check is None else 200)


@pytest.mark.req("OPS-46")
@trio_test
async def test_off_loopback_tokens_do_not_pass_in_the_clear_unless_that_is_allowed() -> None:
    with pytest.raises(ConfigurationError, match="pass in the clear: set certfile in"):
        async with operated(Server(), AdminOptions(listen="0.0.0.0:0"), check_token=bool):
            raise AssertionError
    with socket.create_server(("0.0.0.0", 0)) as listener:
        inherited = admin_endpoints(AdminOptions(), [os.dup(listener.fileno())])
        with pytest.raises(ConfigurationError, match="pass in the clear"):
            async with operated(Server(), check_token=bool, endpoints=inherited):
                raise AssertionError


@trio_test
async def test_on_loopback_further_routes_are_asked() -> None:
    def further(request: Request) -> None:
        request.respond(200, [], request.method.encode())

    async with operated(Server(), rpc=further) as program:
        assert (await ask_admin(program.admin, "POST", "/rpc")).text == "POST"


@pytest.mark.req("OPS-08")
@trio_test
async def test_neither_group_of_connections_takes_a_place_of_the_other() -> None:
    options = AdminOptions(listen="127.0.0.1:0", max_connections=2)
    async with operated(Server(ServerOptions(max_connections=1)), options) as program:
        idle = [await trio.open_tcp_stream("127.0.0.1", program.admin) for _ in range(2)]
        await trio.sleep(0.05)
        assert (await program.get("/livez")).status == 503
        async with joined(program.port, "websocket") as (_, _):
            for stream in idle:
                await stream.aclose()
            await trio.sleep(0.05)
            assert (await program.get("/livez")).status == 200
            assert (await ask_admin(program.port, "GET", "/")).status == 503


@pytest.mark.req("OPS-07")
@trio_test
async def test_requests_share_a_measurement() -> None:
    counted = 0

    class Counting:
        async def encode(self) -> bytes:
            nonlocal counted
            counted += 1
            await trio.sleep(0.05)
            return b"# nothing\n"

    port = AdminPort(LOCAL, Health(), Counting())
    async with open_runtime() as runtime:
        addresses = await runtime.start_service(
            "admin",
            lambda task_status: port.serve(
                runtime, admin_endpoints(LOCAL), task_status=task_status
            ),
        )
        answers: list[int] = []

        async def scrape() -> None:
            answers.append((await ask_admin(addresses[0][1], "GET", "/metrics")).status)

        async with trio.open_nursery() as nursery:
            for _ in range(30):
                nursery.start_soon(scrape)
    assert answers == [200] * 30
    assert counted <= 3


@trio_test
async def test_a_client_that_asks_and_leaves() -> None:
    async with operated(Server()) as program:
        for _ in range(5):
            stream = await trio.open_tcp_stream("127.0.0.1", program.admin)
            await stream.send_all(b"GET /metrics HTTP/1.1\r\nHost: localhost\r\n\r\n")
            await stream.aclose()
        assert (await program.scrape())["tsio_defects_total"] == 0


@trio_test
async def test_over_tls(tmp_path: Path) -> None:
    authority = trustme.CA()
    certificate = authority.issue_cert("localhost")
    file = tmp_path / "chain.pem"
    certificate.private_key_and_cert_chain_pem.write_to_path(str(file))
    context = ssl.create_default_context()
    authority.configure_trust(context)
    options = AdminOptions(listen="0.0.0.0:0", certfile=file)
    over_tls = admin_endpoints(options, (), create_context(file, None))
    async with operated(
        Server(), options, check_token=lambda token: token == "s3cret", endpoints=over_tls
    ) as program:
        stream = await trio.open_ssl_over_tcp_stream(
            "localhost", program.admin, ssl_context=context
        )
        answer = await HttpClient(program.admin, stream).request(
            "GET", "/livez", [("Authorization", "Bearer s3cret")]
        )
        assert answer.text == "ok\n"
        await trio.aclose_forcefully(stream)


@trio_test
async def test_on_a_unix_socket_and_an_inherited_one(tmp_path: Path) -> None:
    path = tmp_path / "admin"
    with trio.socket.socket() as listening:
        await listening.bind(("127.0.0.1", 0))
        listening.listen()
        port = listening.getsockname()[1]
        async with operated(
            Server(),
            AdminOptions(),
            endpoints=[
                TcpEndpoint(port=0),
                UnixEndpoint(path),
                *admin_endpoints(AdminOptions(), [listening.detach()]),
            ],
        ) as program:
            assert (await program.get("/livez")).status == 200
            assert (await ask_admin(port, "GET", "/livez")).status == 200
            stream = await trio.open_unix_socket(str(path))
            assert (await HttpClient(0, stream).request("GET", "/livez")).status == 200
            await stream.aclose()


@pytest.mark.parametrize(
    ("address", "local"),
    [
        (("127.0.0.1", 1), True),
        (("127.9.9.9", 1), True),
        (("::1", 1, 0, 0), True),
        (("0.0.0.0", 1), False),
        (("::", 1, 0, 0), False),
        (("192.0.2.1", 1), False),
        (("fe80::1%eth0", 1, 0, 2), False),
        ("/run/admin", True),
        ("", True),
    ],
)
def test_what_only_this_machine_can_reach(address: object, *, local: bool) -> None:
    assert is_local(address) is local


@pytest.mark.req("OPS-09")
@pytest.mark.parametrize(
    ("option", "value"),
    [
        ("listen", "9100"),
        ("listen", ":9100"),
        ("listen", "localhost:"),
        ("listen", "localhost:65536"),
        ("listen", "localhost:-1"),
        ("listen", "::1:9100"),
        ("listen", ""),
        ("listen", 9100),
        ("hosts", "chat.internal"),
        ("hosts", (1,)),
        ("max_connections", 0),
        ("keyfile", Path("key.pem")),
    ],
)
def test_options_that_cannot_be_used(option: str, value: object) -> None:
    with pytest.raises(ConfigurationError, match=f"^{option}: "):
        AdminOptions(**{option: value})  # type: ignore[arg-type]  # that is the point


def test_where_it_listens() -> None:
    (six,) = admin_endpoints(AdminOptions(listen="[::1]:9100"))
    assert isinstance(six, TcpEndpoint)
    assert (six.host, six.port) == ("::1", 9100)
    inherited, _ = admin_endpoints(AdminOptions(listen="localhost:0"), [7])
    assert isinstance(inherited, InheritedEndpoint)
    assert admin_endpoints(AdminOptions()) == []


@trio_test
async def test_the_public_port_is_not_the_admin_port(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    server = Server()
    server.on("ping")(lambda _: "pong")
    async with operated(server) as program, joined(program.port, "websocket") as (client, _):
        assert (await ask_admin(program.port, "GET", "/metrics")).status == 404
        assert await ask(client, "ping") == ["pong"]
        samples = await program.scrape()
        assert samples["tsio_connections_accepted_total"] == 2
    assert "ending the services admin" in caplog.text


@pytest.mark.req("RUN-42")
@trio_test
async def test_who_reads_slowly_has_the_answer_before_the_end() -> None:
    size, asked = 8_000_000, trio.Event()

    def answer(request: Request) -> None:
        request.respond(200, [], b"x" * size)
        asked.set()

    port = AdminPort(LOCAL, Health(), NoMetrics(), routes={"/large": answer})
    received = bytearray()

    async def read_slowly(stream: trio.SocketStream) -> None:
        await trio.sleep(0.2)
        async for data in stream:
            received.extend(data)

    async with trio.open_nursery() as nursery, open_runtime() as runtime:
        serve = partial(port.serve, runtime, admin_endpoints(LOCAL))
        addresses = await runtime.start_service("admin", serve, end=port.end)
        stream = await trio.open_tcp_stream("127.0.0.1", addresses[0][1])
        await stream.send_all(b"GET /large HTTP/1.1\r\nHost: localhost\r\n\r\n")
        await asked.wait()
        nursery.start_soon(read_slowly, stream)
    assert received.count(b"x") == size
    await stream.aclose()
