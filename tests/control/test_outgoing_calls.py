"""Answers are paired with the requests, whenever they come."""

import pytest
import trio
from msgspec import Raw
from trio.testing import MockClock, trio_test

from trio_socketio.codec.json_rpc import Code, Response
from trio_socketio.control.outgoing_calls import OutgoingCalls
from trio_socketio.errors import ControlError, SessionClosed


def answer(number: int | None, result: bytes) -> Response:
    return Response(number, Raw(result), None)


@trio_test
async def test_the_first_answer_counts_also_if_it_comes_early() -> None:
    calls = OutgoingCalls("the peer", 10)
    one, two = calls.expect(), calls.expect()
    calls.receive(answer(two, b"2"))
    calls.receive(answer(two, b"3"))
    calls.receive(answer(None, b"4"))
    calls.receive(answer(77, b"5"))
    error = ControlError(1003, "no")
    calls.receive(Response(one, None, error))
    assert await calls.wait([one, two], 1) == [error, Raw(b"2")]
    assert len(calls) == 0


@pytest.mark.req("CONTROL-36")
@trio_test
async def test_so_many_are_awaited_and_no_more(mock_clock: MockClock) -> None:
    mock_clock.autojump_threshold = 0
    calls = OutgoingCalls("the peer", 2)
    numbers = [calls.expect(), calls.expect()]
    with pytest.raises(ControlError, match="the peer already has 2 calls to answer") as caught:
        calls.expect()
    assert caught.value.code == Code.OVERLOADED
    with pytest.raises(ControlError, match="the peer has not answered within 3 s") as caught:
        await calls.wait(numbers, 3)
    assert caught.value.code == Code.TIMEOUT
    assert trio.current_time() == pytest.approx(3)
    calls.expect()


@trio_test
async def test_the_end_is_told_to_those_who_wait_and_to_those_who_come() -> None:
    calls = OutgoingCalls("the peer", 2)
    answered, waiting = calls.expect(), calls.expect()
    calls.receive(answer(answered, b"1"))
    calls.close("it has gone")
    calls.close("again")
    assert await calls.wait([answered], 1) == [Raw(b"1")]
    with pytest.raises(SessionClosed) as caught:
        await calls.wait([waiting], 1)
    assert caught.value.reason == "it has gone"
    with pytest.raises(SessionClosed):
        calls.expect()
