"""A body that is collected piece by piece."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trio_socketio.errors import PayloadTooLarge
from trio_socketio.http.incoming_body import MIN_BODY_BYTES_PER_S, IncomingBody


@given(st.lists(st.binary(max_size=20), max_size=5))
def test_a_body_is_its_pieces(pieces: list[bytes]) -> None:
    body = IncomingBody(sum(map(len, pieces)), 10.0, 0.0)
    for piece in pieces:
        body.add(piece)
    assert body.joined() == b"".join(pieces)


def test_a_piece_over_the_bound_is_refused() -> None:
    body = IncomingBody(3, 10.0, 0.0)
    body.add(b"abc")
    with pytest.raises(PayloadTooLarge):
        body.add(b"d")
    body.add(b"")
    assert body.joined() == b"abc"


@pytest.mark.req("HTTP-28")
def test_what_has_come_pays_for_more_time() -> None:
    assert MIN_BODY_BYTES_PER_S == 500
    body = IncomingBody(10_000, 10.0, 100.0)
    assert body.deadline == 110.0
    body.add(bytes(MIN_BODY_BYTES_PER_S * 2))
    assert body.deadline == 112.0
