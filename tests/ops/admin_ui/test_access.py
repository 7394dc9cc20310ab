"""Who gets into the namespace of the Admin UI, and how."""

import gc
import threading
from dataclasses import dataclass, field
from hashlib import sha256
from typing import Any

import pytest
import trio
from tests.ops.admin_ui.administrator import (
    LOGIN,
    PASSWORD,
    PASSWORD_HASH,
    instrument,
    open_admin,
    refusal,
    with_password,
)
from tests.socketio.serving import joined, serving, until
from trio.testing import trio_test

from trio_socketio import ConfigurationError, ConnectRefused, Server, Socket
from trio_socketio.errors import LocalProtocolError, OptionError, RedisUnavailable
from trio_socketio.ops.admin_ui import AdminUI, AdminUIOptions, credentials, entrance
from trio_socketio.ops.admin_ui.credentials import Password
from trio_socketio.ops.admin_ui.sessions import MAX_SESSIONS, MemorySessions, RedisSessions

INVALID = "invalid credentials"


@pytest.mark.req("AUI-02", "AUI-03")
@trio_test
async def test_a_session_that_began_with_the_password_lets_its_owner_in_again() -> None:
    server = Server()
    with_password(server)
    async with serving(server) as port:
        async with open_admin(port, LOGIN) as admin:
            (session_id,) = await admin.wait("session")
            await admin.wait("all_sockets")
        order = [
            one for one in admin.names() if one in ("CONNECT", "session", "config", "all_sockets")
        ]
        assert order == ["CONNECT", "session", "config", "all_sockets"]
        async with open_admin(port, {"sessionId": session_id}) as again:
            await again.wait("all_sockets")
        assert "session" not in again.names()
        assert await refusal(port, {"sessionId": session_id[:-1]}) == INVALID
        assert await refusal(port, {"sessionId": {"$ne": 1}}) == INVALID


@pytest.mark.req("AUI-05")
@pytest.mark.parametrize(
    "given",
    [
        None,
        {},
        {"username": "ops", "password": "wrong"},
        {"username": "OPS", "password": PASSWORD},
        {"username": "", "password": ""},
        {"username": "ops"},
        {"username": ["ops"], "password": PASSWORD},
        {"username": "ops", "password": {"a": 1}},
        {"username": "ops", "password": "\0"},
        {"username": "ops", "password": PASSWORD + "x" * 100},
        {"username": "\ud800", "password": "\ud800"},
    ],
)
@trio_test
async def test_nobody_else_gets_in(given: Any) -> None:
    server = Server()
    admin_ui = with_password(server)
    async with serving(server) as port:
        assert await refusal(port, given) == INVALID
        assert admin_ui.statistics().refused["credentials"] == 1
        assert not server.of("/admin").sockets


@pytest.mark.req("AUI-05", "AUI-07")
@trio_test
async def test_a_password_is_checked_in_a_thread_whatever_the_name(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    threads: list[int] = []

    def matches(password: bytes, hashed: bytes) -> bool:
        threads.append(threading.get_ident())
        return password == PASSWORD.encode()

    monkeypatch.setattr(credentials, "_find_bcrypt", lambda: matches)
    server = Server()
    with_password(server)
    async with serving(server) as port:
        assert await refusal(port, {"username": "nobody", "password": PASSWORD}) == INVALID
        async with open_admin(port, LOGIN):
            pass
    assert len(threads) == 2
    assert threading.get_ident() not in threads


def waiting(admin_ui: AdminUI) -> int:
    """How many passwords wait to be checked."""
    checks = admin_ui._entrance._checks
    return 0 if checks is None else checks.statistics().tasks_waiting


@pytest.mark.req("AUI-07")
@trio_test
async def test_few_passwords_are_checked_at_a_time(monkeypatch: pytest.MonkeyPatch) -> None:
    at_once: list[int] = []
    running = 0
    go_on = threading.Event()

    def matches(password: bytes, hashed: bytes) -> bool:
        nonlocal running
        running += 1
        at_once.append(running)
        go_on.wait(10)
        running -= 1
        return False

    monkeypatch.setattr(credentials, "_find_bcrypt", lambda: matches)
    monkeypatch.setattr(entrance, "MAX_WAITING", 2)
    server = Server()
    admin_ui = with_password(server, max_admins=100)
    told: list[str] = []

    async def ask(port: int) -> None:
        told.append(await refusal(port, LOGIN))

    async with serving(server) as port, trio.open_nursery() as nursery:
        for _ in range(4):
            nursery.start_soon(ask, port)
        await until(lambda: waiting(admin_ui) == 2)
        assert (await refusal(port, LOGIN)).startswith("too many passwords are being checked")
        go_on.set()
    assert told == [INVALID] * 4
    assert max(at_once) <= entrance.MAX_CHECKS == 2


@pytest.mark.req("AUI-08")
@trio_test
async def test_an_address_may_try_a_few_passwords_a_minute() -> None:
    server = Server()
    admin_ui = with_password(server, attempts_per_minute=3)
    async with serving(server) as port:
        for _ in range(3):
            assert await refusal(port, {"username": "ops", "password": "wrong"}) == INVALID
        refused = await refusal(port, LOGIN)
        assert refused == "too many attempts from your address: try again in 20 s"
        # To ask without a password costs nothing: the UI does so after each load.
        assert await refusal(port, {"sessionId": "0123456789abcdef"}) == INVALID
    assert admin_ui.statistics().refused == {"credentials": 4, "attempts": 1, "busy": 0, "full": 0}


@pytest.mark.req("AUI-08")
@pytest.mark.parametrize(
    ("one", "other", "is_shared"),
    [
        ("2001:db8:0:7::1", "2001:db8:0:7:ffff:1:2:3", True),
        ("2001:db8:0:7::1", "2001:db8:0:8::1", False),
        ("fe80::1%eth0", "fe80::2%eth1", True),
        ("::ffff:192.0.2.1", "192.0.2.1", True),
        ("::ffff:192.0.2.1", "::ffff:192.0.2.2", False),
        ("192.0.2.1", "192.0.2.2", False),
        ("a:proxy", "a:client", False),
        ("", "", True),
    ],
)
def test_a_network_of_ipv6_shares_its_attempts(one: str, other: str, is_shared: bool) -> None:
    assert (entrance._household(one) == entrance._household(other)) is is_shared


@pytest.mark.req("AUI-08")
@trio_test
async def test_another_address_of_the_network_has_no_attempts_of_its_own() -> None:
    judge = entrance.Entrance(
        credentials.NamedTokens((), FakeTokens()), MemorySessions(5.0, trio.current_time), 5, 1
    )
    answers = []
    for address in ("2001:db8::1", "2001:db8::2", "2001:db8:0:1::1"):
        with pytest.raises(ConnectRefused) as refused:
            await judge._judge(None, "ops", "wrong", address)
        answers.append(str(refused.value))
    assert [answer == INVALID for answer in answers] == [True, False, True]


def is_kept(secret: str) -> bool:
    """Whether any dictionary of the process has this text as a value."""
    gc.collect()
    dicts = [one for one in gc.get_objects() if type(one) is dict]
    return any(type(value) is str and value == secret for one in dicts for value in [*one.values()])


@pytest.mark.req("AUI-06")
@trio_test
async def test_nothing_keeps_the_password() -> None:
    server = Server()
    with_password(server)
    seen: list[Any] = []
    server.of("/admin").use(lambda socket: seen.append(dict(socket.handshake.auth)))
    secret = "".join(["a very ", "secret ", "password"])
    async with serving(server) as port:
        async with open_admin(port, {**LOGIN, "other": 1}):
            (socket,) = server.of("/admin").sockets.values()
            assert socket.handshake.auth == {"other": 1}
        assert await refusal(port, {"username": "ops", "password": secret}) == INVALID
        await until(lambda: not is_kept(secret))  # the joining may still be about to end
    assert seen == [{"other": 1}]


@pytest.mark.req("AUI-14")
@trio_test
async def test_no_more_administrators_than_allowed_are_there() -> None:
    server = Server()
    admin_ui = instrument(server, max_admins=1)
    async with serving(server) as port:
        async with open_admin(port):
            assert (await refusal(port, None)).startswith("too many administrators are connected")
            assert admin_ui.statistics().admins == 1
        await until(lambda: not server.of("/admin").sockets)
        async with open_admin(port):
            pass


@pytest.mark.req("AUI-14")
@trio_test
async def test_an_administrator_whom_middleware_turns_away_takes_no_place() -> None:
    server = Server()
    instrument(server, max_admins=1)
    allowed: list[bool] = []

    @server.of("/admin").use
    def judge(socket: Socket) -> None:
        if not allowed:
            raise ConnectRefused("not yet")

    async with serving(server) as port:
        assert await refusal(port, None) == "not yet"
        allowed.append(True)
        async with open_admin(port):
            pass


# -- tokens


@dataclass
class FakeToken:
    """A token of the control socket."""

    name: str
    secret: str
    methods: tuple[str, ...] = ("*",)

    @property
    def digest(self) -> bytes:
        return sha256(self.secret.encode()).digest()

    def allows(self, method: str) -> bool:
        return "*" in self.methods or method in self.methods


@dataclass
class FakeTokens:
    """All tokens."""

    tokens: list[FakeToken] = field(default_factory=list)

    def find(self, secret: str) -> FakeToken | None:
        return next((one for one in self.tokens if one.secret == secret), None)

    def grant_of(self, digest: bytes) -> FakeToken | None:
        return next((one for one in self.tokens if one.digest == digest), None)


OPERATOR = FakeToken("operator", "secret-of-the-operator")
LIMITED = FakeToken("limited", "secret-of-the-limited", ("rooms.join",))
BACKEND = FakeToken("backend", "secret-of-the-backend")


def with_tokens(server: Server, *tokens: FakeToken) -> AdminUI:
    options = AdminUIOptions(auth="token", tokens=("operator", "limited"))
    return AdminUI(server, options, tokens=FakeTokens([*tokens]))


@pytest.mark.req("AUI-30")
@trio_test
async def test_a_token_allows_what_its_methods_allow() -> None:
    server = Server()
    with_tokens(server, OPERATOR, LIMITED, BACKEND)
    async with serving(server) as port, joined(port, "websocket") as (_, socket_id):
        async with open_admin(port, {"username": "", "password": OPERATOR.secret}) as admin:
            (config,) = await admin.wait("config")
            assert "DISCONNECT" in config["supportedFeatures"]
        async with open_admin(port, {"username": "x", "password": LIMITED.secret}) as admin:
            (config,) = await admin.wait("config")
            await admin.wait("all_sockets")
            await admin.send("_disconnect", "/", True)
            await admin.send("join", "/", "room")
            await admin.wait_of("room_joined", "/", "room", socket_id)
            assert list(server.of("/").sockets) == [socket_id]
        wanted = ["JOIN", "MJOIN", "AGGREGATED_EVENTS", "ALL_EVENTS"]
        assert config == {"supportedFeatures": wanted}
        assert await refusal(port, {"username": "", "password": BACKEND.secret}) == INVALID
        assert await refusal(port, {"username": "", "password": "unknown"}) == INVALID


@pytest.mark.req("AUI-12")
@trio_test
async def test_whoever_has_a_token_that_is_gone_is_put_out() -> None:
    server = Server()
    admin_ui = with_tokens(server, OPERATOR, LIMITED)
    async with serving(server) as port:
        async with (
            open_admin(port, {"username": "", "password": OPERATOR.secret}) as one,
            open_admin(port, {"username": "", "password": LIMITED.secret}) as two,
        ):
            (session_id,) = await one.wait("session")
            (other_id,) = await two.wait("session")
            admin_ui.use_tokens(FakeTokens([FakeToken("limited", LIMITED.secret, ("emit",))]))
            await two.wait_of("socket_disconnected", "/admin", one.id)
            running = server._running
            assert running is not None
            await until(lambda: len(running.engine.sessions) == 1)  # its connection is gone, too
            await two.send("join", "/", "room")
            await two.send("emit", "/", None, "news")
            await until(lambda: admin_ui.statistics().commands == {"done": 1, "refused": 1})
        assert await refusal(port, {"sessionId": session_id}) == INVALID
        async with open_admin(port, {"sessionId": other_id}) as again:
            (config,) = await again.wait("config")
            assert config["supportedFeatures"][0] == "EMIT"


@pytest.mark.req("AUI-12")
@trio_test
async def test_a_token_that_changes_while_its_session_is_saved_counts_as_it_is_now() -> None:
    class ChangingRedis(FakeRedis):
        async def execute(self, *arguments: Any, timeout_s: float | None = None) -> Any:
            if arguments[0] == "SET":
                admin_ui.use_tokens(FakeTokens([FakeToken("limited", LIMITED.secret, ("emit",))]))
            return await super().execute(*arguments, timeout_s=timeout_s)

    server = Server()
    options = AdminUIOptions(auth="token", tokens=("limited",))
    tokens = FakeTokens([LIMITED])
    admin_ui = AdminUI(server, options, redis=ChangingRedis(), tokens=tokens)
    given = {"username": "", "password": LIMITED.secret}
    async with serving(server) as port, open_admin(port, given) as admin:
        (config,) = await admin.wait("config")
    assert config["supportedFeatures"][0] == "EMIT"


# -- sessions


@trio_test
async def test_sessions_in_memory_end_and_are_bounded() -> None:
    now = 0.0
    sessions = MemorySessions(10.0, lambda: now)
    await sessions.save("first", "a")
    for number in range(MAX_SESSIONS):
        await sessions.save(f"{number}", "b")
    assert await sessions.find("first") is None
    assert await sessions.find("0") == "b"
    now = 10.0
    assert await sessions.find("0") is None
    assert await sessions.find("0") is None


@dataclass
class FakeRedis:
    """Remembers what it is told."""

    values: dict[str, Any] = field(default_factory=dict)
    commands: list[tuple[Any, ...]] = field(default_factory=list)
    is_away: bool = False

    async def execute(self, *arguments: Any, timeout_s: float | None = None) -> Any:
        await trio.lowlevel.checkpoint()
        self.commands.append(arguments)
        if self.is_away:
            raise RedisUnavailable("Redis is away")
        if arguments[0] == "SET":
            self.values[arguments[1]] = arguments[2].encode()
            return b"OK"
        return self.values.get(arguments[1])


@pytest.mark.req("AUI-11", "AUI-12")
@trio_test
async def test_servers_share_sessions_in_redis(caplog: pytest.LogCaptureFixture) -> None:
    redis = FakeRedis()

    def make(password_hash: str) -> Server:
        server = Server()
        options = AdminUIOptions(auth="basic", username="ops", password_hash=password_hash)
        AdminUI(server, options, redis=redis)
        return server

    async with serving(make(PASSWORD_HASH)) as port:
        async with open_admin(port, LOGIN) as admin:
            (session_id,) = await admin.wait("session")
        (saved,) = [one for one in redis.commands if one[0] == "SET"]
        assert saved[1] == f"socket.io-admin#{session_id}"
        assert saved[3:] == ("EX", "86400")
        assert PASSWORD_HASH not in saved[2]
    redis.values["socket.io-admin#0123456789abcdef"] = b"true"  # as Node keeps it
    redis.values["socket.io-admin#odd"] = b"something else"
    redis.values["socket.io-admin#large"] = b"x" * 1000
    async with serving(make(PASSWORD_HASH)) as port:
        for known in (session_id, "0123456789abcdef"):
            async with open_admin(port, {"sessionId": known}):
                pass
        for unknown in ("odd", "large", "../x", "x" * 65, ""):
            assert await refusal(port, {"sessionId": unknown}) == INVALID
        redis.is_away = True
        assert await refusal(port, {"sessionId": session_id}) == INVALID
        async with open_admin(port, LOGIN):
            pass
        redis.is_away = False
    async with serving(make(PASSWORD_HASH.replace("$2b$", "$2a$"))) as port:  # another password
        assert await refusal(port, {"sessionId": session_id}) == INVALID
    assert "could not be looked up" in caplog.text
    assert "could not be kept" in caplog.text


@trio_test
async def test_redis_is_asked_for_a_short_time_only() -> None:
    class SlowRedis:
        async def execute(self, *arguments: Any, timeout_s: float | None = None) -> Any:
            assert timeout_s == 2.0
            await trio.lowlevel.checkpoint()
            raise TimeoutError

    assert await RedisSessions(SlowRedis(), 5.0).find("x") is None


@trio_test
async def test_anybody_who_has_sessions_looked_up_does_not_fill_the_log(
    caplog: pytest.LogCaptureFixture,
) -> None:
    sessions = RedisSessions(FakeRedis(is_away=True), 5.0)
    for number in range(1000):
        await sessions.find(str(number))
    assert 1 <= caplog.text.count("could not be looked up") < 100


@trio_test
async def test_that_everybody_is_let_in_is_said(caplog: pytest.LogCaptureFixture) -> None:
    for options in ({}, {"readonly": True}):
        server = Server()
        instrument(server, **options)
        async with serving(server):
            pass
    said = [one.message for one in caplog.records if "lets everybody in" in one.message]
    assert ["act on clients" in one for one in said] == [True, False]


# -- options


@pytest.mark.req("AUI-04")
@pytest.mark.parametrize(
    ("options", "fault"),
    [
        ({"auth": "basic"}, "needs password_hash"),
        ({"auth": "basic", "password_hash": PASSWORD_HASH}, "needs username"),
        ({"auth": "token"}, "needs tokens"),
        ({"auth": "digest"}, "expected one of none, basic, token"),
        ({"mode": "test"}, "expected one of development, production"),
        ({"namespace": "/"}, "expected the name of a namespace"),
        ({"namespace": "/a,b"}, "expected the name of a namespace"),
        ({"tokens": "operator"}, "expected a list of names"),
        ({"password_hash": "$2b$20$" + "a" * 53}, "must have a cost of 4 to 14"),
        ({"max_admins": 0}, "above zero"),
        ({"max_shown_characters": 10**9}, "must be 1 to"),
    ],
)
def test_options_that_cannot_be_used_are_refused(options: dict[str, Any], fault: str) -> None:
    with pytest.raises(OptionError, match=fault):
        AdminUIOptions(**options)


@pytest.mark.req("AUI-04")
def test_a_password_in_the_place_of_its_hash_is_not_shown() -> None:
    with pytest.raises(OptionError) as caught:
        AdminUIOptions(auth="basic", username="ops", password_hash="hunter2")
    assert "hunter2" not in str(caught.value)
    assert "expected a bcrypt hash" in str(caught.value)


def test_the_hashes_of_other_programs_are_read() -> None:
    for kind in ("$2a$", "$2b$", "$2y$"):
        password = Password("ops", PASSWORD_HASH.replace("$2b$", kind))
        assert password.check("ops", PASSWORD) is not None
    assert Password("ops", PASSWORD_HASH).grant_of("basic:other") is None


@pytest.mark.req("AUI-01")
def test_an_admin_ui_has_to_be_told_who_may_connect() -> None:
    with pytest.raises(ConfigurationError, match="set auth to basic or token"):
        AdminUI(Server(), AdminUIOptions())
    with pytest.raises(ConfigurationError, match="there are no tokens"):
        AdminUI(Server(), AdminUIOptions(auth="token", tokens=("operator",)))


def test_the_package_that_is_missing_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "bcrypt", None)
    with pytest.raises(ConfigurationError, match="trio-socketio\\[server\\]"):
        with_password(Server())


@trio_test
async def test_a_server_that_runs_gets_no_admin_ui() -> None:
    server = Server()
    async with serving(server):
        with pytest.raises(LocalProtocolError, match="is running"):
            instrument(server)
        assert "/admin" not in server.namespaces
