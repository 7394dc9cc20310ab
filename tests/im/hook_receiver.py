"""A receiver of the presence webhook, such as operators write. It refuses what cannot be so."""

import hmac
from hashlib import sha256
from typing import Any

from tests.http.answering import Asked

SECRET = "a secret that signs what the receiver is told"

Position = tuple[int, int]


def position(cursor: str) -> Position:
    generation, _, sequence = cursor.partition("-")
    return int(generation), int(sequence)


class Receiver:
    """What the webhook has told of one namespace.

    Attributes:
        users: the tokens of the seats of each user.
        entries: those that were new, in order.
        gaps: the reasons.
        repeated: records that were left out, because they had come before or came too late.
    """

    def __init__(self, namespace: str = "/chat") -> None:
        self.users: dict[str, set[str]] = {}
        self.entries: list[dict[str, Any]] = []
        self.gaps: list[str] = []
        self.repeated = 0
        self._namespace = namespace
        self._at: Position = (0, 0)  # the highest cursor that was taken
        self._is_complete = True  # otherwise a snapshot is under way

    def take(self, asked: Asked) -> None:
        assert asked.method == "POST"
        assert asked.headers["content-type"] == "application/json"
        check_signature(asked)
        self.take_body(asked.json)

    def take_body(self, body: dict[str, Any]) -> None:
        if body["namespace"] != self._namespace:
            return
        for record in body["records"]:
            at = position(record["cursor"])
            if at < self._at or (at == self._at and self._is_complete):
                self.repeated += 1
            else:
                self._take(record, at)
        told = body["cursor"]
        assert told is None or position(told) <= self._at

    def _take(self, record: dict[str, Any], at: Position) -> None:
        if record["type"] == "gap":
            if at == self._at:
                return  # of the snapshot that is under way
            self.gaps.append(record["reason"])
            self.users.clear()
            self._at, self._is_complete = at, False
        elif record["type"] == "snapshot":
            assert at == self._at, "a snapshot without a gap"
            for one in record["users"]:
                self.users[one["user"]] = {seat["token"] for seat in one["seats"]}
            self._is_complete = record["last"]
        else:
            self._take_entry(record, at)

    def _take_entry(self, entry: dict[str, Any], at: Position) -> None:
        assert self._is_complete, "an entry within a snapshot"
        assert at == (self._at[0], self._at[1] + 1), "an entry is missing, and nobody has said so"
        assert entry["namespace"] == self._namespace
        self._at = at
        self.entries.append(entry)
        seats = self.users.setdefault(entry["user"], set())
        if entry["type"] in ("online", "moved", "seat_added"):
            assert bool(seats) == (entry["type"] != "online")
            seats.discard(entry["prev"])
            seats.add(entry["token"])
        else:
            seats.remove(entry["token"])
            assert bool(seats) == (entry["type"] == "seat_removed")
        if not seats:
            del self.users[entry["user"]]


def check_signature(asked: Asked) -> None:
    fields = dict(one.split("=") for one in asked.headers["trio-socketio-signature"].split(","))
    signed = f"{fields['t']}.{fields['n']}.".encode() + asked.body
    assert fields["v1"] == hmac.new(SECRET.encode(), signed, sha256).hexdigest()
