"""The metrics and numbers of several processes as those of one program."""

from typing import Any

import pytest
from prometheus_client.parser import text_string_to_metric_families
from tests.workers.fake_workers import FakeWorkers, supervised
from trio.testing import trio_test

from trio_socketio.cluster.workers.metrics import Families, MergedMetrics, WorkersCollector
from trio_socketio.cluster.workers.totals import add_up

OWN = b"""\
# HELP a_total A counter.
# TYPE a_total counter
a_total{x="1 2",y="}"} 1.0
a_total 2.0
# HELP b Only here.
# TYPE b gauge
b 3.0
"""
OTHER = b"""\
# HELP a_total A counter.
# TYPE a_total counter
a_total{x="1"} 4.0
a_total{} 5.0
# HELP c A histogram, only there.
# TYPE c histogram
c_bucket{le="+Inf"} 6.0
c_count 7.0 1700000000
"""


@pytest.mark.req("WORK-41")
@trio_test
async def test_samples_get_a_label_and_families_are_there_once() -> None:
    families = Families()
    await families.add(OWN, b"")
    await families.add(OTHER, b'worker="1"')
    await families.add(OTHER, b'worker="2"')
    lines = families.join().decode().splitlines()
    assert lines == [
        "# HELP a_total A counter.",
        "# TYPE a_total counter",
        'a_total{x="1 2",y="}"} 1.0',
        "a_total 2.0",
        'a_total{worker="1",x="1"} 4.0',
        'a_total{worker="1"} 5.0',
        'a_total{worker="2",x="1"} 4.0',
        'a_total{worker="2"} 5.0',
        "# HELP b Only here.",
        "# TYPE b gauge",
        "b 3.0",
        "# HELP c A histogram, only there.",
        "# TYPE c histogram",
        'c_bucket{worker="1",le="+Inf"} 6.0',
        'c_count{worker="1"} 7.0 1700000000',
        'c_bucket{worker="2",le="+Inf"} 6.0',
        'c_count{worker="2"} 7.0 1700000000',
    ]


class OwnMetrics:
    """The metrics of the parent."""

    def add(self, collector: Any) -> None:
        raise AssertionError

    async def encode(self) -> bytes:
        return OWN


@pytest.mark.req("WORK-41")
@trio_test
async def test_a_parent_shows_the_metrics_of_all_and_its_own_of_them() -> None:
    fake = FakeWorkers()
    async with supervised(fake) as workers:
        await workers.wait_serving()
        text = await MergedMetrics(OwnMetrics(), workers).encode()
        # The fakes answer with a line that is in no family, which is left out.
        assert text == OWN
        found = {family.name: family for family in WorkersCollector(workers).collect()}
        states = {one.labels["state"]: one.value for one in found["tsio_workers"].samples}
        assert states == {
            "starting": 0, "serving": 2, "blocked": 0, "draining": 0, "waiting": 0, "dead": 0,
        }  # fmt: skip
        assert {one.labels["reason"] for one in found["tsio_worker_restarts"].samples} == {
            "signal", "exit", "refused", "not started", "blocked", "asked",
        }  # fmt: skip
        assert found["tsio_worker_answers_missing"].samples[0].value == 0


@trio_test
async def test_long_metrics_are_merged_in_slices_and_can_be_read() -> None:
    lines = [f'a_total{{n="{number}"}} {number}.0' for number in range(1000)]
    text = "\n".join(["# HELP a_total A.", "# TYPE a_total counter", *lines, ""]).encode()
    families = Families()
    await families.add(text, b"")
    await families.add(text, b'worker="1"')
    (family,) = text_string_to_metric_families(families.join().decode())
    assert len(family.samples) == 2000


@pytest.mark.req("WORK-45")
def test_numbers_are_added_up_by_their_place() -> None:
    own = {"sessions": 0, "sockets": {"/": 0}, "traffic": {"bytes_in": 1.5}, "name": "x"}
    others = [
        {"sessions": 2, "sockets": {"/": 2, "/chat": 1}, "traffic": {"bytes_in": 1}, "name": "y"},
        {"sessions": 3, "sockets": {"/chat": 4}, "is": True},
        ["of another shape"],
        {"sessions": {"a": 1}, "sockets": 7, "is": True},
    ]
    assert add_up([own, *others]) == {
        "sessions": 5,
        "sockets": {"/": 2, "/chat": 5},
        "traffic": {"bytes_in": 2.5},
        "name": "x",
        "is": True,
    }
    assert own["sockets"] == {"/": 0}
