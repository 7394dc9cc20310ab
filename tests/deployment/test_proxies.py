"""nginx and HAProxy with the files of ``init --deploy``, and clients that come through them."""

import os
import signal
import socket
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path

import pytest
import trio
from tests.cli_process import ServingProcess
from tests.crowd import need_descriptors
from tests.deployed_files import unit
from tests.deployment.nodes import Crowd, drive_official_clients, open_node, open_nodes
from tests.deployment.proxies import NAMES, PROXIES, Place, open_proxy
from tests.interop.server_process import INTEROP_APP
from tests.redis_server import RedisServer
from tests.test_cli_services import get
from tests.wire import HttpClient
from trio.testing import trio_test

COUNT = 1000
SPARE_DESCRIPTORS = 300

each_proxy = pytest.mark.parametrize("proxy", PROXIES)


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Place:
    place = Place(tmp_path)
    monkeypatch.setenv("NODE_EXTRA_CA_CERTS", str(place.cafile))
    return place


@pytest.fixture
def three_nodes(place: Place, redis_server: RedisServer) -> Place:
    """The same, with the lines that stand for further nodes turned on."""
    place.nodes, place.redis = 3, redis_server.tcp_url
    return place


async def ask(place: Place, target: str, headers: list[tuple[str, str]] | None = None) -> str:
    """Send a GET over TLS; return the body of the answer, whose status must be 200."""
    stream = await trio.open_ssl_over_tcp_stream(
        "127.0.0.1", place.https, ssl_context=place.trust, https_compatible=True
    )
    async with stream:
        answer = await HttpClient(place.https, stream).request("GET", target, headers or [])
    assert answer.status == 200
    return answer.text


@pytest.mark.req("DEPLOY-14")
@each_proxy
@pytest.mark.parametrize("nodes", ["place", "three_nodes"])
@pytest.mark.time_limit(120)
def test_official_clients_of_all_versions(
    proxy: str, nodes: str, request: pytest.FixtureRequest
) -> None:
    place: Place = request.getfixturevalue(nodes)

    async def drive() -> list[str]:
        async with open_nodes(place, INTEROP_APP), open_proxy(proxy, place):
            with trio.fail_after(100):
                return await drive_official_clients(place.url)

    failures = trio.run(drive)
    assert not failures, "\n".join(failures)


@pytest.mark.req("DEPLOY-15")
@each_proxy
@trio_test
async def test_what_the_proxy_tells_of_clients(proxy: str, place: Place) -> None:
    """The address is the real one, whatever a client says of itself, and so is the scheme."""
    async with open_nodes(place) as nodes, open_proxy(proxy, place):
        forged = [("X-Forwarded-For", "203.0.113.9"), ("X-Forwarded-Proto", "http")]
        own_origin = [("Origin", place.url), *forged]  # of this host and port, over TLS
        await ask(place, "/socket.io/?EIO=4&transport=polling", own_origin)
        await nodes["a"].wait_logged("opened: polling from 127.0.0.1")
        redirected = await get(place.http, "/socket.io/?EIO=4")
        assert redirected.status == 301
        await prove_the_name(place)


async def prove_the_name(place: Place) -> None:
    """Be certbot: nginx serves what it has written, and HAProxy asks it."""

    async def answer(stream: trio.SocketStream) -> None:
        async with stream:
            await stream.receive_some()
            await stream.send_all(b"HTTP/1.0 200 OK\r\n\r\nproof")

    challenge = place.folder / "acme" / ".well-known" / "acme-challenge" / "token"
    challenge.parent.mkdir(parents=True)
    challenge.write_text("proof")
    listeners = await trio.open_tcp_listeners(place.certbot, host="127.0.0.1")
    async with trio.open_nursery() as nursery:
        nursery.start_soon(trio.serve_listeners, answer, listeners)
        assert (await get(place.http, "/.well-known/acme-challenge/token")).text == "proof"
        nursery.cancel_scope.cancel()


@trio_test
async def test_haproxy_shows_its_token_when_it_asks_whether_a_node_is_ready(place: Place) -> None:
    heads = list[bytes]()
    asked = trio.Event()

    async def answer(stream: trio.SocketStream) -> None:
        async with stream:
            heads.append(bytes(await stream.receive_some()))
            asked.set()

    listeners = await trio.open_tcp_listeners(place.admin, host="127.0.0.1")
    async with trio.open_nursery() as nursery:
        nursery.start_soon(trio.serve_listeners, answer, listeners)
        async with open_proxy("haproxy", place, TRIO_SOCKETIO_TOKEN="0123456789abcdef"):
            await asked.wait()
        nursery.cancel_scope.cancel()
    assert heads[0].startswith(b"GET /readyz HTTP/1.0\r\n")
    assert b"authorization: Bearer 0123456789abcdef\r\n" in heads[0]


@pytest.mark.req("DEPLOY-16")
@each_proxy
@pytest.mark.alone
@pytest.mark.time_limit(120)
@trio_test
async def test_a_thousand_clients_do_not_notice_reloads(proxy: str, place: Place) -> None:
    need_descriptors(COUNT + SPARE_DESCRIPTORS)
    async with (
        open_nodes(place) as nodes,
        open_proxy(proxy, place) as running,
        trio.open_nursery() as clients,
    ):
        crowd = Crowd(place)
        await crowd.grow(clients, COUNT)
        await crowd.check_all_answer()
        before = running.workers()
        for _ in range(2):
            running.reload()
            await trio.sleep(2)
            await crowd.check_all_answer()
        assert running.workers() - before  # others take the new connections
        nodes["a"].process.send_signal(signal.SIGHUP)
        await nodes["a"].wait_logged("reloaded the configuration")
        await crowd.grow(clients, COUNT + 100)
        await crowd.check_all_answer()
        assert not crowd.lost()
        clients.cancel_scope.cancel()


# --- restarts


@pytest.mark.req("DEPLOY-18")
@each_proxy
@pytest.mark.alone
@pytest.mark.time_limit(150)
@trio_test
async def test_nodes_are_replaced_one_after_the_other(proxy: str, three_nodes: Place) -> None:
    """Every client is closed once or twice, and comes back; nobody who comes is turned away."""
    place = three_nodes
    need_descriptors(COUNT + SPARE_DESCRIPTORS)
    stop = ("--stop-delay", "4", "--stop-window", "3")  # four checks of HAProxy
    came = 0

    async def keep_coming() -> None:
        nonlocal came
        while True:
            await ask(place, "/socket.io/?EIO=4&transport=polling")
            came += 1
            await trio.sleep(0.1)  # there may be 1,000 sessions of an address that join nothing

    async with AsyncExitStack() as stack:
        nodes = {
            name: await stack.enter_async_context(open_node(name, place, *stop)) for name in NAMES
        }
        for node in nodes.values():
            await node.wait_url()
        async with (
            open_proxy(proxy, place),
            trio.open_nursery() as clients,
            AsyncExitStack() as successors,
        ):
            crowd = Crowd(place)
            await crowd.grow(clients, COUNT)
            clients.start_soon(keep_coming)
            for name, node in nodes.items():
                before = len(crowd.lost())
                assert await node.end() == 0
                assert len(crowd.lost()) > before
                successor = await successors.enter_async_context(open_node(name, place, *stop))
                await successor.wait_url()
                with trio.fail_after(20):
                    await crowd.check_all_answer()
            assert came > 50
            assert max(len(member.closes) for member in crowd.members) <= len(NAMES)
            clients.cancel_scope.cancel()


@asynccontextmanager
async def activated(place: Place, listener: socket.socket) -> AsyncIterator[ServingProcess]:
    """Start the only node as systemd does, with the socket of its socket unit."""
    (name,) = [value for key, value in unit("trio-socketio.socket")["Socket"] if "Name" in key]
    script = f'exec 3<&{listener.fileno()}; export LISTEN_PID=$$; exec "$@"'
    command = [
        sys.executable,
        "-m",
        "trio_socketio",
        "serve",
        "--config",
        str(place.configure("a")),
    ]
    process = await trio.lowlevel.open_process(
        ["bash", "-c", script, "systemd", *command],
        pass_fds=[listener.fileno()],
        stderr=subprocess.PIPE,
        cwd=place.folder,
        env={**os.environ, "LISTEN_FDS": "1", "LISTEN_FDNAMES": name},
    )
    try:
        yield ServingProcess(process)
    finally:
        with trio.CancelScope(shield=True):
            process.kill()
            await process.wait()


@pytest.mark.req("DEPLOY-17")
@each_proxy
@pytest.mark.time_limit(120)
@trio_test
async def test_clients_wait_for_the_service_while_it_restarts(proxy: str, place: Place) -> None:
    answered = trio.Semaphore(0)
    with socket.create_server(("127.0.0.1", place.port), backlog=4096) as listener:
        async with open_proxy(proxy, place), trio.open_nursery() as clients:
            crowd = Crowd(place)
            async with activated(place, listener) as first:
                await first.wait_url()
                await crowd.grow(clients, 200)
                assert await first.end() == 0

            async def come() -> None:
                await ask(place, "/socket.io/?EIO=4&transport=polling")
                answered.release()

            async with trio.open_nursery() as newcomers:
                for _ in range(20):
                    newcomers.start_soon(come)
                await trio.sleep(1)  # they wait
                assert not answered.value
                async with activated(place, listener) as second:
                    await second.wait_url()
                    await crowd.wait_joined(200)
                    await crowd.check_all_answer()
                    for _ in range(20):
                        await answered.acquire()
                    assert {len(member.closes) for member in crowd.members} == {1}
                    clients.cancel_scope.cancel()
