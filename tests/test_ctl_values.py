"""``ctl``: how parameters are read, results are written, and methods are described."""

import json
import shlex
import subprocess
from pathlib import Path
from typing import Any, Final

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.control.serving import describe_whole_api
from tests.test_ctl import NOT_HERE
from trio_socketio.cli import main, watch
from trio_socketio.cli.ctl_help import method_help
from trio_socketio.cli.ctl_methods import Api, expected
from trio_socketio.cli.tables import cell, display_width, render, render_table
from trio_socketio.cli.watch import Sample, flatten_numbers, line, screen
from trio_socketio.control.sync_client import ControlClient
from trio_socketio.errors import ConfigurationError

PUBLISHED: Final = Path(__file__).resolve().parents[1] / "spec" / "openrpc.json"
API: Final = Api(describe_whole_api())


def test_the_document_is_the_published_one() -> None:
    assert describe_whole_api() == json.loads(PUBLISHED.read_text(encoding="utf-8"))


# -- parameters


@pytest.mark.req("CTL-03")
@pytest.mark.parametrize(
    ("method", "words", "params"),
    [
        ("system.info", "", {}),
        ("emit", "event=news", {"event": "news"}),
        ("emit", "event=7", {"event": "7"}),
        ("emit", 'event="a b"', {"event": "a b"}),
        ("emit", "event=a=b", {"event": "a=b"}),
        ("emit", "event=", {"event": ""}),
        ("emit", 'event={"a":1}', {"event": '{"a":1}'}),
        ("emit", "event=null", {"event": "null"}),
        ("emit", "event=a all=true", {"event": "a", "all": True}),
        ("emit", "event=a rooms=tea", {"event": "a", "rooms": ["tea"]}),
        ("emit", "event=a rooms=1 rooms=b", {"event": "a", "rooms": ["1", "b"]}),
        ("emit", 'event=a rooms=["a","b"] rooms=c', {"event": "a", "rooms": ["a", "b", "c"]}),
        ("emit", "event=a rooms=null", {"event": "a", "rooms": ["null"]}),
        ("emit", "event=a args=1 args=tea", {"event": "a", "args": [1, "tea"]}),
        ("emit", 'event=a args={"b":null}', {"event": "a", "args": [{"b": None}]}),
        ("emit", "event=a args=[[1,2],null]", {"event": "a", "args": [[1, 2], None]}),
        ("emit", 'event=a args={"$bytes":"aGk="}', {"event": "a", "args": [b"hi"]}),
        ("emit_with_ack", "event=a timeout_s=3", {"event": "a", "timeout_s": 3}),
        ("sockets.list", "room=null limit=5", {"room": None, "limit": 5}),
        ("sockets.list", 'room="null"', {"room": "null"}),
        ("sockets.list", "room=3", {"room": "3"}),
        ("backend.register", "namespaces=null", {"namespaces": None}),
        ("backend.register", "namespaces=/a", {"namespaces": ["/a"]}),
    ],
)
def test_parameters_are_read(method: str, words: str, params: dict[str, Any]) -> None:
    given_words = [*words.split(" ")] if words else []
    if '"a b"' in words:
        given_words = [words]
    assert API.find(method).read(given_words) == params


@pytest.mark.parametrize(
    ("method", "words", "error"),
    [
        ("emit", "event", "'event': a parameter is written KEY=VALUE"),
        ("emit", "event=a event=b", "event: it is given twice"),
        ("emit", "event=a all=1", "all: expected true or false, not '1'"),
        ("emit", "event=a rooms=[1]", "rooms: expected list of texts, not '[1]'"),
        ("emit", "event=a args=[1", "args: expected list of values, not '[1'"),
        ("emit", 'event=a args={"b"', "args: expected list of values"),
        ("emit", "event=a args=NaN args=[NaN]", "args: expected list of values, not '[NaN]'"),
        ("emit", "event=a args=" + "[" * 5000, "args: expected list of values"),
        ("emit", "event=\udcff", "event: .* is not UTF-8"),
        ("sockets.list", "limit=x", "limit: expected whole number, at least 1, at most 1000"),
        ("sockets.list", "limit=true", "limit: expected whole number"),
        ("sockets.list", "limit=1.5", "limit: expected whole number"),
        ("emit_with_ack", "event=a timeout_s=x", "timeout_s: expected number, above 0, at most"),
    ],
)
@pytest.mark.req("CTL-05")
def test_values_of_another_type_are_refused(method: str, words: str, error: str) -> None:
    with pytest.raises(ConfigurationError, match=error.replace("[", r"\[")):
        API.find(method).read(words.split(" "))


@pytest.mark.req("CTL-05")
def test_a_missing_parameter_is_named() -> None:
    with pytest.raises(ConfigurationError) as raised:
        API.find("rooms.members").read(["namespace=/"])
    assert str(raised.value) == "room is missing: rooms.members needs room=VALUE (text; its name)"


@pytest.mark.req("CTL-04")
def test_the_nearest_name_is_told() -> None:
    with pytest.raises(ConfigurationError, match=r"^rom: .* no such parameter; did you mean room"):
        API.find("rooms.members").read(["rom=a"])
    with pytest.raises(
        ConfigurationError, match="it has namespace, room, min_waiting_bytes, after, limit"
    ):
        API.find("sockets.list").read(["zzz=a"])
    with pytest.raises(ConfigurationError, match="it has none"):
        API.find("system.info").read(["zzz=a"])
    with pytest.raises(ConfigurationError, match=r"'socket.list'; did you mean sockets.list\?"):
        API.find("socket.list")
    with pytest.raises(ConfigurationError, match=r"'kick'; did you mean users.kick\?"):
        API.find("kick")
    with pytest.raises(ConfigurationError, match=r"deliveries.get or .*users.get\?"):
        API.find("get")
    with pytest.raises(ConfigurationError, match=r"there is no method '[^']+'$"):
        API.find("zzz")


@given(st.text(), st.sampled_from(sorted(API.methods)))
def test_reading_raises_nothing_undocumented(text: str, method: str) -> None:
    for name in API.methods[method].parameters:
        try:
            params = API.methods[method].read([f"{name}={text}"])
        except ConfigurationError as error:
            assert str(error)  # noqa: PT017 - most texts fit no number
        else:
            assert list(params) == [name]


@given(st.text())
def test_every_text_can_be_sent(text: str) -> None:
    assert API.find("emit").read([f"event={json.dumps(text)}"]) == {"event": text}


def test_types_are_told_in_words() -> None:
    assert expected({"enum": ["a", "b"]}) == "a or b"
    assert expected({"$ref": "#/components/schemas/Missing"}) == "Missing"
    assert expected({"type": "array", "items": {"$ref": "#/x/A"}}) == "list of A"
    assert expected({"anyOf": [{"type": "string"}, {"type": "null"}]}) == "text or null"


# -- help


@pytest.mark.req("CTL-02")
@pytest.mark.parametrize("name", sorted(API.methods))
def test_help_tells_every_parameter_and_field(name: str) -> None:
    method = API.methods[name]
    text = " ".join(method_help(API, method, 80).split())
    assert method.summary in text
    for one in method.parameters.values():
        told = f"{one.name} {expected(one.schema)}: {one.description.rstrip('.')}"
        assert told in text
        if not one.required and "default" in one.schema:  # what is left out may stay as it is
            assert f"(default: {json.dumps(one.schema['default'])})" in text
    fields = API.schemas.get(method.result.get("$ref", "").rpartition("/")[2], {})
    for field in fields.get("properties", {}):
        assert f" {field} " in text


def test_help_fits_the_width() -> None:
    for method in API.methods.values():
        assert max(map(len, method_help(API, method, 60).splitlines())) <= 60


# -- results


@pytest.mark.req("CTL-07")
@given(st.recursive(st.text() | st.integers() | st.none() | st.floats() | st.booleans(),
                    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner)),
       st.none() | st.integers(10, 200))  # fmt: skip
def test_no_control_character_is_written(value: Any, width: int | None) -> None:
    assert all(shown.isprintable() for shown in render(value, width).split("\n"))


def test_a_page_is_a_table_and_lines() -> None:
    page = {
        "sockets": [
            {"id": "a", "rooms": ["x", "y"], "user": None, "secure": True},
            {"id": "bcd", "rooms": [], "user": "漢字", "secure": False},
        ],
        "total": 2,
        "next": None,
    }
    assert render(page).splitlines() == [
        "id   rooms  user  secure",
        "a    x, y   -     true",
        "bcd  -      漢字  false",
        "",
        "total  2",
        "next   -",
    ]


def test_results_of_other_shapes() -> None:
    assert render(None) == render([]) == render({}) == render("") == "-"
    assert render("a\x1b[31m") == "a\\x1b[31m"
    assert render(["a", 1]) == "a\n1"
    assert render([{"a": 1}, {"b": b"hi"}]) == "a  b\n1  -\n-  <2 bytes>"
    assert render({"missing": {"rooms": ["a"]}, "n": 1}) == "missing.rooms  a\nn              1"
    two = {"a": [{"x": 1}], "b": [{"y": {"z": [1]}}]}
    assert render(two) == 'a:\nx\n1\n\nb:\ny\n{"z": [1]}'
    assert cell(0, "started_at_s").startswith("19")
    for name in ("at", "at_s", "since_s", "until_s"):
        assert cell(0, name) == cell(0, "started_at_s")
    assert cell(5, "retry_after_s") == "5"
    assert cell(1e300, "started_at_s") == "1e+300"


@pytest.mark.req("CTL-07")
def test_of_objects_in_a_cell_the_ids_are_shown() -> None:
    seats = [{"id": "s1", "node": "n", "at": 1.5}, {"id": "s\n2", "node": "m", "at": 2.5}]
    users = [{"user": "ann", "seats": seats}, {"user": "bob", "seats": []}]
    assert render({"users": users, "next": None}) == (
        "user  seats     seats.node\nann   s1, s\\n2  n, m\nbob   -         -\n\nnext  -"
    )
    assert '{"at": 1}' in render([{"user": "ann", "seats": [{"at": 1}]}])
    assert "node" not in render([{"user": "ann", "sockets": [{"id": "s1"}]}])


def test_wide_cells_are_cut_to_the_terminal() -> None:
    rows = [{"id": "i" * 20, "agent": "漢" * 50}]
    shown = render_table(rows, 60)
    assert "i" * 20 in shown
    assert max(map(display_width, shown.splitlines())) <= 60
    assert "…" in shown
    assert "…" not in render_table(rows)


def test_a_table_that_does_not_fit_is_shown_in_lines() -> None:
    rows = [{"id": "i" * 20, "other": n} for n in range(2)]
    assert render_table(rows, 25).splitlines() == [
        f"id     {'i' * 20}", "other  0", "", f"id     {'i' * 20}", "other  1",
    ]  # fmt: skip


# -- watching

INFO: Final = {"version": "1", "node": "n\x1b", "state": "serving"}


class FakeClock:
    """Time that passes only while somebody sleeps, or as the client below says."""

    def __init__(self) -> None:
        self.now = 100.0
        self.slept: list[float] = []

    def monotonic(self) -> float:
        return self.now

    def time(self) -> float:
        return 1e9 + self.now

    def sleep(self, duration_s: float) -> None:
        self.slept.append(duration_s)
        self.now += duration_s


class FakeClient(ControlClient):
    """Its server has sent 3 more packets in each call; the third takes 1.5 s."""

    def __init__(self, clock: FakeClock) -> None:
        super().__init__("unix:/nowhere")
        self.clock = clock
        self.calls = 0

    def batch(self, calls: Any, *, timeout_s: float | None = None) -> list[Any]:
        assert [name for name, _ in calls] == ["system.info", "system.stats"]
        self.calls += 1
        self.clock.now += 1.5 if self.calls == 3 else 0
        x = {"x": 0} if self.calls > 1 else {}  # a namespace, say, that was not there before
        return [INFO, {"traffic": {"packets_in": 3 * self.calls}, **x}]


@pytest.mark.req("CTL-10")
def test_changes_are_per_second(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = FakeClock()
    monkeypatch.setattr(watch, "time", clock)
    samples = list(watch.take(FakeClient(clock), 0.5, 4))
    assert [one.numbers["traffic.packets_in"] for one in samples] == [3, 6, 9, 12]
    assert [one.per_second for one in samples] == [
        {},
        {"traffic.packets_in": 6},
        {"traffic.packets_in": 1.5, "x": 0},
        {"traffic.packets_in": 6, "x": 0},
    ]
    assert [one.at_s - 1e9 for one in samples] == [100, 100.5, 102.5, 103]


def test_a_sample_in_one_line() -> None:
    sample = Sample(0, INFO, {"a": 3, "b": 0, "c\x1b": 5, "d": 1}, {"a": 0.5, "b": 0, "d": 0})
    assert line(sample).split(" ", 2)[2] == "serving a=3 (+0.5/s) c\\x1b=5 d=1"


def test_the_screen_shows_what_changes_first() -> None:
    numbers = {f"n{at}": float(at % 2) for at in range(40)}
    sample = Sample(0, INFO, numbers, {"n38": 2.0})
    shown = screen(sample, 80, 10).splitlines()
    assert len(shown) == 10
    assert "\x1b" not in "".join(shown)
    assert shown[-2].split() == ["n38", "0.0", "+2.0"]
    assert shown[-1] == "and 35 more; --json shows all"
    assert len(screen(sample, 80, 100).splitlines()) == 44


def test_numbers_of_inner_objects() -> None:
    assert dict(flatten_numbers({"a": 1, "b": {"/": 2, "x": True}, "c": "no"})) == {
        "a": 1,
        "b./": 2,
    }


# -- completion


def script(shell: str, capsys: pytest.CaptureFixture[str]) -> str:
    assert main(["ctl", "completion", shell]) == 0
    return capsys.readouterr().out


@pytest.mark.req("CTL-11")
@pytest.mark.parametrize(
    ("typed", "completed"),
    [
        ("trio-socketio c", "connect check-config ctl"),
        (
            "trio-socketio ctl sockets.",
            "sockets.departed sockets.disconnect sockets.get sockets.list",
        ),
        ("trio-socketio ctl w", "workers.list workers.restart watch"),
        ("trio-socketio ctl wa", "watch"),
        ("trio-socketio ctl --control unix:/x --json rooms.l", "rooms.leave rooms.list"),
        ("trio-socketio ctl rooms.join ", "rooms= sockets= users= namespace="),
        ("trio-socketio ctl rooms.join rooms=a so", "sockets="),
        ("trio-socketio ctl rooms.join rooms=a --to", "--token-file"),
        ("trio-socketio ctl --token-file ", ""),
        ("trio-socketio ctl completion ", "bash zsh fish"),
        ("trio-socketio serve --c", ""),
    ],
)
def test_bash_completes(
    typed: str, completed: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "completion.bash"
    path.write_text(script("bash", capsys), encoding="utf-8")
    program = (
        f"source {path}; COMP_LINE={shlex.quote(typed)} COMP_POINT={len(typed)}; "
        '_trio_socketio; echo "${COMPREPLY[@]}"'
    )
    done = subprocess.run(
        ["bash", "--norc", "-c", program], capture_output=True, text=True, timeout=15, check=True
    )
    assert (done.stdout.strip(), done.stderr) == (completed, "")


@pytest.mark.req("CTL-11")
@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_a_script_has_every_name(shell: str, capsys: pytest.CaptureFixture[str]) -> None:
    text = script(shell, capsys)
    assert "@" not in text.replace("${COMPREPLY[@]}", "").replace("[@]", "").replace('"$@"', "")
    shlex.split(text.replace("\\'", ""), comments=True)  # every quote is closed
    for name in API.methods.keys() - set(NOT_HERE) | {"watch", "completion"}:
        assert name in text
    for method in API.methods.values():
        if method.name not in NOT_HERE:
            assert all(f"{name}=" in text for name in method.parameters)
