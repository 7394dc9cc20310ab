"""Users who log in again and again; `make logins` is the long form."""

from collections import Counter

import pytest
from tests.im.logins import run_logins
from tests.im.node_logins import run_over_nodes
from tests.im.raw_clients import HUNG_UP
from trio.testing import trio_test

from trio_socketio.im.presence import MemoryStore
from trio_socketio.im.presence.store import StoreUnavailable
from trio_socketio.protocol.presence_claims import Claimed, ClaimRequest, Fenced, Taken

USERS, LOGINS = 120, 14
NODES, FEWER_USERS, FEWER_LOGINS, ROUNDS = 3, 40, 5, 12


@pytest.mark.req("PRES-41", "PRES-42", "PRES-43", "PRES-44", "PRES-46", "PRES-47", "PRES-48")
@pytest.mark.alone
@trio_test
async def test_users_who_log_in_again_and_again_have_one_session_each() -> None:
    outcome = await run_logins(USERS, LOGINS)
    assert not outcome.complaints, str(outcome)
    assert len(outcome.raw["entered"]) > USERS * LOGINS / 2
    assert outcome.official["entered"] == USERS // 10 * LOGINS
    assert {kind.partition(" ")[0] for kind in outcome.official["kinds"]} == {"4.8", "2.5"}
    assert outcome.raw["ends"]["told replaced"] > USERS


@pytest.mark.req("PRES-41", "PRES-42", "PRES-43", "PRES-44", "PRES-46", "PRES-47", "PRES-48")
@pytest.mark.alone
@trio_test
async def test_users_have_one_session_each_over_three_nodes() -> None:
    outcome = await run_over_nodes(NODES, FEWER_USERS, FEWER_LOGINS, rounds=ROUNDS)
    assert not outcome.complaints, str(outcome)
    assert len(outcome.raw["entered"]) > FEWER_USERS * FEWER_LOGINS / 2
    assert outcome.official["entered"] == FEWER_USERS // 10 * FEWER_LOGINS
    assert len(outcome.barriers["rounds"]) == 3 * ROUNDS
    assert outcome.barriers["ends"]["refused: session replaced"] > 0  # they did meet


class Failing(MemoryStore):
    """A store that does not answer the third claim of each user."""

    def __init__(self) -> None:
        super().__init__()
        self.asked = Counter[str]()

    @property
    def at_once(self) -> None:
        return None

    async def claim(self, request: ClaimRequest) -> Claimed | Taken | Fenced:
        self.asked[request.user] += 1
        if self.asked[request.user] == 3:
            raise StoreUnavailable("this claim is one of those that fail")
        return await super().claim(request)


@pytest.mark.req("JOIN-39")
@pytest.mark.alone
@trio_test
async def test_clients_of_every_kind_are_hung_up_on_while_the_store_is_away() -> None:
    outcome = await run_logins(FEWER_USERS, FEWER_LOGINS, store=Failing())
    assert outcome.official["ends"] == {HUNG_UP: FEWER_USERS // 10}
    # Others leave before they are answered, or break their connection.
    assert outcome.raw["ends"][HUNG_UP] > FEWER_USERS // 2
    assert len(outcome.complaints) == 2, str(outcome)
    assert all("were hung up on" in one for one in outcome.complaints), "nothing else is wrong"
