"""Accept-Encoding in every shape, and the codings themselves."""

import zlib
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trio_socketio.http.content_coding import (
    CODINGS,
    MAX_ITEMS,
    ContentCoder,
    choose_coding,
    encode_content,
)

WINDOW_BITS = {"gzip": 31, "deflate": 15}
WINDOW_BYTES = 32 * 1024


def decode(coding: str, body: bytes) -> bytes:
    """Decode it, and check that it is whole and that nothing follows it."""
    inflate = zlib.decompressobj(WINDOW_BITS[coding])
    decoded = inflate.decompress(body)
    assert inflate.eof
    assert inflate.unused_data == b""
    return decoded


@pytest.mark.req("EIO4-73")
@pytest.mark.parametrize(
    ("accepted", "chosen"),
    [
        ("gzip, deflate, br", "gzip"),
        ("deflate, gzip", "gzip"),
        ("deflate", "deflate"),
        ("gzip;q=0.5, deflate;q=0.8", "deflate"),
        ("gzip;q=0.8, deflate;q=0.5", "gzip"),
        ("deflate, gzip;q=1", "gzip"),
        ("gzip;q=0.9, deflate", "deflate"),
        ("gzip;q=0.001", "gzip"),
        ("gzip, identity", "gzip"),
        ("gzip, gzip;q=0", "gzip"),
        ("x-gzip;q=0, gzip", None),
        ("GZIP ; Q=0.3", "gzip"),
        ("x-gzip", "gzip"),
        ("*", "gzip"),
        ("gzip;q=0, *;q=0.1", "deflate"),
        ("*;q=0", None),
        ("gzip;q=0", None),
        ("gzip;q=0.000", None),
        ("br, zstd", None),
        ("identity", None),
        ("identity, gzip;q=0.5", None),
        ("identity;q=0.5, gzip", "gzip"),
        ("identity;q=0.5, *;q=0.5", "gzip"),
        ("", None),
        (",,;q=1,gzip", "gzip"),
        ("gzip;q=1.5", None),
        ("gzip;q=-1", None),
        ("gzip;q=0.1234", None),
        ("gzip;level=9", None),
        ("gzip deflate", None),
        ("br, " * (MAX_ITEMS - 1) + "gzip", "gzip"),
        ("br, " * MAX_ITEMS + "gzip", None),
    ],
)
def test_the_coding_that_the_client_likes_best(accepted: str, chosen: str | None) -> None:
    assert choose_coding(accepted) == chosen


def test_no_header_takes_long() -> None:
    assert MAX_ITEMS == 32
    assert choose_coding("gzip," * 1_000_000) == "gzip"


weights = st.integers(0, 1000).map(lambda n: f"{n / 1000:.3f}")


@pytest.mark.req("EIO4-73")
@given(st.dictionaries(st.sampled_from(["gzip", "deflate", "identity", "*", "br"]), weights))
def test_nothing_is_chosen_that_was_ruled_out_or_is_liked_less(accepted: dict[str, str]) -> None:
    chosen = choose_coding(", ".join(f"{name};q={weight}" for name, weight in accepted.items()))
    liked = {coding: float(accepted.get(coding, accepted.get("*", "0"))) for coding in CODINGS}
    best = max(liked.values())
    if best == 0 or best < float(accepted.get("identity", "0")):
        assert chosen is None
    else:
        assert chosen is not None
        assert liked[chosen] == best


@given(st.text())
def test_garbage_chooses_nothing_unknown(accepted: str) -> None:
    assert choose_coding(accepted) in (None, *CODINGS)


bodies = st.one_of(st.binary(), st.text().map(lambda text: text.encode() * 50))


@pytest.mark.req("EIO4-74")
@pytest.mark.parametrize("coding", CODINGS)
@given(sent=st.lists(bodies, min_size=1, max_size=4), level=st.integers(1, 9))
def test_each_body_can_be_read_by_itself(coding: str, sent: list[bytes], level: int) -> None:
    coder = ContentCoder(level)
    for body in sent:
        assert decode(coding, coder.encode(coding, body)) == body
        assert decode(coding, encode_content(coding, body, level)) == body


@pytest.mark.parametrize("coding", CODINGS)
def test_the_whole_window_of_a_coding_is_used(coding: str) -> None:
    """What is repeated is found as far back as a decoder remembers."""
    block = Random(1).randbytes(WINDOW_BYTES - 1024)
    for encoded in (
        encode_content(coding, block * 2, 6),
        ContentCoder(6).encode(coding, block * 2),
    ):
        assert len(encoded) < WINDOW_BYTES
        assert decode(coding, encoded) == block * 2


def test_a_body_tells_nothing_of_the_one_before() -> None:
    coder = ContentCoder(1)
    secret = bytes(range(32, 127)) * 3
    fresh = ContentCoder(1).encode("deflate", secret)
    coder.encode("deflate", secret)
    assert coder.encode("deflate", secret) == fresh
