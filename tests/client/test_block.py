"""What the block of open_client raises reaches the program as it is."""

from collections.abc import Callable

import pytest
import trio
from tests.client.fake_server import FakeServer, options
from trio.testing import MockClock, trio_test

from trio_socketio.client.nursery import open_bare_nursery


class OwnBaseException(BaseException):
    """Of no class that a program would catch."""


FAILURES: list[Callable[[], BaseException]] = [
    lambda: ValueError("could not save"),
    lambda: OwnBaseException(),
    lambda: ExceptionGroup("of the program", [ValueError("could not save")]),
    lambda: BaseExceptionGroup("of the program", [OwnBaseException(), ValueError("two")]),
]


async def join(fake: FakeServer) -> None:
    end = await fake.accept_websocket()
    await end.join()
    while await end.receive() != "closed":
        pass


@pytest.mark.req("CLI-37")
@pytest.mark.parametrize("cancelled", [False, True])
@pytest.mark.parametrize("failure", FAILURES)
@trio_test
async def test_it_is_raised_alone_and_with_its_cause(
    autojump_clock: MockClock, failure: Callable[[], BaseException], cancelled: bool
) -> None:
    fake, raised, caught = FakeServer(), failure(), None
    cause, context = KeyError("cause"), KeyError("context")
    raised.__cause__ = cause
    async with trio.open_nursery() as nursery:
        nursery.start_soon(join, fake)
        with trio.move_on_after(1):
            try:
                async with fake.client(options=options()):
                    try:
                        if cancelled:
                            await trio.sleep_forever()
                    finally:
                        try:
                            raise context
                        except KeyError:
                            raise raised  # noqa: B904 - the cause was set above
            except BaseException as error:
                caught = error
    assert caught is not None
    if not isinstance(raised, BaseExceptionGroup):  # trio makes an equal group of a group
        assert caught is raised
    assert repr(caught) == repr(raised)
    assert caught.__cause__ is cause
    assert caught.__context__ is context


@pytest.mark.req("CLI-37")
@trio_test
async def test_a_cancellation_alone_is_no_failure(autojump_clock: MockClock) -> None:
    fake = FakeServer()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(join, fake)
        with trio.move_on_after(1) as scope:
            async with fake.client(options=options()):
                await trio.sleep_forever()
    assert scope.cancelled_caught


@trio_test
async def test_what_a_task_raises_is_not_lost() -> None:
    async def fail() -> None:
        try:
            await trio.sleep_forever()
        finally:
            raise LookupError("task")

    async def run(error: Exception | None) -> None:
        async with open_bare_nursery() as nursery:
            nursery.start_soon(fail)
            await trio.testing.wait_all_tasks_blocked()
            if error is not None:
                raise error

    with pytest.RaisesGroup(pytest.RaisesExc(LookupError), pytest.RaisesExc(ValueError)):
        await run(ValueError("block"))
    with pytest.raises(LookupError, match="task"):
        await run(None)
