"""Options out of a file, the environment and flags: what they come to, and every error."""

from ipaddress import IPv4Network, IPv6Network
from pathlib import Path
from typing import Any, Final, Literal

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from trio_socketio.configuration.checks import find_idle
from trio_socketio.configuration.conversion import convert
from trio_socketio.configuration.environment import PREFIX, plain_value, read_environment
from trio_socketio.configuration.kinds import find_kind
from trio_socketio.configuration.loading import Loaded, Sources, load
from trio_socketio.configuration.settings import Faults, Setting, Settings, merge, read_file
from trio_socketio.configuration.tables import TABLES, Place, Tables, options_of
from trio_socketio.configuration.text import MASK, effective_text, toml_value
from trio_socketio.engine.options import Cookie
from trio_socketio.errors import ConfigurationError, OptionError
from trio_socketio.http.options import HttpCompression
from trio_socketio.option_checks import OptionGroup


class Token(OptionGroup, frozen=True, kw_only=True):
    """A token of the tests."""

    _secret = frozenset(("value",))

    name: str
    value: str | None = None
    methods: tuple[str, ...] = ()


class Guarded(OptionGroup, frozen=True, kw_only=True):
    """A group with what the groups of this branch do not have: secrets, tables, lists of tables."""

    _secret = frozenset(("password",))
    _reloadable = frozenset(("levels",))

    password: str | None = None
    levels: dict[str, str] = msgspec.field(default_factory=dict)
    tokens: tuple[Token, ...] = ()

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.password is not None and len(self.password) < 4:
            raise OptionError("password", f"is too short: {self.password}")
        if "all" in self.levels and len(self.levels) > 1:
            raise ConfigurationError("all stands alone")


GUARDED: Final[Tables] = {"guarded": Guarded}


def write(folder: Path, text: str) -> Path:
    path = folder / "conf.toml"
    path.write_text(text, encoding="utf-8")
    return path


def loaded(
    file: Path | None = None, environment: dict[str, str] | None = None, **flags: Any
) -> Loaded:
    line: Settings = {
        tuple(name.split("__")): Setting(value, f"--{name}", f"--{name}")
        for name, value in flags.items()
    }
    return load(Sources(file, environment or {}, line, {}))


def faults(file: Path | None = None, environment: dict[str, str] | None = None) -> tuple[str, ...]:
    with pytest.raises(Faults) as caught:
        loaded(file, environment)
    return caught.value.faults


def guarded(settings: Settings, found: list[str]) -> Any:
    return convert(settings, GUARDED, found)["guarded"]


# -- precedence


@pytest.mark.req("CFG-01")
def test_the_command_line_overrides_the_environment_and_that_the_file(tmp_path: Path) -> None:
    file = write(
        tmp_path,
        "[engine]\nping_interval_s = 1\nping_timeout_s = 1\nupgrade_timeout_s = 1\n"
        '[cors]\norigins = ["https://a.example"]\n',
    )
    environment = {
        f"{PREFIX}ENGINE__PING_TIMEOUT_S": "2",
        f"{PREFIX}ENGINE__UPGRADE_TIMEOUT_S": "2",
        f"{PREFIX}CORS__ORIGINS": "https://b.example",
        "UNRELATED": "1",
    }
    configuration, settings = loaded(file, environment, engine__upgrade_timeout_s=3)
    engine = configuration.engine
    assert (engine.ping_interval_s, engine.ping_timeout_s, engine.upgrade_timeout_s) == (1, 2, 3)
    assert configuration.cors.origins == ("https://b.example",)
    assert settings["engine", "ping_interval_s"].origin == str(file)


@pytest.mark.req("CFG-01")
def test_options_within_an_option_are_overridden_one_by_one(tmp_path: Path) -> None:
    file = write(tmp_path, '[engine.cookie]\nname = "a"\nhttp_only = false\n')
    name = f"{PREFIX}ENGINE__COOKIE"
    cookie = loaded(file, {f"{name}__NAME": "b"}).configuration.engine.cookie
    assert cookie == Cookie(name="b", http_only=False)
    cookie = loaded(file, {name: "true"}).configuration.engine.cookie
    assert cookie == Cookie(name="a", http_only=False)
    assert loaded(file, {name: "false"}).configuration.engine.cookie is None
    cookie = loaded(file, {name: "false"}, engine__cookie__name="c").configuration.engine.cookie
    assert cookie == Cookie(name="c")


places: st.SearchStrategy[Place] = st.tuples(st.just("t"), st.sampled_from("ab")) | st.tuples(
    st.just("t"), st.sampled_from("ab"), st.sampled_from("xy")
)


@given(st.lists(st.dictionaries(places, st.integers(), max_size=3), max_size=3))
def test_no_setting_stands_above_another(layers: list[dict[Place, int]]) -> None:
    sources = [
        {place: Setting(value, "", "") for place, value in layer.items()} for layer in layers
    ]
    merged = merge(*sources)
    assert not [place for place in merged if len(place) == 3 and place[:2] in merged]
    assert set(merged) <= {place for layer in layers for place in layer}
    assert {place[:2] for place in merged} == {place[:2] for layer in layers for place in layer}


@pytest.mark.req("CFG-06")
def test_only_what_is_given_overrides_an_app(tmp_path: Path) -> None:
    file = write(
        tmp_path, '[cors]\ncredentials = false\n[engine]\ncookie.name = "x"\n[listen]\nport = 1\n'
    )
    assert loaded(file).given() == {"cors_credentials": False, "cookie": Cookie(name="x")}


# -- errors


@pytest.mark.req("CFG-02", "CFG-03")
@pytest.mark.parametrize(
    ("text", "fault"),
    [
        ("[engin]", "unknown table [engin]; did you mean [engine]?"),
        ("[weather]", "unknown table [weather]"),
        ("port = 1", "port stands outside the tables; it belongs in [listen]"),
        ("engine = 1", "engine is a table, so its options stand below a line that reads [engine]"),
        ("weather = 1", "unknown option weather outside the tables"),
        (
            "listen = 1",
            "listen is a table, so its options stand below a line that reads [listen]",
        ),
        ("[[listen]]\nport = 1", "there is one table listen: write [listen], not [[listen]]"),
        ("[[listen]]\n[[listen]]", "there is one table listen: write [listen], not [[listen]]"),
        (
            "[control.tokens]\nname = 'a'",
            "expected a list, each item of which is a table; write [[control.tokens]]",
        ),
        (
            "[control]\nlisten = 'unix:/x'",
            "[control] listen: expected a list, each item of which is text, not 'unix:/x'; write "
            "['unix:/x']",
        ),
        (
            "[control]\nlisten = ['unix:~/x']",
            "[control] listen: 'unix:~/x': write the whole path, as ~ is not expanded here",
        ),
        (
            "[listen]\nport = 2024-01-02",
            "[listen] port: expected a whole number, not 2024-01-02",
        ),
        (
            "[engine]\nping_intervall_s = 1",
            "[engine] ping_intervall_s: unknown option; did you mean ping_interval_s?",
        ),
        ("[engine]\nweather = 1", "[engine] weather: unknown option"),
        ("[runtime]\ndeadline_slack_s = 1", "[runtime] deadline_slack_s: unknown option"),
        ("[engine.cookie]\nnmae = 'x'", "[engine.cookie] nmae: unknown option; did you mean name?"),
        (
            "[engine]\nping_interval_s = 'x'",
            "[engine] ping_interval_s: expected a number, not 'x'",
        ),
        (
            "[engine]\nping_interval_s = true",
            "[engine] ping_interval_s: expected a number, not true",
        ),
        ("[engine]\nping_interval_s = 0", "[engine] ping_interval_s: must be above zero, not 0.0"),
        ("[listen]\nport = 1.5", "[listen] port: expected a whole number, not 1.5"),
        ("[listen]\nport = 65536", "[listen] port: must be 0 to 65535, not 65536"),
        (
            "[listen]\nhost = 'all'",
            "[listen] host: expected a list, each item of which is text, not 'all'",
        ),
        ("[listen]\nfds = [-1]", "[listen] fds: descriptors are 0 or more, not [-1]"),
        ("[listen]\nhost = []", "[listen] host: expected at least one name or address, and none"),
        (
            "[listen]\nunix = 5",
            "[listen] unix: expected the path of a file or folder, or false for none, not 5",
        ),
        (
            "[engine]\nallow_upgrades = 1",
            "[engine] allow_upgrades: expected true or false, not 1",
        ),
        ("[engine]\npath = {a = 1}", "[engine.path] a: expected text, not {'a': 1}"),
        ("[engine]\ncookie = 'x'", "[engine] cookie: expected a table, or false for none"),
        (
            "[http]\ntrusted_proxies = ['10.0.0.1/8']",
            "[http] trusted_proxies: expected a list, each item of which is a network such as "
            "\"10.0.0.0/8\", not ['10.0.0.1/8'] (10.0.0.1/8 has host bits set)",
        ),
        ("[http]\ntrusted_proxies = [1]", "[http] trusted_proxies: expected a list, each item"),
        (
            "[engine]\ncookie = {same_site = 'none'}",
            "[engine.cookie] same_site: browsers accept such a cookie only with secure = true",
        ),
        (
            "[engine]\nping_timeout_s = 2147483",
            "[engine] ping_timeout_s: ping_interval_s must be at most 2147483 together with",
        ),
        (
            "[log]\nlevel = 'loud'",
            "[log] level: expected debug, info, warning or error, not 'loud'",
        ),
        (f"[engine]\npath = '{'x' * 500}'", "[engine] path: must be an absolute URL path, not 'x"),
        (f"[engine]\nallow_upgrades = '{'x' * 500}'", f"not '{'x' * 79}..."),
    ],
)
def test_an_error_names_the_file_the_option_and_what_is_expected(
    tmp_path: Path, text: str, fault: str
) -> None:
    file = write(tmp_path, text)
    (told,) = faults(file)
    assert told.startswith(f"{file}: ")
    assert fault in told
    assert "\n" not in told


@pytest.mark.req("CFG-08")
def test_files_that_cannot_be_read(tmp_path: Path) -> None:
    missing = tmp_path / "missing.toml"
    assert faults(missing) == (f"{missing}: cannot be read: No such file or directory",)
    assert faults(tmp_path) == (f"{tmp_path}: cannot be read: Is a directory",)
    (told,) = faults(write(tmp_path, "[engine\n"))
    assert told.startswith(f"{tmp_path / 'conf.toml'}: is not TOML: ")
    assert "line 1" in told
    (told,) = faults(write(tmp_path, "a = " + "[" * 100_000))
    assert told.endswith("is nested too deeply")
    (told,) = faults(write(tmp_path, "#" * (1 << 20) + "\n"))
    assert told.endswith("is larger than 1048576 bytes")
    (told,) = faults(write(tmp_path, "[listen]\nport = 1\n[listen]\nport = 2\n"))
    assert told.partition(": ")[2].startswith(
        "is not TOML: Cannot declare [listen] twice (at line 3"
    )
    (told,) = faults(write(tmp_path, "[engine.cookie]\n[engine.cookie]\n"))
    assert "is not TOML: Cannot declare [engine.cookie] twice" in told
    (tmp_path / "conf.toml").write_bytes(b"\xff")
    (told,) = faults(tmp_path / "conf.toml")
    assert told.endswith("is not text in UTF-8")


def test_a_file_may_begin_with_the_mark_that_editors_on_windows_write(tmp_path: Path) -> None:
    (tmp_path / "conf.toml").write_bytes(b"\xef\xbb\xbf[listen]\r\nport = 1\r\n")
    assert loaded(tmp_path / "conf.toml").configuration.listen.port == 1


@pytest.mark.req("CFG-03")
@pytest.mark.parametrize("depth", [20, 200, 900, 5000])
@pytest.mark.parametrize(
    "form", ["path = {0}1{1}", "cookie = {0}1{1}", "{2}a = 1", "path = {3}1{4}"]
)
def test_what_is_nested_deeply_is_an_error_like_any_other(
    tmp_path: Path, depth: int, form: str
) -> None:
    nested = ("[" * depth, "]" * depth, "a." * depth, "{a=" * depth, "}" * depth)
    (told,) = faults(write(tmp_path, "[engine]\n" + form.format(*nested)))
    assert len(told) < 400
    (told,) = faults(None, {f"{PREFIX}LISTEN__HOST": nested[0] + nested[1]})
    assert len(told) < 400
    table = '{"a":' * depth + "1" + "}" * depth
    (told,) = faults(None, {f"{PREFIX}ENGINE__COOKIE": table})
    assert len(told) < 400
    settings, found = read_environment({f"{PREFIX}GUARDED__TOKENS": f"[{table}]"}, GUARDED)
    guarded(settings, found)
    assert len(found) == 1


@pytest.mark.req("CFG-10")
def test_all_errors_are_told_at_once(tmp_path: Path) -> None:
    file = write(
        tmp_path,
        "[engin]\n[engine]\nping_interval_s = 'x'\npath = 'y'\ntransports = []\nnonsense = 1\n"
        "[listen]\nport = 99999\n",
    )
    told = faults(file, {f"{PREFIX}STOP__GRACE": "1", f"{PREFIX}STOP__DELAY_S": "-1"})
    assert [fault.partition(": ")[2] for fault in told] == [
        "unknown table [engin]; did you mean [engine]?",
        "unknown option; did you mean grace_s?",
        "[listen] port: must be 0 to 65535, not 99999",
        "[engine] nonsense: unknown option",
        "[engine] ping_interval_s: expected a number, not 'x'",
        "[engine] path: must be an absolute URL path, not 'y'",
        "[engine] transports: must name at least one transport",
        "must be zero or more, not -1.0",
    ]
    with pytest.raises(Faults, match=rf"and 5 more; trio-socketio check-config {file} lists all"):
        loaded(file)


@pytest.mark.req("CFG-10")
def test_what_follows_from_another_error_is_not_told(tmp_path: Path) -> None:
    cookie = "[engine.cookie]\nsecure = 'x'\npartitioned = true\n"
    told = faults(write(tmp_path, f"{cookie}[engine]\nping_timeout_s = 'x'\nping_interval_s = 0\n"))
    assert [fault.partition(": ")[2] for fault in told] == [
        "[engine.cookie] secure: expected true or false, not 'x'",
        "[engine] ping_timeout_s: expected a number, not 'x'",
        "[engine] ping_interval_s: must be above zero, not 0.0",
    ]


@pytest.mark.req("CFG-10")
def test_a_table_of_a_list_with_an_error_is_not_taken_for_another_one(tmp_path: Path) -> None:
    wrong = "[[rules.namespaces]]\nname = 'chat'\n" * 2  # twice, and neither lacks a name
    told = faults(write(tmp_path, f"{wrong}[[rules.namespaces]]\nname = '/a'\nevent = []\n"))
    name = "name: expected the name of a namespace, as /chat or /room-*, not 'chat'"
    assert [fault.partition(": ")[2] for fault in told] == [
        f"[rules] namespaces[0] {name}",
        f"[rules] namespaces[1] {name}",
        "[rules] namespaces[2] event: unknown option; did you mean events?",
    ]


@pytest.mark.req("CFG-07")
@pytest.mark.parametrize(
    ("text", "environment", "fault"),
    [
        (
            "[listen]\nunix = '/s'\nport = 1",
            {},
            "{0}: [listen] unix does not listen on a port: leave out either it or [listen] port",
        ),
        (
            "[listen]\nport = 1",
            {"LISTEN__FDS": "3"},
            "{1}LISTEN__FDS listens on an inherited descriptor: leave out either it or "
            "{0}: [listen] port",
        ),
        ("[listen]\nkeyfile = 'k'", {}, "{0}: [listen] keyfile needs [listen] certfile"),
        ("", {"LISTEN__KEYFILE": "k"}, "{1}LISTEN__KEYFILE needs {1}LISTEN__CERTFILE"),
        (
            "[engine]\nallow_eio3 = true\n[sockets]\nparser = 'msgpack'",
            {},
            "{0}: [engine] allow_eio3 and [sockets] parser contradict each other: clients 1.x "
            "and 2.x speak JSON only, so the parser must be json",
        ),
        (
            "[engine]\nallow_eio3 = true",
            {"SOCKETS__PARSER": "msgpack"},
            "{0}: [engine] allow_eio3 and {1}SOCKETS__PARSER contradict each other: clients 1.x "
            "and 2.x speak JSON only, so the parser must be json",
        ),
        (
            "[cors]\ncredentials = true\norigins = ['*']",
            {},
            "{0}: [cors] credentials: needs the origins by name, but origins has *",
        ),
    ],
)
def test_contradictions_name_both(
    tmp_path: Path, text: str, environment: dict[str, str], fault: str
) -> None:
    file = write(tmp_path, text)
    given = {PREFIX + name: value for name, value in environment.items()}
    assert faults(file, given) == (fault.format(file, PREFIX),)


@pytest.mark.req("CFG-20")
@pytest.mark.parametrize(
    ("text", "told"),
    [
        (
            "[listen]\nport = 9100\n[admin]\nlisten = '127.0.0.1:9100'",
            "{0}: [listen] port: port 9100 is already taken by {0}: [admin] listen",
        ),
        (
            "[admin]\nlisten = '127.0.0.1:3000'",
            "[listen] port: port 3000 is already taken by {0}: [admin] listen",
        ),
        (
            "[listen]\nhost = ['all']\n[admin]\nlisten = '[::1]:3000'",
            "[listen] port: port 3000 is already taken by {0}: [admin] listen",
        ),
        (
            "[control]\nlisten = ['unix:/a', 'unix:/a']",
            "{0}: [control] listen: /a is already taken by {0}: [control] listen",
        ),
        (
            "[listen]\nunix = '/a'\n[control]\nlisten = ['unix:/a']",
            "{0}: [listen] unix: /a is already taken by {0}: [control] listen",
        ),
    ],
)
def test_what_is_named_twice_is_an_error(tmp_path: Path, text: str, told: str) -> None:
    file = write(tmp_path, text)
    assert faults(file) == (told.format(file),)


@pytest.mark.req("CFG-20")
@pytest.mark.parametrize(
    "text",
    [
        "[listen]\nport = 0\n[admin]\nlisten = '127.0.0.1:0'",
        "[listen]\nhost = ['::1']\n[admin]\nlisten = '127.0.0.1:3000'",
        "[listen]\nhost = ['::']\n[admin]\nlisten = '0.0.0.0:3000'",
        "[listen]\nhost = ['127.0.0.1', '::1']\n[admin]\nlisten = '127.0.0.2:3000'",
        "[listen]\nfds = [3]\n[admin]\nlisten = '127.0.0.1:3000'",
        "[listen]\nunix = '/a'\n[control]\nlisten = ['unix:/b']\n[admin]\nlisten = '[::1]:3000'",
    ],
)
def test_what_only_looks_alike_is_none(tmp_path: Path, text: str) -> None:
    loaded(write(tmp_path, text))


@pytest.mark.req("CMD-11")
def test_a_socket_of_systemd_is_a_place_to_listen(tmp_path: Path) -> None:
    text = "[control]\nmax_in_flight = 3\n[admin]\nmax_connections = 3\n"
    configuration, settings = loaded(write(tmp_path, text))
    told = [
        [warning.rpartition(" without ")[2] for warning in found]
        for found in (
            find_idle(configuration, settings, {}, inherited)
            for inherited in ((), ("control",), ("admin", "control"), ("public",))
        )
    ]
    both = ["[control] listen", "[admin] listen"]
    assert told == [both, both[1:], [], both]


# -- the environment


@pytest.mark.req("CFG-04")
def test_variables_are_read_by_the_type_of_the_option() -> None:
    environment = {
        "LISTEN__HOST": "127.0.0.1, ::1",
        "LISTEN__FDS": "",
        "ENGINE__PING_INTERVAL_S": "7",
        "ENGINE__TRANSPORTS": "['websocket']",
        "ENGINE__ALLOW_EIO3": "TRUE",
        "ENGINE__HTTP_COMPRESSION": '{"level": 9}',
        "ENGINE__PER_MESSAGE_DEFLATE": "{level = 2}",
        "ENGINE__COOKIE__SAME_SITE": "strict",
        "ENGINE__MAX_UNJOINED_SESSIONS_PER_ADDRESS": "false",
        "ENGINE__PATH": "/false/",
        "HTTP__TRUSTED_PROXIES": '["10.0.0.0/8", "fd00::/8"]',
        "CLIENT_FILES__FOLDER": "a b",
        "RUNTIME__SLOW_HANDLER_S": "inf",
    }
    configuration = loaded(
        None, {PREFIX + name: value for name, value in environment.items()}
    ).configuration
    assert configuration.listen.host == ("127.0.0.1", "::1")
    assert configuration.listen.fds == ()
    engine = configuration.engine
    assert engine.ping_interval_s == 7
    assert engine.transports == ("websocket",)
    assert engine.allow_eio3
    assert engine.http_compression == HttpCompression(level=9)
    assert engine.per_message_deflate is not None
    assert engine.per_message_deflate.level == 2
    assert engine.cookie == Cookie(same_site="strict")
    assert engine.max_unjoined_sessions_per_address is None
    assert engine.path == "/false/"
    proxies = (IPv4Network("10.0.0.0/8"), IPv6Network("fd00::/8"))
    assert configuration.http.trusted_proxies == proxies
    assert configuration.client_files.folder == Path("a b")
    assert configuration.runtime.slow_handler_s == float("inf")


@pytest.mark.req("CFG-02", "CFG-04")
@pytest.mark.parametrize(
    ("variable", "text", "fault"),
    [
        ("ENGIN__PATH", "/", "unknown group; did you mean engine?"),
        ("ENGINE", "/", "names the group engine, but no option of it"),
        ("ENGINE__PAHT", "/", "unknown option; did you mean path?"),
        ("ENGINE__PATH_FILE", "/", "unknown option; did you mean path?"),
        ("ENGINE__COOKIE__NMAE", "x", "unknown option; did you mean name?"),
        ("ENGINE__PATH__NAME", "x", "unknown option"),
        ("ENGINE__PING_INTERVAL_S", "soon", "expected a number, not 'soon'"),
        ("ENGINE__ALLOW_EIO3", "maybe", "expected true or false, not 'maybe'"),
        ("LISTEN__PORT", "1e3", "expected a whole number, not '1e3'"),
        ("LISTEN__PORT", "9" * 5000, "expected a whole number, not '9999"),
        ("LISTEN__FDS", "3,x", "expected a list, each item of which is a whole number"),
        ("LISTEN__HOST", "[1", "expected a list, each item of which is text, not '[1'"),
        ("ENGINE__COOKIE", "{a", "expected a table, or false for none"),
        ("LISTEN__HOST", "['a']\nb = 1", "expected a list, each item of which is text"),
    ],
)
def test_variables_that_cannot_be_used(variable: str, text: str, fault: str) -> None:
    (told,) = faults(None, {PREFIX + variable: text})
    assert told.startswith(f"{PREFIX}{variable}: ")
    assert fault in told


def test_a_table_and_a_value_in_it_do_not_go_together() -> None:
    name = f"{PREFIX}ENGINE__COOKIE"
    (told,) = faults(None, {name: "false", f"{name}__NAME": "x"})
    assert told == f"{name}__NAME: {name} gives this option too: leave out one of them"
    loaded(None, {name: "true", f"{name}__NAME": "x"})


# -- secrets, and the kinds of options that only some groups have


@pytest.mark.req("CFG-05")
def test_a_secret_may_stand_in_a_file(tmp_path: Path) -> None:
    secret = tmp_path / "password"
    secret.write_text("swordfish\n")
    settings, found = read_environment({f"{PREFIX}GUARDED__PASSWORD_FILE": str(secret)}, GUARDED)
    assert not found
    assert guarded(settings, found).password == "swordfish"
    missing = str(tmp_path / "none")
    _, found = read_environment({f"{PREFIX}GUARDED__PASSWORD_FILE": missing}, GUARDED)
    name = f"{PREFIX}GUARDED__PASSWORD"
    assert found == [f"{name}_FILE: {missing}: cannot be read: No such file or directory"]
    _, found = read_environment({name: "x", f"{name}_FILE": str(secret)}, GUARDED)
    assert found == [f"{name}_FILE: {name} gives this option too: leave out one of them"]


@pytest.mark.req("CFG-09")
def test_a_secret_is_shown_nowhere(tmp_path: Path) -> None:
    for text in ('password = "abc"', "password = 123123", 'tokens = [{name = "a", value = 4711}]'):
        settings, found = read_file(write(tmp_path, f"[guarded]\n{text}"), GUARDED)
        guarded(settings, found)
        (told,) = found
        assert not [part for part in ("abc", "123123", "4711") if part in told]
    group = Guarded(password="swordfish", tokens=(Token(name="a", value="hunter2"),))

    class Whole(msgspec.Struct):
        guarded: Guarded

    whole: Any = Whole(group)  # a configuration of this one table
    written = effective_text(whole, {}, GUARDED)
    assert "swordfish" not in written
    assert "hunter2" not in written
    assert written.count(MASK) == 2


def test_tables_and_lists_of_tables(tmp_path: Path) -> None:
    text = """
        [guarded.levels]
        engine = "debug"
        [[guarded.tokens]]
        name = "a"
        [[guarded.tokens]]
        name = "b"
        methods = ["emit"]
    """
    found: list[str] = []
    settings, _ = read_file(write(tmp_path, text), GUARDED)
    environment, _ = read_environment({f"{PREFIX}GUARDED__LEVELS__HTTP": "error"}, GUARDED)
    group = guarded(merge(settings, environment), found)
    assert found == []
    assert group.levels == {"engine": "debug", "http": "error"}
    assert group.tokens == (Token(name="a"), Token(name="b", methods=("emit",)))
    tokens = '[{"name": "c"}]'
    environment, _ = read_environment({f"{PREFIX}GUARDED__TOKENS": tokens}, GUARDED)
    assert guarded(environment, found).tokens == (Token(name="c"),)
    environment, _ = read_environment({f"{PREFIX}GUARDED__LEVELS": '{"a": "b"}'}, GUARDED)
    assert guarded(environment, found).levels == {"a": "b"}
    assert found == []


def test_names_with_dots_within_a_table(tmp_path: Path) -> None:
    """The names are chosen freely, and may have dots, in quotes or without."""
    file = write(
        tmp_path, '[log.levels]\nengine = "debug"\nsocketio.joining = "error"\n"http.x" = "info"\n'
    )
    environment = {
        f"{PREFIX}LOG__LEVELS__ENGINE__SESSIONS": "warning",
        f"{PREFIX}LOG__LEVELS__HTTP__X": "debug",
    }
    assert loaded(file, environment).configuration.log.levels == {
        "engine": "debug",
        "engine.sessions": "warning",
        "http.x": "debug",
        "socketio.joining": "error",
    }
    (told,) = faults(write(tmp_path, '[log.levels]\nhttp = "info"\nengine.x = "loud"\n'))
    assert told.startswith(f"{file}: [log.levels.engine] x: ")
    assert "not 'loud'" in told


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        ("tokens = [{}]", "[guarded] tokens[0] name: is missing"),
        ("tokens = [{name = 'a', nmae = 'b'}]", "[guarded] tokens[0] nmae: unknown option; did"),
        (
            "tokens = [{name = 'a'}, {name = 5}]",
            "[guarded] tokens[1] name: expected text, not 5",
        ),
        ("tokens = 'a'", "[guarded] tokens: expected a list, each item of which is a table"),
        ("levels = {all = 'x', b = 'y'}", "[guarded]: all stands alone"),
        ("levels = 1", "[guarded] levels: expected a table, each value of which is text, not 1"),
        ("levels = {a = 1}", "[guarded.levels] a: expected a table, each value of which is text"),
    ],
)
def test_errors_within_tables(tmp_path: Path, text: str, fault: str) -> None:
    settings, found = read_file(write(tmp_path, f"[guarded]\n{text}"), GUARDED)
    guarded(settings, found)
    (told,) = found
    assert fault in told


# -- every option, in a file and in the environment


OPTIONS: Final = [
    (table, name) for table, kind in TABLES.items() for name in options_of(table, kind)
]
finite = st.floats(min_value=0.001, max_value=1e6, allow_nan=False)
texts = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=20)


def values_of(annotation: Any) -> st.SearchStrategy[Any]:
    """Plain values of an option's type, which its group may refuse."""
    plain = {
        bool: st.booleans(),
        int: st.integers(0, 2**40),
        float: finite,
        str: texts,
        Path: texts.filter(lambda text: "\0" not in text),
    }
    if annotation in plain:
        return plain[annotation]
    parts: tuple[Any, ...] = getattr(annotation, "__args__", ())
    if getattr(annotation, "__origin__", None) is Literal:
        return st.sampled_from(parts)
    if getattr(annotation, "__origin__", None) is tuple:
        if parts[0] in plain:
            return st.lists(values_of(parts[0]), max_size=4)
        return st.lists(st.sampled_from(["10.0.0.0/8", "fd00::/8"]), max_size=3)
    if isinstance(annotation, type) and issubclass(annotation, msgspec.Struct):
        fields = {field.name: values_of(field.type) for field in msgspec.structs.fields(annotation)}
        return st.fixed_dictionaries({}, optional=fields)
    usable = [part for part in parts if part not in (type(None), bytes)]
    return st.just(False) | st.one_of([values_of(part) for part in usable])


def taken_or_refused(settings: Settings) -> tuple[Any, list[str]]:
    """What the settings come to, without the places that errors name."""
    found: list[str] = []
    groups = convert(settings, TABLES, found)
    return groups, [fault.rpartition(": ")[2] for fault in found]


@pytest.mark.req("CFG-04")
@given(st.data(), st.sampled_from(OPTIONS))
def test_an_option_is_the_same_in_a_file_and_in_the_environment(
    data: st.DataObject, place: tuple[str, str]
) -> None:
    table, name = place
    value = data.draw(values_of(options_of(table, TABLES[table])[name].type))
    kind, _ = find_kind(place, TABLES)
    assert kind is not None
    text = value if isinstance(value, str) and value.lower() != "false" else toml_value(value)
    from_text = plain_value(text, kind)
    if kind.plain is not bool and isinstance(value, str) and value.lower() == "false":
        return  # this one text can only stand in a file, where an option may be none
    assert from_text == value


@given(st.data(), st.sampled_from(OPTIONS))
def test_a_value_that_was_written_is_read_again(
    tmp_path_factory: pytest.TempPathFactory, data: st.DataObject, place: tuple[str, str]
) -> None:
    table, name = place
    value = data.draw(values_of(options_of(table, TABLES[table])[name].type))
    direct = merge({place: Setting(value, "", "")}) if not isinstance(value, dict) else None
    file = write(tmp_path_factory.mktemp("conf"), f"[{table}]\n{name} = {toml_value(value)}\n")
    settings, found = read_file(file, TABLES)
    assert found == []
    groups, refused = taken_or_refused(settings)
    if direct is not None:
        assert (groups, refused) == taken_or_refused(direct)
    if not refused:
        written = toml_value(getattr(groups[table], name))
        file = write(file.parent, f"[{table}]\n{name} = {written}\n")
        again, _ = taken_or_refused(read_file(file, TABLES)[0])
        assert again == groups


@given(st.text(), st.sampled_from(OPTIONS))
def test_no_text_of_a_variable_raises_anything_undocumented(
    text: str, place: tuple[str, str]
) -> None:
    variable = PREFIX + "__".join(place).upper()
    settings, found = read_environment({variable: text}, TABLES)
    convert(settings, TABLES, found)
    assert len(found) <= 1 or all(variable in fault for fault in found)


@pytest.mark.req("CMD-13")
def test_an_option_is_named_as_whoever_sets_it_would_spell_it() -> None:
    place: Place = ("listen", "port")
    given: Settings = {place: Setting(1, "--port", "--port")}
    variables = {f"{PREFIX}LISTEN__PORT": "1"}
    flags = {place: "--port"}

    def name(**sources: Any) -> str:
        found = {"file": None, "environment": {}, "command_line": {}, "flags": flags} | sources
        return Sources(**found).name_to_set(*place)

    assert name() == name(command_line=given, file=Path("a.toml")) == "--port"
    assert name(environment=variables) == f"{PREFIX}LISTEN__PORT"
    assert name(file=Path("a.toml")) == "a.toml: [listen] port"
    assert name(flags={}) == "[listen] port"
