"""Leases: who is alive, and who will never be again."""

from math import inf

import pytest

from trio_socketio.protocol.leases import TOMBSTONE_S, Leases


def test_a_lease_lasts_its_time() -> None:
    leases = Leases(10)
    assert leases.lease_s == 10
    assert not leases.is_alive("a1", 0)
    assert leases.enroll("a", "a1", 5) == ()
    assert leases.is_alive("a1", 14.9)
    assert not leases.is_alive("a1", 15)
    assert leases.ends_at("a1") == 15


@pytest.mark.req("PRES-22")
def test_a_lease_is_renewed_in_time_or_never() -> None:
    leases = Leases(10)
    leases.enroll("a", "a1", 0)
    assert leases.renew("a1", 9)
    assert leases.ends_at("a1") == 19
    assert leases.is_alive("a1", 18)
    assert not leases.renew("a1", 19)
    assert leases.ends_at("a1") == 19
    assert not leases.renew("unknown", 0)


@pytest.mark.req("PRES-22")
def test_an_ended_lease_cannot_be_enrolled_again() -> None:
    leases = Leases(10)
    leases.enroll("a", "a1", 0)
    assert leases.enroll("a", "a1", 10) is None
    leases.enroll("b", "b1", 10)
    leases.end("b1", 11)
    assert leases.enroll("b", "b1", 11) is None
    assert not leases.is_alive("b1", 11)
    assert leases.ends_at("b1") == 11


def test_the_same_boot_may_enroll_while_it_lives() -> None:
    leases = Leases(10)
    leases.enroll("a", "a1", 0)
    assert leases.enroll("a", "a1", 5) == ()
    assert leases.ends_at("a1") == 15


@pytest.mark.req("PRES-23")
def test_a_node_that_restarts_ends_its_earlier_lease() -> None:
    leases = Leases(inf)
    leases.enroll("a", "a1", 0)
    leases.enroll("b", "b1", 0)
    assert leases.enroll("a", "a2", 5) == ("a1",)
    assert not leases.is_alive("a1", 5)
    assert leases.ends_at("a1") == 5
    assert leases.is_alive("a2", 1e9)
    assert leases.is_alive("b1", 1e9)
    assert leases.enroll("a", "a3", 6) == ("a2",)
    assert leases.enroll("a", "a2", 6) is None


def test_the_end_of_a_lease_does_not_come_later() -> None:
    leases = Leases(10)
    leases.enroll("a", "a1", 0)
    leases.end("a1", 50)
    assert leases.ends_at("a1") == 10
    leases.end("unknown", 0)


@pytest.mark.req("PRES-22")
def test_a_lease_is_remembered_for_a_day() -> None:
    leases = Leases(10)
    leases.enroll("a", "a1", 0)
    assert leases.enroll("a", "a1", 10 + TOMBSTONE_S - 1) is None
    assert leases.enroll("a", "a1", 10 + TOMBSTONE_S) == ()
    assert leases.enroll("a", "a1", 30 + 2 * TOMBSTONE_S) == ()
    assert TOMBSTONE_S == 86400


def test_a_lease_has_no_dict() -> None:
    leases = Leases(10)
    leases.enroll("a", "a1", 0)
    assert not hasattr(leases._by_boot["a1"], "__dict__")
