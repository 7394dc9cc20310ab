"""JWTs: those that are accepted, and every way to forge one."""

import hashlib
import hmac
import json
import time
from base64 import urlsafe_b64encode
from pathlib import Path
from typing import Any

import jwt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.im.identity.tokens import (
    ALGORITHMS,
    SECRET,
    attempt,
    other_key,
    public_pem,
    token,
    write_key,
)
from tests.properties import examples
from trio.testing import trio_test

from trio_socketio.im.identity.claims import ClaimRules
from trio_socketio.im.identity.identity import (
    BAD_SIGNATURE,
    CRITICAL,
    EXPIRED,
    LATER,
    MALFORMED,
    UNAVAILABLE,
    UNKNOWN_KEY,
    WRONG_ALGORITHM,
    WRONG_AUDIENCE,
    Identity,
    Later,
    Reason,
    Refusal,
)
from trio_socketio.im.identity.jwt_verifier import MAX_TRIED, JwtVerifier
from trio_socketio.im.identity.keys import Key, read_key_file

RULES = ClaimRules()


def verifier(
    folder: Path, *algorithms: str, kid: str | None = None, rules: ClaimRules = RULES
) -> JwtVerifier:
    keys = [
        key
        for algorithm in algorithms
        for key in read_key_file(write_key(folder, algorithm), algorithm, kid)
    ]
    return JwtVerifier(tuple(keys), rules)


def judge(by: JwtVerifier, text: str) -> Identity | Reason | Later | None:
    verdict = by.verify_now(attempt(text))
    return verdict.reason if isinstance(verdict, Refusal) else verdict


@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_a_token_is_accepted(tmp_path: Path, algorithm: str) -> None:
    found = judge(verifier(tmp_path, algorithm), token(algorithm, jti="t"))
    assert isinstance(found, Identity)
    assert (found.user, found.token_id) == ("ann", "t")


def test_a_token_of_another_kind_is_left_to_others(tmp_path: Path) -> None:
    for text in (
        "opaque",
        "a.b",
        "",
        "a.b.c.d",
        "a b.c.d",
        "v4.public.abcd",
        f"{_part({})}.e30.AA",
    ):
        assert judge(verifier(tmp_path, "HS256"), text) is None


@pytest.mark.req("IDENT-15")
@pytest.mark.parametrize("algorithm", ["HS256", "RS256", "ES256", "EdDSA"])
def test_a_forged_token_is_refused(tmp_path: Path, algorithm: str) -> None:
    by = verifier(tmp_path, algorithm)
    assert judge(by, token(algorithm, key=other_key(algorithm))) is BAD_SIGNATURE
    head, _, signature = token(algorithm).split(".")
    _, body, _ = token(algorithm, sub="admin").split(".")
    assert judge(by, f"{head}.{body}.{signature}") is BAD_SIGNATURE
    assert judge(by, f"{head}.{body}.") is BAD_SIGNATURE


@pytest.mark.req("IDENT-12")
@pytest.mark.parametrize("public", ["RS256", "ES256", "EdDSA"])
@pytest.mark.parametrize("name", ["HS256", "HS384", "HS512"])
def test_the_text_of_a_public_key_is_no_secret(tmp_path: Path, public: str, name: str) -> None:
    digest = {"HS256": hashlib.sha256, "HS384": hashlib.sha384, "HS512": hashlib.sha512}[name]
    for secret in (public_pem(public), public_pem(public).strip()):
        _, body, _ = token().split(".")
        head = _part({"alg": name})
        made = hmac.new(secret, f"{head}.{body}".encode(), digest).digest()
        forged = f"{head}.{body}.{_part(made)}"
        assert judge(verifier(tmp_path, public), forged) is WRONG_ALGORITHM
        assert judge(verifier(tmp_path, public, "HS256"), forged) in (
            WRONG_ALGORITHM,
            BAD_SIGNATURE,
        )


def _part(value: Any) -> str:
    data = value if isinstance(value, bytes) else json.dumps(value).encode()
    return urlsafe_b64encode(data).rstrip(b"=").decode()


@pytest.mark.req("IDENT-13")
@pytest.mark.parametrize("name", ["none", "None", "NONE", "nOnE", "", "HS257"])
def test_an_algorithm_that_is_none_is_refused(tmp_path: Path, name: str) -> None:
    _, body, signature = token().split(".")
    head = _part({"alg": name})
    by = verifier(tmp_path, "HS256", "RS256")
    assert judge(by, f"{head}.{body}.") is WRONG_ALGORITHM
    assert judge(by, f"{head}.{body}.{signature}") is WRONG_ALGORITHM


@pytest.mark.req("IDENT-14")
@pytest.mark.parametrize("headers", [{"crit": ["exp"], "exp": 1}, {"crit": []}, {"b64": True}])
def test_extensions_that_are_not_known_are_refused(tmp_path: Path, headers: dict[str, Any]) -> None:
    head, body = _part({"alg": "HS256", **headers}), token().split(".")[1]
    made = hmac.new(SECRET, f"{head}.{body}".encode(), hashlib.sha256).digest()
    assert judge(verifier(tmp_path, "HS256"), f"{head}.{body}.{_part(made)}") is CRITICAL


@pytest.mark.parametrize(
    "header",
    [
        {"alg": 1},
        {"alg": None},
        {"alg": ["HS256"]},
        {"alg": "HS256", "kid": 1},
        {"alg": "HS256", "kid": []},
    ],
)
def test_a_header_that_cannot_be_read_is_refused(tmp_path: Path, header: dict[str, object]) -> None:
    _, body, signature = token().split(".")
    assert judge(verifier(tmp_path, "HS256"), f"{_part(header)}.{body}.{signature}") is MALFORMED


def test_keys_in_the_header_of_a_token_are_ignored(tmp_path: Path) -> None:
    headers = {"jwk": {"kty": "oct", "k": "AAAA"}, "jku": "https://evil.example", "x5u": "x"}
    text = token("HS256", key=other_key("HS256"), headers=headers)
    assert judge(verifier(tmp_path, "HS256"), text) is BAD_SIGNATURE


def test_claims_that_are_no_object_are_refused(tmp_path: Path) -> None:
    for payload in (b"[]", b"1", b"\xff", b"{"):
        text = jwt.PyJWS().encode(payload, SECRET, "HS256")
        assert judge(verifier(tmp_path, "HS256"), text) is MALFORMED


def test_the_claims_are_judged(tmp_path: Path) -> None:
    by = verifier(tmp_path, "HS256", rules=ClaimRules(audiences=frozenset(("chat",))))
    assert judge(by, token(exp=int(time.time()) - 1)) is EXPIRED
    assert judge(by, token(aud="mail")) is WRONG_AUDIENCE
    assert isinstance(judge(by, token(aud="chat")), Identity)


def test_a_key_is_found_by_its_name(tmp_path: Path) -> None:
    by = verifier(tmp_path, "HS256", "RS256", kid="k")
    assert isinstance(judge(by, token("RS256", kid="k")), Identity)
    assert isinstance(judge(by, token("RS256")), Identity), "it names none"
    assert judge(by, token("RS256", kid="other")) is UNKNOWN_KEY
    assert judge(by, token("ES256", kid="k")) is WRONG_ALGORITHM


@pytest.mark.req("IDENT-68")
def test_few_keys_are_tried(tmp_path: Path) -> None:
    tried = []

    def verify(signed: bytes, signature: bytes) -> bool:
        tried.append(signed)
        return False

    by = JwtVerifier((Key(None, "HS256", verify),) * 50, RULES)
    assert judge(by, token()) is BAD_SIGNATURE
    assert len(tried) == MAX_TRIED
    for algorithm, bound in (("ES256", 4), ("EdDSA", 4), ("ES384", 2), ("ES512", 2)):
        tried.clear()
        by = JwtVerifier((Key(None, algorithm, verify),) * 50, RULES)
        found = by.verify_now(attempt(token(algorithm)))
        assert isinstance(found, Refusal)
        assert found.reason is BAD_SIGNATURE
        assert "does not name its key (kid)" in found.message
        assert len(tried) == bound
        by = JwtVerifier((Key(None, algorithm, verify),) * bound, RULES)
        assert by.verify_now(attempt(token(algorithm))) == Refusal(BAD_SIGNATURE)


@settings(max_examples=examples(160), deadline=None)
@given(st.data())
@pytest.mark.req("IDENT-15")
def test_no_mutated_token_is_accepted(tmp_path_factory: pytest.TempPathFactory, data: Any) -> None:
    algorithm = data.draw(st.sampled_from(("HS256", "RS256", "ES256", "EdDSA")))
    by = _verifiers(tmp_path_factory)
    original = _original(algorithm)
    text = original
    for _ in range(data.draw(st.integers(1, 3))):
        place = data.draw(st.integers(0, len(text)))
        change = data.draw(st.sampled_from(("replace", "insert", "delete", "swap", "cut")))
        letter = data.draw(
            st.sampled_from("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_.=+/")
        )
        if change == "swap":
            parts = text.split(".")
            text = ".".join(data.draw(st.permutations(parts)))
        elif change == "cut":
            text = text[:place]
        else:
            text = (
                text[:place]
                + ("" if change == "delete" else letter)
                + (text[place:] if change == "insert" else text[place + 1 :])
            )
    if text != original:
        assert not isinstance(by.verify_now(attempt(text or "x")), Identity), text


_made: dict[str, Any] = {}


def _verifiers(factory: pytest.TempPathFactory) -> JwtVerifier:
    if "by" not in _made:
        folder = factory.mktemp("keys")
        _made["by"] = verifier(folder, "HS256", "RS256", "ES256", "EdDSA")
    by: JwtVerifier = _made["by"]
    return by


def _original(algorithm: str) -> str:
    text: str = _made.setdefault(algorithm, token(algorithm))
    return text


@given(st.text())
def test_any_text_gives_a_verdict(text: str) -> None:
    by = JwtVerifier((), RULES)
    assert not isinstance(by.verify_now(attempt(text)), (Identity, Later))


class Source:
    """Keys that are known only when somebody has asked."""

    def __init__(self, *keys: Key, works: bool = True) -> None:
        self.keys: tuple[Key, ...] = ()
        self.next = keys
        self.works = works
        self.may_know_more = True
        self.are_current = False

    def current(self) -> tuple[Key, ...]:
        return self.keys

    async def ask_again(self) -> None:
        if self.works:
            self.keys = self.next
        self.may_know_more = False
        self.are_current = self.works


@pytest.mark.parametrize("kid", ["k", None])
@trio_test
async def test_a_key_that_is_not_known_may_be_new(tmp_path: Path, kid: str | None) -> None:
    source = Source(*read_key_file(write_key(tmp_path, "RS256"), None, kid))
    by = JwtVerifier((), RULES, source)
    text = token("RS256", kid=kid)
    assert judge(by, text) is LATER
    assert isinstance(await by.verify(attempt(text)), Identity)
    assert isinstance(judge(by, text), Identity), "it is known now"
    if kid is not None:
        assert judge(by, token("RS256", kid="other")) is UNKNOWN_KEY


@trio_test
async def test_an_anonymous_key_of_a_file_does_not_stand_for_one_of_the_url(
    tmp_path: Path,
) -> None:
    (key,) = read_key_file(write_key(tmp_path, "ES256"), None, "k")
    by = JwtVerifier(tuple(read_key_file(write_key(tmp_path, "RS256"))), RULES, Source(key))
    assert judge(by, token("ES256", kid="k")) is LATER
    assert isinstance(await by.verify(attempt(token("ES256", kid="k"))), Identity)


@pytest.mark.req("IDENT-17")
def test_only_what_another_key_could_change_is_asked_for(tmp_path: Path) -> None:
    by = JwtVerifier(tuple(read_key_file(write_key(tmp_path, "RS256"))), RULES, Source())
    for kid in (None, "unknown"):
        assert judge(by, token("RS256", kid=kid, exp=1)) is EXPIRED
        assert judge(by, token("RS256", kid=kid, key=other_key("RS256"))) is LATER


@pytest.mark.req("IDENT-67")
@trio_test
async def test_without_the_keys_of_the_url_the_fault_is_ours() -> None:
    by = JwtVerifier((), RULES, Source(works=False))
    assert judge(by, token("RS256", kid="k")) is LATER
    for kid in ("k", "another", None):
        for text in (token("RS256", kid=kid), token("RS256", kid=kid)):
            assert await by.verify(attempt(text)) == Refusal(UNAVAILABLE)
            assert judge(by, text) is UNAVAILABLE, "also when it is not asked again"
    by = JwtVerifier((), RULES, Source())
    assert await by.verify(attempt(token("RS256", kid="k"))) == Refusal(UNKNOWN_KEY)
