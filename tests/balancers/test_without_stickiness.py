"""Three nodes behind nginx and HAProxy that know no sessions, with the files of the guide."""

import json
import re
import signal
from contextlib import AsyncExitStack
from pathlib import Path

import pytest
import trio
import trustme
from tests.balancers.balancing import ANY, BALANCERS, open_balancer
from tests.cli_process import ServingProcess, serving
from tests.cluster.balancer import open_balancer as open_round_robin
from tests.cluster.official_clients import JSONP, drive_all, named, short_row
from tests.cluster.test_without_stickiness import ROWS
from tests.cluster.three_nodes import open_nodes as open_apps
from tests.cluster_guide import FORWARDING, PREFIXES, TEXT, Ports, block, open_nodes
from tests.interop.drivers import SERVE
from tests.interop.lobby_clients import Clients, open_clients
from tests.interop.matrix import Family
from tests.interop.server_process import INTEROP_APP, free_port
from tests.redis_server import RedisServer
from tests.test_cli_services import get
from tests.wire import HttpClient
from trio.testing import trio_test

EACH = 3  # of each kind of client
KINDS = ("polling", "upgrade", "websocket", "polling2", "upgrade2", "websocket2", "jsonp")
OLD = {"TRIO_SOCKETIO__ENGINE__ALLOW_EIO3": "true", "TRIO_SOCKETIO__STOP__DELAY_S": "5"}
_OPEN = re.compile(r'^tsio_forwarding_open\{kind="\w+"\} (\S+)$', re.MULTILINE)

each_balancer = pytest.mark.parametrize("balancer", BALANCERS)


async def prefix_of(port: int) -> str:
    """The prefix of the sessions of a node, which has chosen it itself."""
    http = HttpClient(port)
    opened = await http.request("GET", "/socket.io/?EIO=4&transport=polling")
    await http.aclose()
    sid: str = json.loads(opened.text[1:])["sid"]
    return sid[:4]


async def passing_on(admin: int) -> int:
    """How many requests and WebSockets a node passes on to other nodes at present."""
    found = _OPEN.findall((await get(admin, "/metrics")).text)
    assert len(found) == 2
    return sum(int(float(number)) for number in found)


async def wait_ready(ports: Ports) -> None:
    """Wait until the nodes know one another, and are ready."""
    for admin in (9001, 9002, 9003):
        with trio.fail_after(10):
            while True:
                if (await get(ports[admin], "/readyz")).status == 200:
                    break
                await trio.sleep(0.05)


async def lose(
    clients: Clients, node: ServingProcess, own: set[int], passing: int, number: signal.Signals
) -> None:
    """End a node: its clients come back, and so do those whose bytes went over it; no others.

    While a node that was killed is dying, the balancer may send it requests of others; and nginx,
    when it is reloaded, may close connections that JSONP wants to use again.
    """
    clients.lost.clear()
    clients.reasons.clear()
    node.process.send_signal(number)
    await clients.wait(lambda: {*clients.lost} >= own)
    await clients.wait_joined()
    await clients.talk(f"after {number.name}")
    if number is signal.SIGTERM:
        assert len(clients.lost) <= len(own) + passing + EACH


async def take_out(nginx: trio.Process, folder: Path, port: int) -> None:
    """Have nginx send no more requests to a node: it does not ask whether nodes are ready."""
    file = folder / "round_robin.conf"
    server = f"server 127.0.0.1:{port}"
    text = file.read_text()
    assert f"{server};" in text
    assert "`down`" in TEXT
    file.write_text(text.replace(f"{server};", f"{server} down;"))
    nginx.send_signal(signal.SIGHUP)
    await trio.sleep(1)


@each_balancer
@pytest.mark.time_limit(120)
@trio_test
async def test_clients_of_every_kind_are_on_any_node(
    balancer: str, tmp_path: Path, redis_server: RedisServer
) -> None:
    ports = Ports(redis_server.port)
    async with open_nodes(tmp_path, ports, FORWARDING, **OLD) as nodes:
        await wait_ready(ports)
        prefixes = [await prefix_of(ports[port]) for port in (3001, 3002, 3003)]
        async with (
            open_balancer(balancer, ANY, tmp_path, ports) as process,
            open_clients(ports[3000], EACH, *KINDS) as clients,
        ):
            for place in clients.at.values():
                is_polling = place.kind in {"polling", "polling2", "jsonp"}
                assert place.transport == ("polling" if is_polling else "websocket")
            assert {place.prefix for place in clients.at.values()} == {*prefixes}
            for number in range(10):
                await clients.talk(f"round {number}")
            assert not clients.lost
            assert not clients.reasons
            assert sum([await passing_on(ports[admin]) for admin in (9001, 9002, 9003)]) > 0

            own = clients.on(prefixes[0])
            await lose(clients, nodes["a"], own, await passing_on(ports[9001]), signal.SIGKILL)
            assert not clients.on(prefixes[0])
            if balancer == "nginx":
                await take_out(process, tmp_path, ports[3002])
            own = clients.on(prefixes[1])
            await lose(clients, nodes["b"], own, await passing_on(ports[9002]), signal.SIGTERM)
            assert {place.prefix for place in clients.at.values()} == {prefixes[2]}


@each_balancer
@pytest.mark.time_limit(180)
@trio_test
async def test_official_clients(balancer: str, tmp_path: Path, redis_server: RedisServer) -> None:
    ports = Ports(redis_server.port)
    places = {"a": ports[3001], "b": ports[3002], "c": ports[3003]}
    serve = (*SERVE, "--allow-eio3")
    rows = [short_row(named(name), transport) for name, transport in ROWS]
    if balancer == "nginx":  # the file of the guide has the path of Socket.IO alone
        rows = [row for row in rows if row.client.family is not Family.ENGINE]
    rows.append(short_row(JSONP, "polling"))
    async with (
        open_apps(redis_server, tmp_path, INTEROP_APP, *serve, ports=places),
        open_balancer(balancer, ANY, tmp_path, ports),
    ):
        failures = await drive_all(f"http://127.0.0.1:{ports[3000]}", rows)
    assert not failures, "\n".join(failures)


@pytest.mark.time_limit(120)
@trio_test
async def test_the_secret_is_changed_step_by_step(
    tmp_path: Path, redis_server: RedisServer
) -> None:
    ports = Ports(redis_server.port)
    steps = re.findall(r"^\d\. `(secret_files = .*)`: ", TEXT, re.MULTILINE)
    assert len(steps) == 3
    async with open_nodes(tmp_path, ports, FORWARDING, **OLD) as nodes:
        await wait_ready(ports)
        async with (
            open_balancer("nginx", ANY, tmp_path, ports),
            open_clients(ports[3000], EACH, *KINDS) as clients,
        ):
            (tmp_path / "new.secret").write_text("another secret, which nobody has had until now")
            for number, step in enumerate(steps):
                text = block("toml", f"# {FORWARDING}")
                changed = re.sub(r"^secret_files = .*$", step, text, flags=re.MULTILINE)
                assert changed != text
                (tmp_path / FORWARDING).write_text(ports.put_into(changed))
                for node in nodes.values():
                    node.process.send_signal(signal.SIGHUP)
                    await node.wait_logged("reloaded")
                    await clients.talk(f"step {number} at {node.process.pid}")
            (tmp_path / "nodes.secret").unlink()
            async with open_clients(ports[3000], EACH, *KINDS) as newcomers:
                await newcomers.talk("the old secret is gone")
            assert not clients.lost
            assert not clients.reasons


@pytest.mark.time_limit(60)
@trio_test
async def test_nodes_that_know_one_another_by_tls(
    tmp_path: Path, redis_server: RedisServer
) -> None:
    authority = trustme.CA()
    authority.cert_pem.write_to_path(tmp_path / "nodes-ca.pem")
    issued = authority.issue_cert("127.0.0.1")
    issued.private_key_and_cert_chain_pem.write_to_path(tmp_path / "node.pem")
    (tmp_path / "tls.toml").write_text(block("toml", "# tls.toml"))
    places = {name: free_port() for name in PREFIXES}
    async with AsyncExitStack() as stack:
        for name, port in places.items():
            own = ("--config", "tls.toml", "--node", name, "--redis", redis_server.url)
            serve = serving(*own, "--internal", "127.0.0.1:0", cwd=tmp_path, port=port)
            await (await stack.enter_async_context(serve)).wait_port()
        balancer = await stack.enter_async_context(open_round_robin(places))
        async with open_clients(balancer.port, 3, "polling", "upgrade") as clients:
            await clients.talk("hello")
            assert not clients.reasons


@pytest.mark.time_limit(60)
@trio_test
async def test_the_nodes_of_the_manifest(tmp_path: Path, redis_server: RedisServer) -> None:
    """Its command starts a node, with what a pod has in place of what Kubernetes puts in."""
    manifest = block("yaml", "# nodes.yaml")
    (command,) = re.findall(r"^ +command: (\[.*\])$", manifest, re.MULTILINE)
    (arguments,) = re.findall(r"^ +args: (\[.*\])$", manifest, re.MULTILINE)
    admin, internal, port = free_port(), free_port(), free_port()
    (tmp_path / "nodes").write_text("a secret that is mounted into all of the pods")
    values = {
        "$(POD)": "socketio-1",
        "$(IP):9000": f"127.0.0.1:{admin}",
        "$(IP):4100": f"127.0.0.1:{internal}",
        "/secrets/nodes": str(tmp_path / "nodes"),
        "redis://redis:6379": redis_server.tcp_url,
    }
    started: list[str] = json.loads(command) + json.loads(arguments)
    assert started[:2] == ["trio-socketio", "serve"]
    own = started[2:]
    at = own.index("--port")
    assert own[at : at + 2] == ["--port", "3000"]
    del own[at : at + 2]
    own = [values.get(argument, argument) for argument in own]
    variables = dict(re.findall(r"name: (TRIO_\w+), value: \"(.*?)\"", manifest))
    assert len(variables) == 2
    async with serving(*own, cwd=tmp_path, port=port, variables=variables) as node:
        await node.wait_port()
        for path in re.findall(r"path: (/\w+), port: 9000", manifest):
            assert (await get(admin, path)).status == 200
        await (await trio.open_tcp_stream("127.0.0.1", internal)).aclose()
