"""Questions that are sent again: how many answers of a client are awaited."""

from trio_socketio.socketio.acks import GatheredAcks, PendingAcks


class Client:
    awaited = 0

    def ack_awaited(self) -> None:
        self.awaited += 1

    def ack_over(self) -> None:
        self.awaited -= 1


def test_an_answer_that_is_expected_twice_is_counted_once() -> None:
    client = Client()
    acks = PendingAcks(client)
    for _ in range(2):
        acks.expect(7, GatheredAcks())
    assert client.awaited == 1
    acks.receive(7, [], "somebody")
    assert client.awaited == 0
