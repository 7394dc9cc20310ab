"""Tokens of the configuration."""

from pathlib import Path

import pytest
from tests.im.identity.tokens import attempt
from trio.testing import trio_test

from trio_socketio.errors import ConfigurationError
from trio_socketio.im.identity.identity import Identity
from trio_socketio.im.identity.options import StaticToken
from trio_socketio.im.identity.static_tokens import StaticTokens


def test_a_token_stands_for_its_user(tmp_path: Path) -> None:
    path = tmp_path / "token"
    path.write_text("token-of-bob\n")
    tokens = StaticTokens(
        [
            StaticToken(user="ann", token="token-of-ann"),
            StaticToken(user="bob", file=str(path)),
            StaticToken(user="ann", token="token-of-ann"),
        ]
    )
    for user in ("ann", "bob"):
        found = tokens.verify_now(attempt(f"token-of-{user}"))
        assert isinstance(found, Identity)
        assert found.user == user
        assert found.token_id == f"static:{user}:0"
    for other in ("token-of-ann ", "Token-of-ann", "x", "\ud800"):
        assert tokens.verify_now(attempt(other)) is None


@pytest.mark.parametrize(
    ("content", "why"),
    [
        (b"short", "at least 8"),
        (b"\xff" * 20, "at least 8"),
        (b"token-of-ann\nnot-of-bob\n", "one line"),
        (b"x" * 4097, "larger than 4096 bytes"),
        (None, "cannot read the token of 'ann' in"),
    ],
)
def test_a_file_that_cannot_be_used_is_named(
    tmp_path: Path, content: bytes | None, why: str
) -> None:
    path = tmp_path / "token"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(ConfigurationError, match=why) as caught:
        StaticTokens([StaticToken(user="ann", file=str(path))])
    assert str(path) in str(caught.value)


def test_each_token_of_a_user_has_an_id_of_its_own() -> None:
    long = "u" * 256
    tokens = StaticTokens(
        [
            StaticToken(user=user, token=f"{user}-{n}")
            for n in range(2)
            for user in ("ann-of-a", long)
        ]
    )
    for number in range(2):
        found = tokens.verify_now(attempt(f"ann-of-a-{number}"))
        assert isinstance(found, Identity)
        assert found.token_id == f"static:ann-of-a:{number}"
    found = tokens.verify_now(attempt(f"{long}-1"))
    assert isinstance(found, Identity)
    assert found.token_id is None, "it would be longer than the id of a token may be"


def test_two_users_with_one_token_are_an_error() -> None:
    with pytest.raises(ConfigurationError, match="'ann' and 'bob' are the same"):
        StaticTokens([StaticToken(user=user, token="the same for both") for user in ("ann", "bob")])


@trio_test
async def test_they_never_have_to_ask() -> None:
    with pytest.raises(AssertionError):
        await StaticTokens([]).verify(attempt("x"))
