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


@pytest.mark.req("RSTORE-10")
def test_the_loss_of_a_log_to_which_nothing_was_written_is_noticed(
    redis_server: RedisServer,
) -> None:
    world = RedisWorld(redis_server)
    store = world.stores[0]
    try:
        world.do(store.count, "/first")
        world.save()
        world.do(store.count, "/second")
        told = world.do(store.count, "/third").cursor
        world.roll_back()
        assert world.do(store.count, "/third").cursor.generation > told.generation
    finally:
        world.close()
