"""Which functions can be called with what."""

from functools import partial, wraps
from typing import Any
from unittest.mock import Mock

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trio_socketio import LocalProtocolError
from trio_socketio.signatures import check_event_key, check_function, find_misfit


class Counter:
    def __init__(self, start: int = 0) -> None:
        self.count = start

    def add(self, socket: object) -> None:
        self.count += 1

    def __call__(self, socket: object, reason: str) -> None:
        self.count += 1

    @classmethod
    def of_class(cls, socket: object) -> None:
        cls(1)

    @staticmethod
    def static(socket: object) -> None: ...


def wrapped(function: Any) -> Any:
    """A wrapper that takes what the function inside does not."""

    @wraps(function)
    def wrapper(*arguments: Any) -> Any:
        return function(arguments[0])

    return wrapper


def optional(a: int, b: int = 0, *, c: int = 0) -> None: ...


def keyword(a: int, *, needed: int) -> None: ...


async def later(a: int) -> None: ...


@pytest.mark.parametrize(
    ("function", "counts"),
    [
        (lambda: None, {0}),
        (lambda a: None, {1}),
        (lambda *a: None, {0, 1, 2, 3}),
        (lambda a, *b: None, {1, 2, 3}),
        (lambda a, /, b: None, {2}),
        (lambda **k: None, {0}),
        (optional, {1, 2}),
        (keyword, set()),
        (partial(keyword, needed=1), {1}),
        (partial(optional, 1), {0, 1}),
        (later, {1}),
        (Counter().add, {1}),
        (Counter.add, {2}),
        (Counter.of_class, {1}),
        (Counter.static, {1}),
        (Counter(), {2}),
        (Counter, {0, 1}),
        (wrapped(later), {0, 1, 2, 3}),
        ([].append, {1}),
        (print, {0, 1, 2, 3}),
        (Mock(), {0, 1, 2, 3}),
        (int, {0, 1, 2, 3}),  # tells nothing
        (dict, {0, 1, 2, 3}),
        (5, set()),
        (None, set()),
        ("name", set()),
    ],
)
def test_how_many_arguments_a_function_can_take(function: Any, counts: set[int]) -> None:
    names = ("first", "second", "third")
    assert {n for n in range(4) if find_misfit(function, names[:n]) is None} == counts


@pytest.mark.parametrize(
    ("function", "fits"),
    [
        (lambda: None, False),
        (lambda a: None, True),
        (lambda a, b, c, d: None, True),
        (lambda a, b=1, *c: None, True),
        (lambda *a: None, True),
        (lambda *, a=1: None, False),
        (keyword, False),
        (partial(keyword, 1), False),
        (partial(optional, 1, 2), False),
        (Counter().add, True),
        (print, True),
        (int, True),
        (object(), False),
    ],
)
def test_whether_a_function_can_take_one_and_more(function: Any, fits: bool) -> None:
    assert (find_misfit(function, ("socket",), more=True) is None) is fits


@given(st.integers(0, 4), st.integers(0, 4), st.booleans(), st.integers(0, 4))
def test_it_says_what_python_says(required: int, usual: int, rest: bool, given_: int) -> None:
    parameters = [f"a{n}" for n in range(required)] + [f"b{n}=0" for n in range(usual)]
    function = eval(f"lambda {', '.join(parameters + ['*c'] * rest)}: None")
    names = [f"argument {n}" for n in range(given_)]
    try:
        function(*names)
    except TypeError:
        assert find_misfit(function, names) is not None
    else:
        assert find_misfit(function, names) is None


def test_a_refusal_says_what_it_would_be_called_with() -> None:
    with pytest.raises(LocalProtocolError, match=r"^handler of 'disconnect': later "
                       r"will be called with \(socket, reason\).*too many positional"):  # fmt: skip
        check_function("handler of 'disconnect'", later, ("socket", "reason"))
    with pytest.raises(LocalProtocolError, match=r"^middleware: 5 is not a function$"):
        check_function("middleware", 5, ("socket",))
    assert "called with (socket, ...)" in str(find_misfit(lambda: None, ("socket",), more=True))


@pytest.mark.parametrize("event", ["name", "", 7, 1.5])
def test_events_have_names(event: Any) -> None:
    check_event_key(event)


@pytest.mark.parametrize(
    ("event", "why"),
    [
        (None, "not None"),
        (b"x", "not b'x'"),
        (True, "not True"),
        (["x"], "text or a number"),
        (later, r'write @on\("name"\) above <function later'),
        (Counter(), "parentheses"),
    ],
)
def test_what_is_no_name_is_refused(event: Any, why: str) -> None:
    with pytest.raises(LocalProtocolError, match=why):
        check_event_key(event)
