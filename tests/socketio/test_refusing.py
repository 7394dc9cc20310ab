"""What a client is told that may not join, what the log says of it, and who is hung up on."""

import json
import logging
from types import SimpleNamespace
from typing import Any, cast

import pytest
from tests.socketio.in_process import FakeSession
from tests.socketio.serving import check_closed, open_client, serving
from trio.testing import trio_test

from trio_socketio import ConnectRefused, Joining, Server
from trio_socketio.engine.ids import shorten_sid
from trio_socketio.protocol.joining import State
from trio_socketio.socketio.refusing import (
    NotNow,
    hang_up_for_now,
    refuse,
    tell_refused,
    turn_away,
)
from trio_socketio.socketio.revisions import REVISION_4, REVISION_5, Revision
from trio_socketio.socketio.steps import Step


class Session(FakeSession):
    """A session that can be hung up on."""

    def abort(self) -> None:
        self.aborted = True


class Client:
    """A client that is in some namespaces, as a user or as nobody."""

    def __init__(self, revision: Revision = REVISION_5, **users: str | None) -> None:
        self.host = Server()._host
        self.revision = revision
        self.session = Session()
        self.sockets = {
            name: SimpleNamespace(namespace=SimpleNamespace(name=f"/{name}"), user=user)
            for name, user in users.items()
        }

    @property
    def sent(self) -> list[str]:
        return [packet.text.decode() for packet in self.session.sent]


def turned_away(client: Client, error: ConnectRefused) -> None:
    """Have a client turned away whose CONNECT was not answered yet."""
    turn_away(cast("Any", client), "/chat", None, None, error, 3)


# --- the log -------------------------------------------------------------------------------------


@pytest.mark.req("LOG-22", "LOG-25")
@pytest.mark.parametrize("level", [logging.INFO, logging.WARNING])
@pytest.mark.parametrize(
    ("name", "message", "told"),
    [
        ("/chat", "no\nentry", r"'/chat': 'no\nentry'"),
        ("/" + "x" * 119, "y" * 120, f"'/{'x' * 119}': '{'y' * 120}'"),
        ("/" + "x" * 120, "y" * 121, f"'/{'x' * 119}...': '{'y' * 120}...'"),
        ("/chat", ["no", "entry"], "'/chat': 'list'"),
        (
            "/chat",
            "Too many namespaces",
            "'/chat': 'Too many namespaces'; see [sockets] max_namespaces_per_session and "
            "max_dynamic_namespaces",
        ),
    ],
)
@trio_test
async def test_a_refusal_has_a_line(
    name: str, message: object, told: str, level: int, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(level, "trio_socketio.socketio.refusing")
    client = Client()
    tell_refused(cast("Any", client), name, message)
    if level > logging.INFO:
        assert caplog.messages == []
        return
    (record,) = caplog.records
    session = shorten_sid(client.session.sid)
    assert record.getMessage() == f"refused session {session} in namespace {told}"
    fields: dict[str, str] = vars(record)["fields"]
    assert (fields["refusal"], fields["session"]) == ("clients refused by namespaces", session)
    assert fields["namespace"] == name[:120] + "..." * (len(name) > 120)


# --- the answer to a CONNECT ---------------------------------------------------------------------


@pytest.mark.parametrize(
    ("revision", "told", "answer"),
    [
        pytest.param(REVISION_5, {"message": "no"}, {"message": "no"}),
        pytest.param(REVISION_5, {"message": "no", "data": 0}, {"message": "no", "data": 0}),
        pytest.param(REVISION_4, {"message": "no"}, "no", marks=pytest.mark.req("SIO4-04")),
        pytest.param(REVISION_4, {"message": "no", "data": 0}, 0, marks=pytest.mark.req("SIO4-04")),
    ],
)
def test_clients_of_each_revision_are_told(
    revision: Revision, told: dict[str, Any], answer: Any
) -> None:
    client = Client(revision)
    refuse(cast("Any", client), "/chat", told)
    (text,) = client.sent
    assert text.startswith("44/chat,")
    assert json.loads(text.removeprefix("44/chat,")) == answer


@pytest.mark.req("LOG-22")
@trio_test
async def test_a_client_that_was_not_answered_keeps_its_session(
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.INFO, "trio_socketio.socketio.refusing")
    client = Client()
    turned_away(client, ConnectRefused("no"))
    assert "'/chat': 'no'" in caplog.text
    assert client.sent == ['44/chat,{"message":"no"}']
    assert client.session.is_open
    assert not client.session.aborted


# --- who may come again --------------------------------------------------------------------------


@pytest.mark.req("JOIN-39")
@pytest.mark.parametrize(
    ("revision", "users", "hung_up"),
    [
        (REVISION_5, {}, True),
        (REVISION_5, {"": None}, False),
        (REVISION_5, {"other": None}, False),
        (REVISION_4, {}, True),
        (REVISION_4, {"": None}, True),
        (REVISION_4, {"": "ann"}, False),
        (REVISION_4, {"other": None}, False),
        (REVISION_4, {"": None, "other": None}, False),
    ],
)
@trio_test
async def test_one_that_cannot_join_now_is_hung_up_on_unless_it_is_elsewhere(
    revision: Revision, users: dict[str, str | None], hung_up: bool
) -> None:
    client = Client(revision, **users)
    turned_away(client, NotNow("the store is away"))
    assert client.session.aborted is hung_up
    assert len(client.sent) == (not hung_up)
    assert hang_up_for_now(cast("Any", client)) is hung_up


# --- clients that were accepted ------------------------------------------------------------------


@pytest.mark.req("JOIN-23", "JOIN-37")
@pytest.mark.parametrize("reply", [None, "auth/reply"])
@pytest.mark.parametrize(
    "error",
    [
        ConnectRefused("\ud800"),
        ConnectRefused("no", data={"reason": "\ud800"}),
    ],
    ids=["message", "reason"],
)
@trio_test
async def test_a_refusal_that_cannot_be_sent_is_told_in_other_words(
    error: ConnectRefused, reply: str | None
) -> None:
    server = Server()

    async def authenticate(joining: Joining) -> None:
        await joining.accept("auth", 5, reply).wait()
        raise error

    server.of("/").add_steps([Step(State.AUTHENTICATING, authenticate)])
    async with serving(server) as port, open_client(port) as client:
        await client.connect()
        await client.emit("auth", ack_id=7)
        told = {"errcode": 3, "errmsg": "Internal server error"}
        if reply is not None:
            assert await client.receive_event() == [reply, told]
            text, _ = await client.receive()
            assert (text[:2], json.loads(text[2:])) == ("37", [told])
        assert await client.receive_event() == ["logic/error", told]
        assert (await client.receive())[0] == "1"
        await check_closed(client)
        statistics = server.statistics()
        assert (statistics.joining, statistics.handler_failures) == (0, 1)
