"""Methods are typed functions: what they are called with, and what the caller is answered."""

import json
from pathlib import Path
from typing import Annotated, Any

import msgspec
import pytest
import trio
from msgspec import Meta, Raw
from trio.testing import trio_test

from trio_socketio.codec.json_rpc import NULL, Code, Response, decode_messages, encode_error
from trio_socketio.control.dispatcher import Call, Dispatcher
from trio_socketio.control.methods import Method, find_methods, read_misfit, rpc
from trio_socketio.control.tokens import LOCAL, Grant
from trio_socketio.errors import ControlError, LocalProtocolError

VECTORS = json.loads(
    (Path(__file__).resolve().parents[2] / "spec" / "vectors" / "json_rpc_2.json").read_text()
)["exchanges"]


class Point(msgspec.Struct):
    x: int
    y: int = 0


class Group:
    """The methods of the specification's examples, and some of ours."""

    def __init__(self) -> None:
        self.told: list[Any] = []

    @rpc("subtract")
    def subtract(self, minuend: int, subtrahend: int) -> int:
        """Subtract.

        Args:
            minuend: from this,
                which is a number.
            subtrahend: this.
        """
        return minuend - subtrahend

    @rpc("sum")
    async def add(self, a: int, b: int, c: int) -> int:
        await trio.lowlevel.checkpoint()
        return a + b + c

    @rpc("notify_hello")
    def hello(self, number: int) -> None:
        self.told.append(number)

    @rpc("get_data")
    def data(self) -> list[Any]:
        return ["hello", 5]

    @rpc("move")
    def move(
        self, to: Point, except_: list[str] | None = None, speed: Annotated[int, Meta(ge=1)] = 1
    ) -> Any:
        if except_ is None:
            except_ = []
        return [to.x, to.y, except_, speed]

    @rpc("fail")
    def fail(self) -> None:
        raise ZeroDivisionError("a secret")

    @rpc("refuse")
    def refuse(self) -> None:
        raise ControlError(Code.NOT_FOUND, "not here", {"where": b"bytes"})

    @rpc("refuse_badly")
    def refuse_badly(self) -> None:
        raise ControlError(Code.NOT_FOUND, "not here", {"where": object()})

    @rpc("big")
    def big(self, size: int) -> str:
        return "x" * size

    @rpc("odd")
    def odd(self) -> Any:
        return object()


class FakeCaller:
    """Whoever calls."""

    def __init__(self, grant: Grant | None = LOCAL) -> None:
        self.grant = grant

    def authenticate(self, secret: str) -> Grant:
        raise AssertionError(secret)

    def connected(self) -> None:
        return None


async def exchange(dispatcher: Dispatcher, text: str | bytes, grant: Grant | None = LOCAL) -> Any:
    """What a line is answered, decoded; None for nothing."""
    caller = FakeCaller(grant)
    try:
        messages, is_batch = decode_messages(text.encode() if isinstance(text, str) else text)
    except ControlError as error:
        return json.loads(encode_error(NULL, error))
    calls: list[Call] = [one for one in messages if not isinstance(one, Response)]
    if is_batch:
        answer = await dispatcher.answer_batch(calls, caller)
    elif dispatcher.is_plain(calls[0]):
        answer = dispatcher.answer_now(calls[0], caller)
        assert answer == await dispatcher.answer(calls[0], caller)
    else:
        answer = await dispatcher.answer(calls[0], caller)
    return None if answer is None else json.loads(answer)


async def ask(dispatcher: Dispatcher, method: str, params: Any = None, **more: Any) -> Any:
    request = {"jsonrpc": "2.0", "method": method, "id": 1}
    if params is not None:
        request["params"] = params
    return await exchange(dispatcher, json.dumps(request), **more)


async def fail(dispatcher: Dispatcher, method: str, params: Any = None, **more: Any) -> Any:
    answer = await ask(dispatcher, method, params, **more)
    assert "result" not in answer
    return answer["error"]


@pytest.fixture
def dispatcher() -> Dispatcher:
    return Dispatcher([Group()], max_answer_bytes=2000)


def without_words(answer: Any) -> Any:
    """An answer whose errors have nothing but their codes."""
    if isinstance(answer, list):
        return [without_words(one) for one in answer]
    if isinstance(answer, dict) and "error" in answer:
        return {**answer, "error": {"code": answer["error"]["code"]}}
    return answer


@pytest.mark.req("RPC-07", "RPC-09", "RPC-10", "RPC-11", "RPC-12", "RPC-14", "RPC-15", "RPC-16")
@pytest.mark.req("CONTROL-01")
@pytest.mark.parametrize("entry", VECTORS, ids=[entry["name"] for entry in VECTORS])
def test_the_examples_of_the_specification(entry: dict[str, Any]) -> None:
    answer = trio.run(exchange, Dispatcher([Group()]), entry["text"])
    assert without_words(answer) == entry["answer"]


@pytest.mark.req("RPC-17", "CONTROL-02", "CONTROL-03")
@pytest.mark.parametrize(
    ("method", "params", "parameter", "words"),
    [
        ("subtract", {"minuend": 1}, "subtrahend", "subtrahend: is missing"),
        ("subtract", [1], "subtrahend", "subtrahend: is missing"),
        ("subtract", {}, "minuend", "minuend: is missing"),
        ("subtract", None, "minuend", "minuend: is missing"),
        (
            "subtract",
            {"minuend": "1", "subtrahend": 2},
            "minuend",
            "minuend: expected a whole number, not text",
        ),
        ("subtract", [1, None], "subtrahend", "subtrahend: expected a whole number, not null"),
        (
            "subtract",
            {"minuend": 1, "subtrahend": 2, "subtrahand": 3},
            "subtrahand",
            "did you mean subtrahend?",
        ),
        ("get_data", {"all": 1}, "all", "get_data has no such parameter"),
        ("move", {"to": {"y": 1}}, "to.x", "to.x: is missing"),
        ("move", {"to": {"x": "1"}}, "to.x", "to.x: expected a whole number, not text"),
        (
            "move",
            {"to": {"x": 1}, "except": ["a", 1]},
            "except[1]",
            "expected text, not a whole number",
        ),
        ("move", {"to": {"x": 1}, "except_": []}, "except_", "no such parameter"),
        ("move", {"to": {"x": 1}, "speed": 0}, "speed", "expected a whole number, at least 1"),
    ],
)
@trio_test
async def test_an_error_names_the_parameter(
    dispatcher: Dispatcher, method: str, params: Any, parameter: str, words: str
) -> None:
    error = await fail(dispatcher, method, params)
    assert error["code"] == Code.INVALID_PARAMS
    assert error["data"]["parameter"] == parameter
    assert words in error["message"]


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("Expected `float` > 0.0", "expected a number, above 0"),
        ("Expected `float` <= 0.5", "expected a number, at most 0.5"),
        ("Expected `str | null`, got `int`", "expected text or null, not a whole number"),
        ("Expected `int`, got `float`", "expected a whole number, not a fraction"),
        ("Expected `int | bytes`, got `bool`", None),
        ("Expected `str` of length >= 1", "expected text whose length is at least 1"),
        ("Expected `object`, got `array`", "expected an object, not a list"),
        ("Invalid enum value 'z'", "invalid enum value 'z'"),
    ],
)
def test_kinds_are_told_in_words_of_json(text: str, words: str | None) -> None:
    told = str(read_misfit(text))
    assert "`" not in told
    assert told == (words or "expected a whole number or text in base64, not true or false")


@pytest.mark.req("CONTROL-01")
@trio_test
async def test_parameters_have_defaults(dispatcher: Dispatcher) -> None:
    assert (await ask(dispatcher, "move", [{"x": 1}]))["result"] == [1, 0, [], 1]
    assert (await ask(dispatcher, "move", [{"x": 1}, ["a"], 2]))["result"] == [1, 0, ["a"], 2]
    error = await fail(dispatcher, "subtract", [1, 2, 3])
    assert error["message"] == "subtract takes at most 2 parameters, not 3"


@pytest.mark.req("RPC-16")
@trio_test
async def test_an_unknown_method_is_told_with_what_was_meant(dispatcher: Dispatcher) -> None:
    error = await fail(dispatcher, "substract")
    assert error["code"] == Code.METHOD_NOT_FOUND
    assert "did you mean subtract?" in error["message"]
    assert error["data"] == {"method": "substract"}
    assert len((await fail(dispatcher, "x" * 1000))["message"]) < 200


@trio_test
async def test_a_defect_is_logged_and_not_shown(
    dispatcher: Dispatcher, caplog: pytest.LogCaptureFixture
) -> None:
    error = await fail(dispatcher, "fail")
    assert error["code"] == Code.INTERNAL_ERROR
    assert "secret" not in json.dumps(error)
    assert "a secret" in caplog.text


@trio_test
async def test_an_error_of_a_method_keeps_its_data(dispatcher: Dispatcher) -> None:
    assert (await fail(dispatcher, "refuse"))["message"] == "not here"
    assert await fail(dispatcher, "refuse_badly") == {"code": 1003, "message": "not here"}


@pytest.mark.req("RPC-07")
@trio_test
async def test_a_notification_that_fails_is_logged(
    dispatcher: Dispatcher, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO")
    assert await exchange(dispatcher, '{"jsonrpc":"2.0","method":"refuse"}') is None
    assert "refuse was refused: not here" in caplog.text


@pytest.mark.req("CONTROL-21")
@trio_test
async def test_an_answer_that_does_not_fit_is_an_error(dispatcher: Dispatcher) -> None:
    assert len((await ask(dispatcher, "big", [1900]))["result"]) == 1900
    error = await fail(dispatcher, "big", [2000])
    assert error["code"] == Code.TOO_LARGE
    assert error["data"]["max_line_bytes"] == 2000
    assert (await fail(dispatcher, "odd"))["code"] == Code.TOO_LARGE


@pytest.mark.req("CONTROL-22")
@trio_test
async def test_a_batch_whose_answers_fill_the_line_is_cut_short() -> None:
    group = Group()
    dispatcher = Dispatcher([group], max_answer_bytes=2000)
    calls = [
        *({"jsonrpc": "2.0", "method": "big", "params": [1500], "id": number} for number in (1, 2)),
        {"jsonrpc": "2.0", "method": "notify_hello", "params": [1], "id": 3},
        {"jsonrpc": "2.0", "method": "notify_hello", "params": [2]},
        7,
    ]
    answers = await exchange(dispatcher, json.dumps(calls))
    assert [one["id"] for one in answers] == [1, 2, 3, None]
    assert ["result" in one for one in answers] == [True, True, False, False]
    assert answers[2]["error"]["code"] == Code.TOO_LARGE
    assert answers[2]["error"]["message"].startswith("not done")
    assert group.told == []


@pytest.mark.req("CONTROL-13", "CONTROL-15")
@trio_test
async def test_only_what_is_granted_may_be_called(dispatcher: Dispatcher) -> None:
    assert (await fail(dispatcher, "get_data", grant=None))["code"] == Code.UNAUTHORIZED
    assert (await fail(dispatcher, "no_such", grant=None))["code"] == Code.UNAUTHORIZED
    few = Grant("few", ("subtract", "get.*"))
    error = await fail(dispatcher, "get_data", grant=few)
    assert error["code"] == Code.FORBIDDEN
    assert error["message"] == "the token 'few' may not call get_data"
    assert (await ask(dispatcher, "subtract", [1, 1], grant=few))["result"] == 0


def test_a_method_is_described_by_its_function() -> None:
    methods = {one.name: one for one in find_methods(Group())}
    assert methods["subtract"].summary == "Subtract."
    assert methods["subtract"].descriptions == {
        "minuend": "from this, which is a number.",
        "subtrahend": "this.",
    }
    assert not methods["subtract"].is_async
    assert methods["sum"].is_async


def test_a_name_is_taken_once() -> None:
    with pytest.raises(LocalProtocolError, match=r"there is a method \w+ already"):
        Dispatcher([Group(), Group()])


def test_parameters_may_be_deep_and_wrong() -> None:
    """What msgspec cannot decode is an error of the caller."""
    method = Method("subtract", Group().subtract)
    deep = Raw(b'{"minuend":' + b"[" * 400 + b"]" * 400 + b"}")
    with pytest.raises(ControlError):
        method.call(deep, FakeCaller())
