"""Replies of Redis go to the commands that they answer, however the bytes are cut."""

from collections.abc import Iterable
from itertools import pairwise
from math import inf
from typing import Any

import hiredis
import pytest
from hypothesis import given
from hypothesis import strategies as st

from trio_socketio.errors import RedisCommandError, RemoteProtocolError
from trio_socketio.protocol.redis_pipeline import Confirmation, Message, Pipeline

PUSH = b">3\r\n$7\r\nmessage\r\n$4\r\nnews\r\n$2\r\nhi\r\n"
CONFIRMED = b">3\r\n$9\r\nsubscribe\r\n$4\r\nnews\r\n:1\r\n"


class Recorder:
    """A slot that remembers what became of it."""

    def __init__(self, deadline: float = inf) -> None:
        self.deadline = deadline
        self.got: list[Any] = []

    def expire(self) -> None:
        self.got.append("expired")

    def answer(self, reply: Any) -> None:
        self.got.append(reply)

    def lose(self, reason: str) -> None:
        self.got.append(("lost", reason))


class World:
    """A pipeline, and what it has handed over."""

    def __init__(self, max_commands: int = 100, max_bytes: int = 1000) -> None:
        self.messages: list[Message] = []
        self.woken = 0
        self.pipeline = Pipeline(
            self.messages.append,
            self._wake,
            max_commands=max_commands,
            max_bytes=max_bytes,
            max_reply_bytes=1000,
        )

    def _wake(self) -> None:
        self.woken += 1

    def ask(self, command: bytes = b"x") -> Recorder:
        slot = Recorder()
        assert self.pipeline.add(command, slot)
        return slot

    def receive(self, *pieces: bytes, limit: int = 16) -> None:
        for piece in pieces:
            self.pipeline.feed(piece)
            while self.pipeline.dispatch(limit):
                pass


def test_commands_leave_in_their_order_and_wake_once() -> None:
    world = World()
    for command in (b"a", b"b", b"c"):
        world.ask(command)
    assert (world.woken, world.pipeline.unsent_bytes) == (1, 3)
    assert world.pipeline.take() == (b"abc", 3)
    assert world.pipeline.unsent_bytes == 3  # until they have left
    world.pipeline.sent(2)
    world.ask(b"d")
    assert (world.woken, world.pipeline.unsent_bytes) == (2, 2)
    assert world.pipeline.take() == (b"d", 1)
    assert world.pipeline.waiting == 4


REPLIES = [
    (b"+OK\r\n", b"OK"),
    (b":12\r\n", 12),
    (b"$3\r\nabc\r\n", b"abc"),
    (b"_\r\n", None),
    (b"#f\r\n", False),
    (b",1.5\r\n", 1.5),
    (b"*2\r\n:1\r\n+a\r\n", [1, b"a"]),
    (b"%1\r\n+a\r\n:1\r\n", {b"a": 1}),
]


@pytest.mark.req("REDIS-10")
@given(st.lists(st.sampled_from([*REPLIES, (PUSH, None)]), max_size=12), st.data())
def test_any_chunking_gives_the_same_replies(
    wire: list[tuple[bytes, Any]], data: st.DataObject
) -> None:
    world = World()
    replies = [reply for encoded, reply in wire if encoded != PUSH]
    slots = [world.ask() for _ in replies]
    whole = b"".join(encoded for encoded, _ in wire)
    cuts = sorted(data.draw(st.sets(st.integers(0, len(whole)))) | {0, len(whole)})
    pieces = [whole[start:end] for start, end in pairwise(cuts)]
    world.receive(*pieces, limit=data.draw(st.integers(1, 5)))
    assert [slot.got for slot in slots] == [[reply] for reply in replies]
    assert world.messages == [[b"message", b"news", b"hi"]] * (len(wire) - len(replies))
    assert world.pipeline.waiting == 0


def test_no_more_than_the_limit_is_handed_over_at_once() -> None:
    world = World()
    slots = [world.ask() for _ in range(3)]
    world.pipeline.feed(b":1\r\n:2\r\n:3\r\n")
    assert world.pipeline.dispatch(2)
    assert [slot.got for slot in slots] == [[1], [2], []]
    assert not world.pipeline.dispatch(2)
    assert slots[2].got == [3]


@pytest.mark.req("REDIS-12")
def test_the_queue_has_a_bound_in_commands() -> None:
    world = World(max_commands=2)
    world.ask(), world.ask()
    refused = Recorder()
    assert not world.pipeline.add(b"x", refused)
    assert world.pipeline.take() == (b"xx", 2)
    assert not world.pipeline.add(b"x", refused)  # sent, but not answered
    assert world.pipeline.add(b"x", refused, is_bounded=False)
    world.receive(b":1\r\n", b":2\r\n")
    assert world.pipeline.add(b"x", refused)
    assert refused.got == []


@pytest.mark.req("REDIS-12")
def test_the_queue_has_a_bound_in_bytes() -> None:
    world = World(max_bytes=10)
    world.ask(b"x" * 6)
    assert not world.pipeline.add(b"y" * 5, Recorder())
    world.ask(b"y" * 4)
    taken, _ = world.pipeline.take()
    assert taken == b"xxxxxxyyyy"
    assert not world.pipeline.add(b"z", Recorder())
    world.pipeline.sent(10)
    world.ask(b"z" * 10)


@pytest.mark.parametrize("text", [b"ERR wrong", b"ERR \xff\xfe"])
def test_an_error_is_the_reply_of_its_command_alone(text: bytes) -> None:
    world = World()
    first, second = world.ask(), world.ask()
    world.receive(b"-%s\r\n*1\r\n-ERR inside\r\n" % text)
    (error,) = first.got
    assert isinstance(error, RedisCommandError)
    assert error.code == "ERR"
    assert str(error) == text.decode(errors="replace")
    ((inside,),) = second.got
    assert isinstance(inside, RedisCommandError)


@pytest.mark.req("REDIS-25")
def test_messages_come_between_replies_in_their_order() -> None:
    world = World()
    slot = world.ask()
    world.receive(PUSH + b":1\r\n" + PUSH.replace(b"hi", b"ho"))
    assert slot.got == [1]
    assert [message[2] for message in world.messages] == [b"hi", b"ho"]


def test_pushes_of_other_kinds_are_passed_over() -> None:
    world = World()
    slot = world.ask()
    world.receive(b">2\r\n$10\r\ninvalidate\r\n_\r\n:1\r\n")
    assert (slot.got, world.messages) == ([1], [])


def confirming(world: World, kind: bytes = b"subscribe") -> list[RedisCommandError | None]:
    done: list[RedisCommandError | None] = []
    assert world.pipeline.add(b"x", Confirmation(kind, b"news", done.append))
    return done


def test_a_confirmation_takes_the_place_of_a_reply() -> None:
    world = World()
    before, done, after = world.ask(), confirming(world), world.ask()
    world.receive(b":1\r\n" + PUSH + CONFIRMED + b":2\r\n")
    assert (before.got, done, after.got) == ([1], [None], [2])


def test_a_refused_subscription_has_an_error_in_its_place() -> None:
    world = World()
    done, after = confirming(world), world.ask()
    world.receive(b"-NOPERM no\r\n:2\r\n")
    assert [str(error) for error in done] == ["NOPERM no"]
    assert after.got == [2]


def slots(world: World, kinds: Iterable[str]) -> None:
    for kind in kinds:
        world.ask() if kind == "ask" else confirming(world, kind.encode())


@pytest.mark.req("REDIS-11")
@pytest.mark.parametrize(
    ("asked", "received", "told"),
    [
        ([], b":1\r\n", "a reply to no command"),
        ([], CONFIRMED, "not asked for"),
        (["ask"], CONFIRMED, "not asked for"),
        (["subscribe"], b":1\r\n", "in place of a confirmation"),
        (["unsubscribe"], CONFIRMED, "another subscription"),
        (["psubscribe"], CONFIRMED, "another subscription"),
        (["subscribe"], CONFIRMED.replace(b"news", b"old!"), "another subscription"),
    ],
)
def test_what_does_not_fit_is_an_error(asked: list[str], received: bytes, told: str) -> None:
    world = World()
    slots(world, asked)
    world.pipeline.feed(received)
    with pytest.raises(RemoteProtocolError, match=told):
        world.pipeline.dispatch(16)


@pytest.mark.req("REDIS-22")
def test_what_is_no_resp_is_an_error() -> None:
    world = World()
    world.ask()
    world.pipeline.feed(b"HTTP/1.1 400 Bad Request\r\n\r\n")
    with pytest.raises(RemoteProtocolError, match="not RESP3"):
        world.pipeline.dispatch(16)


@pytest.mark.req("REDIS-22")
@pytest.mark.parametrize("before", ["nothing", "a batch", "messages", "a large one"])
def test_a_reply_has_a_bound(before: str) -> None:
    """Many small ones are not one large one, however they were handed over."""
    world = World()
    if before == "a batch":  # all that is there, so that it is not known whether there is more
        world.pipeline.feed(PUSH * 40)
        assert world.pipeline.dispatch(40)
    elif before == "messages":
        world.receive(*[PUSH] * 40, PUSH * 40)
    elif before == "a large one":
        slot = world.ask()
        world.receive(b"$900\r\n", b"x" * 900, b"\r\n")
        assert slot.got == [b"x" * 900]
    world.ask()
    world.receive(b"$5000\r\n", b"x" * 993)  # 1000 bytes
    world.pipeline.feed(b"x")
    with pytest.raises(RemoteProtocolError, match="more than 1000 bytes"):
        world.pipeline.dispatch(16)


@given(st.binary(max_size=200))
def test_garbage_raises_nothing_undocumented(received: bytes) -> None:
    world = World()
    slots(world, ["ask", "subscribe", "ask"])
    world.pipeline.feed(received)
    try:
        while world.pipeline.dispatch(16):
            pass
    except RemoteProtocolError:
        pass


@pytest.mark.req("REDIS-19")
def test_a_loss_is_told_to_every_slot_once() -> None:
    world = World()
    answered, sent = world.ask(), world.ask()
    done = confirming(world)
    world.pipeline.take()
    unsent = world.ask()
    world.receive(b":1\r\n")
    world.pipeline.lose("cut")
    world.pipeline.lose("again")
    assert answered.got == [1]
    assert sent.got == unsent.got == [("lost", "cut")]
    assert done == []
    assert world.pipeline.take() == (b"", 0)
    assert (world.pipeline.waiting, world.pipeline.unsent_bytes) == (0, 0)
    assert not world.pipeline.add(b"x", Recorder())
    assert not world.pipeline.add(b"x", Recorder(), is_bounded=False)


@pytest.mark.req("REDIS-36")
def test_slots_learn_of_their_deadline_once_and_keep_their_places() -> None:
    world = World()
    first, second, third = Recorder(1.0), Recorder(2.0), Recorder(3.0)
    for slot in (first, Recorder(), second):
        world.pipeline.add(b"x", slot)
    confirming(world)
    world.pipeline.add(b"x", third)
    assert world.pipeline.expire(0.5) == 1.0
    assert world.pipeline.expire(1.5) == 2.0
    assert world.pipeline.expire(2.0) == 3.0
    assert (first.got, second.got, third.got) == (["expired"], ["expired"], [])
    world.receive(b":1\r\n:2\r\n:3\r\n" + CONFIRMED + b":4\r\n")
    assert (first.got, second.got, third.got) == (["expired", 1], ["expired", 3], [4])
    assert world.pipeline.expire(9.0) == inf


def test_what_hiredis_gives_is_what_is_relied_on() -> None:
    """PushNotification and the sentinel are public, and few programs use them."""
    reader = hiredis.Reader(notEnoughData=Ellipsis)
    reader.feed(PUSH)
    assert type(reader.gets()) is hiredis.PushNotification
    assert reader.gets() is Ellipsis
    command: Any = (b"GET", "k", 1, 1.5)
    assert hiredis.pack_command(command) == (
        b"*4\r\n$3\r\nGET\r\n$1\r\nk\r\n$1\r\n1\r\n$3\r\n1.5\r\n"
    )
