"""The claims of a token whose signature is right."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trio_socketio.im.identity.claims import ClaimRules, identify
from trio_socketio.im.identity.identity import (
    BAD_CLAIM,
    EXPIRED,
    MISSING_CLAIM,
    NOT_YET_VALID,
    TOO_LONG,
    WRONG_AUDIENCE,
    WRONG_ISSUER,
    Identity,
    Reason,
    Refusal,
)

NOW = 1_800_000_000.0
GOOD: dict[str, Any] = {"sub": "ann", "exp": NOW + 60}
RULES = ClaimRules(leeway_s=5, max_lifetime_s=3600)


def verdict(rules: ClaimRules = RULES, /, **claims: Any) -> Identity | Reason:
    given = {name: value for name, value in {**GOOD, **claims}.items() if value != "leave out"}
    found = identify(given, rules, NOW)
    return found.reason if isinstance(found, Refusal) else found


def test_who_it_is() -> None:
    rules = RULES._replace(kept=("role", "none"))
    assert verdict(rules, jti="t1", iat=NOW - 1, role=["a"], secret="x") == Identity(
        user="ann",
        token_id="t1",
        issued_at_s=NOW - 1,
        leeway_s=5,
        expires_at_s=NOW + 60,
        claims={"role": ["a"]},
    )


@pytest.mark.req("IDENT-01")
@pytest.mark.parametrize(
    ("sub", "user"), [("7", "7"), (7, "7"), (-7, "-7"), ("ß" * 128, "ß" * 128)]
)
def test_the_id_of_a_user_is_text_or_a_whole_number(sub: object, user: str) -> None:
    found = verdict(sub=sub)
    assert isinstance(found, Identity)
    assert found.user == user


@pytest.mark.req("IDENT-02")
@pytest.mark.parametrize(
    "sub",
    ["", "x" * 257, "ß" * 129, "a\nb", "a\0", "\ud800", 1.5, True, None, [], {}, 10**20, -(10**20)],
)
def test_what_cannot_be_the_id_of_a_user_is_refused(sub: object) -> None:
    assert verdict(sub=sub) is BAD_CLAIM


@pytest.mark.req("IDENT-05")
def test_exp_is_required() -> None:
    assert verdict(exp="leave out") is MISSING_CLAIM


@pytest.mark.req("IDENT-06")
def test_sub_is_required() -> None:
    assert verdict(sub="leave out") is MISSING_CLAIM


@pytest.mark.req("IDENT-07")
@pytest.mark.parametrize(("exp", "expired"), [(NOW - 5, True), (NOW - 4, False), (0, True)])
def test_a_token_that_has_expired_is_refused(exp: float, expired: bool) -> None:
    assert (verdict(exp=exp) is EXPIRED) is expired


@pytest.mark.req("IDENT-08")
@pytest.mark.parametrize("claim", ["nbf", "iat"])
def test_a_token_of_the_future_is_refused(claim: str) -> None:
    assert verdict(**{claim: NOW + 6}) is NOT_YET_VALID
    assert isinstance(verdict(**{claim: NOW + 5}), Identity)


@pytest.mark.req("IDENT-09")
@pytest.mark.parametrize("iss", ["leave out", "other", "", None, 1, ["mine"], {"mine": 1}])
def test_another_issuer_is_refused(iss: object) -> None:
    rules = RULES._replace(issuers=frozenset(("mine", "ours")))
    assert verdict(rules, iss=iss) is WRONG_ISSUER
    assert isinstance(verdict(rules, iss="ours"), Identity)
    assert isinstance(verdict(iss=iss), Identity), "no issuer is demanded"


@pytest.mark.req("IDENT-10")
def test_a_token_that_outlives_revocations_is_refused() -> None:
    assert verdict(exp=NOW + 3606) is TOO_LONG
    assert isinstance(verdict(exp=NOW + 3605), Identity)


@pytest.mark.req("IDENT-11")
@pytest.mark.parametrize("aud", ["leave out", "other", "", None, 1, [], ["other"], [["chat"]], {}])
def test_another_audience_is_refused(aud: object) -> None:
    rules = RULES._replace(audiences=frozenset(("chat",)))
    assert verdict(rules, aud=aud) is WRONG_AUDIENCE
    for good in ("chat", ["other", "chat"]):
        assert isinstance(verdict(rules, aud=good), Identity)
        assert verdict(aud=good) is WRONG_AUDIENCE, "it is for somebody, and not for us"


def test_a_token_without_an_audience_is_told_so() -> None:
    rules = RULES._replace(audiences=frozenset(("chat",)))
    for aud, words in (
        ("leave out", "the token names no audience (aud)"),
        (None, "the token names no audience (aud)"),
        ("mail", "the token is for another audience"),
    ):
        given = GOOD if aud == "leave out" else {**GOOD, "aud": aud}
        refusal = identify(given, rules, NOW)
        assert isinstance(refusal, Refusal)
        assert refusal.message == words


@pytest.mark.parametrize("claim", ["exp", "nbf", "iat"])
@pytest.mark.parametrize(
    "value", ["1", None, True, [], {}, float("nan"), float("inf"), -float("inf"), 10**400, 1e11]
)
def test_what_is_no_time_is_refused(claim: str, value: object) -> None:
    assert verdict(**{claim: value}) is BAD_CLAIM


@pytest.mark.parametrize("jti", ["", 7, "x" * 257, "a\nb", [], {}])
def test_what_cannot_be_the_id_of_a_token_is_refused(jti: object) -> None:
    assert verdict(jti=jti) is BAD_CLAIM


values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=5,
)


@given(st.dictionaries(st.sampled_from(("sub", "exp", "nbf", "iat", "iss", "aud", "jti")), values))
def test_any_claims_give_a_verdict(claims: dict[str, Any]) -> None:
    rules = RULES._replace(issuers=frozenset(("i",)), audiences=frozenset(("a",)), kept=("sub",))
    found = identify(claims, rules, NOW)
    if isinstance(found, Identity):
        assert claims["exp"] > NOW - 5
        assert claims["iss"] == "i"
