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
        repeated: entries that had come before.
    """

    def __init__(self, namespace: str = "/chat") -> None:
        self.users: dict[str, set[str]] = {}
        self.entries: list[dict[str, Any]] = []
        self.gaps: list[str] = []
        self.repeated = 0
        self._namespace = namespace
        self._at: Position | None = None  # None while a snapshot is incomplete

    def take(self, asked: Asked) -> None:
        assert asked.method == "POST"
        assert asked.headers["content-type"] == "application/json"
        check_signature(asked)
        if asked.json["namespace"] != self._namespace:
            return
        for record in asked.json["records"]:
            self._take(record)
        told = asked.json["cursor"]
        assert (None if told is None else position(told)) == self._at

    def _take(self, record: dict[str, Any]) -> None:
        if record["type"] == "gap":
            self.gaps.append(record["reason"])
            self.users.clear()
            self._at = None
        elif record["type"] == "snapshot":
            for one in record["users"]:
                self.users[one["user"]] = {seat["token"] for seat in one["seats"]}
            self._at = position(record["cursor"]) if record["last"] else None
        else:
            self._take_entry(record)

    def _take_entry(self, entry: dict[str, Any]) -> None:
        at = position(entry["cursor"])
        assert self._at is not None, "an entry within a snapshot"
        if at <= self._at:
            self.repeated += 1
            return
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
