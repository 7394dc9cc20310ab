"""``serve`` with [identity]: an IM server, in which every user has a seat."""

from pathlib import Path
from signal import SIGHUP

import pytest
from trio.testing import trio_test

from tests.cli_process import run_cli, serving
from tests.test_cli_services import free_port, get
from tests.wire import open_client
from trio_socketio.codec.json_rpc import Code
from trio_socketio.control import open_control
from trio_socketio.errors import ControlError

IDENTITY = """
[identity]
tokens = [
    { user = "ann", token = "token-of-ann" },
    { user = "bob", token = "token-of-bob" },
    { user = "%s", token = "token-of-long" },
]
namespaces = [{ name = "/", methods = [] }, { name = "/chat", methods = ["static"] }]
""" % ("\N{SNOWMAN}" * 85)
ASKED = "is the name right?"
OWN = Path(__file__).parent / "apps" / "presence_app.py"


def write(folder: Path, *tables: str) -> Path:
    conf = folder / "conf.toml"
    conf.write_text("\n".join([IDENTITY, *tables]))
    return conf


@pytest.mark.req("PRES-62", "PRES-66", "PRES-67")
@trio_test
async def test_a_file_with_identity_makes_an_im_server(tmp_path: Path) -> None:
    admin = free_port()
    conf = write(
        tmp_path,
        f'[control]\nlisten = ["unix:{tmp_path}/run/c.sock"]',
        f'[admin]\nlisten = "127.0.0.1:{admin}"',
    )
    async with serving("--config", str(conf)) as server:
        port = await server.wait_port()
        async with open_client(port) as old, open_client(port) as new, open_client(port) as other:
            await old.connect("/")  # which is open, and has no lobby
            await old.emit("list", ack_id=1)
            await old.connect("/chat", {"token": "token-of-ann"})
            await new.connect("/chat", {"token": "token-of-ann"})
            assert await old.receive_event("/chat") == ["session/replaced", {"reason": "replaced"}]
            assert await old.receive() == ("1/chat,", [])
            # Whoever identity admits can take a seat.
            await other.connect("/chat", {"token": "token-of-long"})
            metrics = (await get(admin, "/metrics")).text
            for line in (
                'tsio_presence_users{namespace="/chat"} 2.0',
                'tsio_presence_events_total{type="moved"} 1.0',
                "tsio_presence_replaced_total 1.0",
                "tsio_presence_lingering 0.0",
            ):
                assert line in metrics
        assert await server.end() == 0
    log = "\n".join(server.log)
    assert "there is no app: backends talk with the clients in /, /chat" in log
    assert "presence: wherever identity is asked for, a user has one seat, which the newest" in log
    ends = [log.index(part) for part in ("presence has ended", "ending the services")]
    assert ends == sorted(ends)


@pytest.mark.req("PRES-68", "FEED-06")
@trio_test
async def test_clients_bring_namespaces_into_being_whose_names_fit(tmp_path: Path) -> None:
    place = f"unix:{tmp_path}/run/c.sock"
    conf = write(
        tmp_path,
        f'[control]\nlisten = ["{place}"]',
        '[presence]\nnamespaces = [{ name = "/team-*", policy = "reject" }]',
        "[sockets]\nmax_dynamic_namespaces = 1",
    )
    async with serving("--config", str(conf)) as server:
        port = await server.wait_port()
        async with open_client(port) as ann, open_client(port) as twin, open_control(place) as raw:
            # The names that clients may ask for are those that backends may ask about.
            for name in ("/teem-1", "/nope", "/team"):
                for method in ("presence.count", "presence.subscribe"):
                    with pytest.raises(ControlError) as failed:
                        await raw.call(method, {"namespace": name})
                    assert failed.value.code == Code.NOT_FOUND
                with pytest.raises(AssertionError, match="Invalid namespace"):
                    await ann.connect(name, {"token": "token-of-ann"})
            count = {"namespace": "/team-1"}
            assert (await raw.call("presence.count", count))["users"] == 0
            await ann.connect("/team-1", {"token": "token-of-ann"})
            assert (await raw.call("presence.count", count))["users"] == 1
            with pytest.raises(AssertionError, match="already connected"):
                await twin.connect("/team-1", {"token": "token-of-ann"})
            with pytest.raises(AssertionError, match="Too many namespaces"):
                await ann.connect("/team-2", {"token": "token-of-ann"})
        assert await server.end() == 0
    assert "backends talk with the clients in /, /chat, /team-*" in "\n".join(server.log)


@pytest.mark.req("HOOK-24")
@trio_test
async def test_a_misspelt_namespace_is_a_warning(tmp_path: Path) -> None:
    (tmp_path / "secret").write_text("s" * 32)
    told = "[presence] webhook names /caht, but neither the app nor another option does"
    table = "\n".join(
        (
            "[presence]",
            'namespaces = [{ name = "/team-*" }]',
            'watch = [{ namespace = "/nope" }, { namespace = "/orders" }]',
            "[presence.webhook]",
            'url = "http://127.0.0.1:9/"',
            f'secret_file = "{tmp_path}/secret"',
            'namespaces = ["/caht", "/chat", "/team-1"]',
            "[control]",
            f'listen = ["unix:{tmp_path}/run/c.sock"]',
            'backends.forward = [{ namespace = "orders" }]',
        )
    )
    conf = write(tmp_path, table)
    ended = run_cli("check-config", str(conf))
    lines = [line for line in ended.stderr.splitlines() if ASKED in line]
    assert [line.partition(" names ")[2].partition(",")[0] for line in lines] == ["/caht", "/nope"]
    assert told in lines[0]
    app = "from trio_socketio import Server\ndef create(options):\n    sio = Server(options)\n"
    (tmp_path / "app.py").write_text(f"{app}    sio.of('/chat')\n    return sio\n")
    served = f'[app]\nspec = "{tmp_path}/app.py"'
    for tables, strangers in (((), 2), ((served,), 3)):  # the app has no /team-1
        async with serving("--config", str(write(tmp_path, table, *tables))) as server:
            await server.wait_url()
            assert await server.end() == 0
        lines = [line for line in server.log if ASKED in line]
        assert len(lines) == strangers
        assert told in lines[0]


@pytest.mark.req("HOOK-33")
@trio_test
async def test_clients_of_watched_rooms_are_told_who_comes_and_goes(tmp_path: Path) -> None:
    place = f"unix:{tmp_path}/run/c.sock"
    conf = write(
        tmp_path,
        f'[control]\nlisten = ["{place}"]',
        '[presence]\nwatch = [{ namespace = "/chat", rooms = "team-*" }]',
    )
    async with serving("--config", str(conf)) as server:
        port = await server.wait_port()
        async with open_client(port) as ann, open_control(place) as control:
            await ann.connect("/chat", {"token": "token-of-ann"})
            async with open_client(port) as bob:
                await bob.connect("/chat", {"token": "token-of-bob"})
                for user in ("ann", "bob"):
                    call = {"namespace": "/chat", "rooms": ["team-1", "other"], "users": [user]}
                    await control.call("rooms.join", call)
                joined = [await ann.receive_event("/chat") for _ in range(2)]
                assert sorted(told["user"] for _, told in joined) == ["ann", "bob"]
                assert all(
                    told == {"room": "team-1", "type": "joined", "user": told["user"]}
                    for _, told in joined
                )
            left = {"room": "team-1", "type": "left", "user": "bob"}
            assert await ann.receive_event("/chat") == ["presence/room", left]
        assert await server.end() == 0


@pytest.mark.req("PRES-64")
@trio_test
async def test_a_reload_changes_what_can_be_changed(tmp_path: Path) -> None:
    recovery = "[recovery]\nenabled = true\nmax_disconnection_s = 60.0"
    conf = write(tmp_path, '[presence]\npolicy = "many"\nmaximum = 1', recovery)
    async with serving("--config", str(conf)) as server:
        port = await server.wait_port()
        async with open_client(port) as a, open_client(port) as b, open_client(port) as c:
            await a.connect("/chat", {"token": "token-of-ann"})
            with pytest.raises(AssertionError, match="too many"):
                await b.connect("/chat", {"token": "token-of-ann"})
            write(tmp_path, '[presence]\npolicy = "many"\nmaximum = 2\nlinger_s = 3.0', recovery)
            server.process.send_signal(SIGHUP)
            await server.wait_logged("reloaded [presence] linger_s: 0.0 -> 3.0")
            await c.connect("/chat", {"token": "token-of-ann"})
            for table, told in (
                ('policy = "reject"', '[presence] policy: "many" -> "reject" needs a restart'),
                ("linger_s = 90.0", "nothing was reloaded"),
                ("maximum = 3", "maximum: has no effect without the policy many"),
                ("max_events = 5", "[presence] max_events: 100000 -> 5 needs a restart"),
                ('namespaces = [{ name = "/chat", policy = "none" }]', "[presence] namespaces: []"),
            ):
                write(tmp_path, f"[presence]\n{table}", recovery)
                server.process.send_signal(SIGHUP)
                await server.wait_logged(told)
        assert await server.end() == 0


@pytest.mark.req("PRES-86", "PRES-87")
@trio_test
async def test_a_revoked_user_is_offline_at_once(tmp_path: Path) -> None:
    control = f"unix:{tmp_path}/run/c.sock"
    conf = write(
        tmp_path,
        f'[control]\nlisten = ["{control}"]',
        "[recovery]\nenabled = true\nmax_disconnection_s = 60.0",
        "[presence]\nlinger_s = 30.0",
    )
    async with serving("--config", str(conf)) as server:
        port = await server.wait_port()
        async with open_control(control) as backend:
            async with open_client(port) as lost:
                await lost.connect("/chat", {"token": "token-of-ann"})
            assert (await backend.call("presence.count", {"namespace": "/chat"}))["users"] == 1
            assert (await backend.call("auth.revoke", {"user": "ann"}))["done"] == 1
            async with open_client(port) as client:
                await client.connect("/chat", {"token": "token-of-bob"})
                assert (await backend.call("auth.revoke", {"user": "bob"}))["done"] == 1
            assert (await backend.call("presence.count", {"namespace": "/chat"}))["users"] == 0
            assert await backend.call("auth.unrevoke", {"user": "ann"}) == {"done": True}
            async with open_client(port) as client:
                await client.connect("/chat", {"token": "token-of-ann"})
        assert await server.end() == 0


@pytest.mark.req("PRES-63")
@trio_test
async def test_the_seats_of_an_app_are_its_own(tmp_path: Path) -> None:
    (tmp_path / "app.py").write_text(
        "from trio_socketio import Server\n"
        "from trio_socketio.im.presence import Presence\n"
        "def create(options):\n"
        "    sio = Server(options)\n"
        "    Presence(sio).seat('/chat', policy='reject')\n"
        "    sio.of('/free')\n"
        "    return sio\n"
    )
    app = f'[app]\nspec = "{tmp_path}/app.py:create"'
    for table in ('policy = "newest"', "linger_s = 9.0", 'namespaces = [{ name = "/chat" }]'):
        ended = run_cli("serve", "--config", str(write(tmp_path, app, f"[presence]\n{table}")))
        assert ended.returncode == 2
        assert "[presence] " + table.partition(" ")[0] + " and the app contradict" in ended.stderr
    async with serving("--config", str(write(tmp_path, app, "[listen]\nport = 0"))) as server:
        port = await server.wait_port()
        async with open_client(port) as a, open_client(port) as b:
            for client in (a, b):
                await client.connect("/free", {"token": "token-of-ann"})
            await a.connect("/chat", {"token": "token-of-ann"})
            with pytest.raises(AssertionError, match="already connected"):
                await b.connect("/chat", {"token": "token-of-ann"})
            write(tmp_path, app, '[listen]\nport = 0\n[presence]\npolicy = "newest"')
            server.process.send_signal(SIGHUP)
            await server.wait_logged("and the app contradict each other")
        assert await server.end() == 0


@pytest.mark.req("PRES-63")
def test_the_store_of_an_app_is_its_own(tmp_path: Path) -> None:
    (tmp_path / "app.py").write_text(
        "from trio_socketio import Server\n"
        "from trio_socketio.im.presence import MemoryStore, Presence\n"
        "sio = Server()\n"
        "Presence(sio, MemoryStore()).seat('/chat')\n"
    )
    app = f'[app]\nspec = "{tmp_path}/app.py"'
    for table in ('store = "memory"', "max_events = 9", "lease_s = 9.0", 'outage = "available"'):
        ended = run_cli("serve", "--config", str(write(tmp_path, app, f"[presence]\n{table}")))
        assert ended.returncode == 2
        told = "and the app contradict each other, because the app has a Presence(server) with a"
        assert f"[presence] {table.partition(' ')[0]} {told} store" in ended.stderr


@pytest.mark.req("PRES-88")
@trio_test
async def test_a_presence_without_a_store_is_kept_as_the_configuration_says(
    tmp_path: Path,
) -> None:
    (tmp_path / "app.py").write_text(
        "import logging\n"
        "from trio_socketio import Server\n"
        "from trio_socketio.im.presence import Presence\n"
        "sio = Server()\n"
        "presence = Presence(sio)\n"
        "presence.seat('/chat', policy='many', maximum=9)\n"
        "@sio.of('/chat').on('ask')\n"
        "async def ask(socket):\n"
        "    store = presence.store\n"
        "    present = await store.snapshot('/chat')\n"
        "    begin = type(present.cursor)(present.cursor.generation, 0)\n"
        "    first = await store.read('/chat', begin, 1)\n"
        "    return [present.users['ann'][0].node, type(first).__name__]\n"
    )
    tables = (
        f'[app]\nspec = "{tmp_path}/app.py"',
        "[presence]\nmax_events = 1",
        '[cluster]\nnode = "a"',
    )
    async with serving("--config", str(write(tmp_path, *tables))) as server:
        port = await server.wait_port()
        async with open_client(port) as one, open_client(port) as two:
            await one.connect("/chat", {"token": "token-of-ann"})
            await two.connect("/chat", {"token": "token-of-ann"})
            await one.emit("ask", namespace="/chat", ack_id=1)
            assert await one.receive() == ('3/chat,1[["a","CursorExpired"]]', [])
        assert await server.end() == 0


@pytest.mark.parametrize(
    ("table", "told"),
    [
        ('policy = "most"', "[presence] policy: expected 'newest' or 'reject'"),
        ('policy = "many"', "[presence] policy: many needs a maximum"),
        ("maximum = 3", "[presence] maximum: has no effect without the policy many"),
        ("linger_s = 3.0", "[presence] linger_s has no effect without [recovery] enabled"),
        ('namespaces = [{ name = "/" }]', "[presence] namespaces: / can have no seats"),
        ('namespaces = [{ name = "chat" }]', "namespaces[0] name: expected the name of a"),
    ],
)
def test_check_config_tells_what_is_wrong(tmp_path: Path, table: str, told: str) -> None:
    ended = run_cli("check-config", str(write(tmp_path, f"[presence]\n{table}")))
    assert told in ended.stdout + ended.stderr


@pytest.mark.req("CFG-34")
def test_presence_cannot_be_kept_in_a_redis_that_is_not_there(tmp_path: Path) -> None:
    ended = run_cli("check-config", str(write(tmp_path, '[presence]\nstore = "redis"')))
    assert ended.returncode == 2
    assert "[presence] store is redis, but there is none: set [redis] url, or" in ended.stderr
    redis = '[redis]\nurl = "redis://127.0.0.1"'
    assert run_cli("check-config", str(write(tmp_path, redis))).returncode == 0


@pytest.mark.req("CFG-35")
@pytest.mark.parametrize(
    ("redis", "table", "told"),
    [
        ("", "lease_s = 5.0", "lease_s has no effect without [redis] url"),
        ("", 'outage = "available"', "outage has no effect without [redis] url"),
        ("url", "max_bytes = 9", "max_bytes has no effect: presence is kept in Redis, where"),
        ("url", "lease_s = 5.0", None),
        ("url", "lease_s = 10.0\nmax_bytes = 67108864", None),
        ("url", 'store = "memory"\nmax_bytes = 9', None),
        (
            "url",
            'store = "memory"\nlease_s = 5.0',
            "lease_s has no effect beside [presence] store = memory: nodes have leases only if",
        ),
        (
            "url",
            'store = "memory"\noutage = "available"',
            "outage has no effect beside [presence] store = memory: the memory of a node",
        ),
    ],
)
def test_options_of_another_store_have_no_effect(
    tmp_path: Path, redis: str, table: str, told: str | None
) -> None:
    tables = (f'[control]\nlisten = ["unix:{tmp_path}/run/c.sock"]', f"[presence]\n{table}")
    server = (f'[redis]\n{redis} = "redis://127.0.0.1"',) if redis else ()
    ended = run_cli("check-config", str(write(tmp_path, *tables, *server)))
    assert ended.returncode == 0
    if told is None:
        assert ended.stderr == ""
    else:
        assert f"[presence] {told}" in ended.stderr
        assert ended.stderr.count("\n") == 1


@pytest.mark.req("PRES-66")
def test_clients_need_somebody_to_talk_to(tmp_path: Path) -> None:
    ended = run_cli("check-config", str(write(tmp_path)))
    assert "there is neither an app nor a control socket: set [app] spec" in ended.stderr
    control = f'[control]\nlisten = ["unix:{tmp_path}/run/c.sock"]'
    for table in (control, f'[app]\nspec = "{OWN}:create"'):
        ended = run_cli("check-config", str(write(tmp_path, table)))
        assert (ended.returncode, ended.stderr) == (0, "")


def test_seats_need_identity(tmp_path: Path) -> None:
    conf = tmp_path / "conf.toml"
    conf.write_text('[presence]\npolicy = "reject"\n')
    ended = run_cli("check-config", str(conf))
    assert "[presence] policy has no effect without [identity] jwt" in ended.stderr


@pytest.mark.req("PRES-65")
@trio_test
async def test_the_log_says_that_clients_are_offline_before_anything_else_ends(
    tmp_path: Path,
) -> None:
    (tmp_path / "app.py").write_text(
        "import logging\n"
        "from trio_socketio import Server\n"
        "from trio_socketio.im.presence import presence_of\n"
        "def create(options):\n"
        "    sio = Server(options)\n"
        "    sio.of('/chat')\n"
        "    @sio.lifespan\n"
        "    async def lifespan(sio):\n"
        "        yield\n"
        "        store = presence_of(sio).store\n"
        "        online = (await store.count('/chat')).users\n"
        "        logging.warning('online %d, events %s', online, dict(store.written))\n"
        "    return sio\n"
    )
    app = f'[app]\nspec = "{tmp_path}/app.py:create"\n[listen]\nport = 0'
    control = f'[control]\nlisten = ["unix:{tmp_path}/run/c.sock"]'
    async with serving("--config", str(write(tmp_path, app, control))) as server:
        port = await server.wait_port()
        async with open_client(port) as client:
            await client.connect("/chat", {"token": "token-of-ann"})
            assert await server.end() == 0
    log = "\n".join(server.log)
    ends = ["online 0, events {'online': 1, 'offline': 1}", "ending the services "]
    assert [log.index(part) for part in ends] == sorted(log.index(part) for part in ends)
