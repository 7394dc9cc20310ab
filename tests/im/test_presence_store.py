"""The presence stores against a plain model; every store that is added runs under it."""

import pytest
from hypothesis import settings
from hypothesis.stateful import run_state_machine_as_test
from tests.im.presence_machine import PresenceMachine
from tests.im.redis_world import RedisWorld
from tests.im.store_world import MemoryWorld, StoreWorld
from tests.properties import examples
from tests.redis_server import RedisServer


class MemoryMachine(PresenceMachine):
    open_world = MemoryWorld


@pytest.mark.req(
    "PRES-41", "PRES-42", "PRES-43", "PRES-44", "PRES-45", "PRES-46", "PRES-47", "PRES-48"
)
@pytest.mark.time_limit(240)
@pytest.mark.parametrize("machine", [MemoryMachine])
def test_a_store_against_the_model(machine: type[PresenceMachine]) -> None:
    run = settings(max_examples=examples(30), stateful_step_count=40, deadline=None)
    run_state_machine_as_test(machine, settings=run)


@pytest.mark.time_limit(240)
def test_the_store_on_redis_against_the_model(redis_server: RedisServer) -> None:
    def open_world() -> StoreWorld:
        return RedisWorld(redis_server)

    class RedisMachine(PresenceMachine):
        pass

    RedisMachine.open_world = staticmethod(open_world)

    run = settings(max_examples=examples(8), stateful_step_count=40, deadline=None)
    run_state_machine_as_test(RedisMachine, settings=run)
