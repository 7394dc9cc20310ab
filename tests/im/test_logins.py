"""Users who log in again and again; `make logins` is the long form."""

import pytest
from tests.im.logins import run_logins
from tests.im.node_logins import run_over_nodes
from trio.testing import trio_test

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
