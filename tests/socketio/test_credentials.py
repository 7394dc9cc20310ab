"""Events that wait behind the credentials of a client, in numbers."""

from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, cast

import pytest

from trio_socketio.socketio.credentials import BAD_TOKEN, SERVER_ERROR, Credentials
from trio_socketio.socketio.intake import OVERLOAD_FACTOR

if TYPE_CHECKING:
    from trio_socketio import Socket

BOUND = 3


class Client:
    """A client whose handlers may have BOUND events to do; it writes down what it learns."""

    def __init__(self) -> None:
        self.burdens: list[bool] = []
        self.eased = 0
        self.weights: list[int] = []
        self.host = SimpleNamespace(intake=self)

    def add(self, _: object, weight: int) -> None:
        self.weights.append(weight)

    def remove(self, _: object, weight: int) -> None:
        self.weights.remove(weight)

    def burdened(self, *, is_overload: bool) -> None:
        self.burdens.append(is_overload)

    def queue_eased(self) -> None:
        self.eased += 1


class Accepted:
    """Its socket, which can be cut off by the handler of an event."""

    def __init__(self, *, ends_at: int = 0) -> None:
        self.namespace = SimpleNamespace(
            _workers=SimpleNamespace(queue_bound=BOUND, events_dropped=0)
        )
        self._participant = Client()
        self.connected = True
        self.received: list[Any] = []
        self._ends_at = ends_at

    def _open_events(self) -> "Accepted":
        return self

    def receive(self, _: object, arguments: list[Any], ack_id: int | None, weight: int) -> None:
        self.received.append((arguments, ack_id, weight))
        self.connected = len(self.received) != self._ends_at


def credentials_of(socket: Accepted) -> Credentials:
    credentials = Credentials(cast("Socket", socket), "auth")
    credentials.receive_event(["auth", "token"], None, 20)
    return credentials


@pytest.mark.req("JOIN-26")
def test_as_many_events_wait_as_may_wait_for_handlers() -> None:
    socket = Accepted()
    client, credentials = socket._participant, credentials_of(socket)
    for number in range(1, BOUND):
        credentials.receive_event(["ping"], None, number)
        assert credentials.has_room
    assert client.burdens == []
    for held in range(BOUND, OVERLOAD_FACTOR * BOUND + 2):
        credentials.receive_event(["ping"], None, 1)
        assert not credentials.has_room
        assert client.burdens[-1] is (held >= OVERLOAD_FACTOR * BOUND)
    assert len(client.weights) == OVERLOAD_FACTOR * BOUND + 1


@pytest.mark.req("JOIN-22")
@pytest.mark.parametrize("ends_at", [0, 2])
def test_events_that_waited_are_handed_over_in_order_while_there_is_a_socket(ends_at: int) -> None:
    socket = Accepted(ends_at=ends_at)
    client, credentials = socket._participant, credentials_of(socket)
    events = [([f"event {number}"], number, number) for number in range(3)]
    for event in events:
        credentials.receive_event(*event)
    credentials.release()
    handed = ends_at or 3
    assert socket.received == events[:handed]
    assert socket.namespace._workers.events_dropped == 3 - handed
    assert client.weights == []
    assert client.eased == 1


def test_the_codes_of_the_contract() -> None:
    assert (SERVER_ERROR, BAD_TOKEN) == (1, 3)
