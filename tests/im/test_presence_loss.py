"""Presence on a Redis that loses what it was told, while nodes crash and stand still."""

import pytest
from hypothesis import settings
from hypothesis.stateful import run_state_machine_as_test
from tests.im.lossy_machine import LossyMachine
from tests.im.redis_world import RedisWorld
from tests.properties import examples
from tests.redis_server import RedisServer


@pytest.mark.req("RSTORE-14", "RSTORE-15")
@pytest.mark.time_limit(300)
def test_no_loss_lets_a_user_in_twice(redis_server: RedisServer) -> None:
    def open_world() -> RedisWorld:
        return RedisWorld(redis_server)

    class Machine(LossyMachine):
        pass

    Machine.open_world = staticmethod(open_world)
    run = settings(max_examples=examples(8), stateful_step_count=40, deadline=None)
    run_state_machine_as_test(Machine, settings=run)
