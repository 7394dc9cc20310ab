"""Policies: which verifiers are asked in a namespace."""

import pytest
from tests.im.identity.tokens import attempt

from trio_socketio.im.identity.chain import Decision, Policies
from trio_socketio.im.identity.des_tokens import DesTokens
from trio_socketio.im.identity.identity import UNKNOWN_TOKEN, Identity, Refusal, Verifier
from trio_socketio.im.identity.options import DesOptions, NamespaceIdentity, StaticToken
from trio_socketio.im.identity.static_tokens import StaticTokens

VERIFIERS = {"static": StaticTokens([StaticToken(user="ann", token="token-of-ann")])}


@pytest.mark.req("IDENT-34")
def test_a_namespace_without_methods_is_open() -> None:
    policies = Policies(VERIFIERS, [NamespaceIdentity(name="/open", methods=())])
    assert policies.find("/open") is None
    chain = policies.find("/other")
    assert chain is not None
    found = chain.verify_now(attempt("token-of-ann"))
    assert isinstance(found, Decision)
    assert isinstance(found.verdict, Identity)
    assert Policies({}, []).find("/") is None


@pytest.mark.req("IDENT-66")
def test_a_namespace_whose_methods_are_not_set_up_is_closed() -> None:
    policies = Policies(VERIFIERS, [NamespaceIdentity(name="/chat", methods=("jwt",))])
    chain = policies.find("/chat")
    assert chain is not None
    for token in ("token-of-ann", "x"):
        assert chain.verify_now(attempt(token)) == Decision("none", Refusal(UNKNOWN_TOKEN))


@pytest.mark.req("LEG-12")
def test_only_a_namespace_that_names_des_takes_its_tokens() -> None:
    des = DesTokens(DesOptions(key="abcdefgh", iv="12345678"))
    verifiers: dict[str, Verifier] = {**VERIFIERS, "des": des}
    policies = Policies(verifiers, [NamespaceIdentity(name="/old", methods=("static", "des"))])
    old = policies.find("/old")
    assert old is not None
    assert old._verifiers == (VERIFIERS["static"], des)
    policies.give("/room", ["des"])
    room = policies.find("/room")
    assert room is not None
    assert room._verifiers == (des,)
    policies.give("/room", None)
    for name in ("/chat", "/room"):
        chain = policies.find(name)
        assert chain is not None
        assert chain._verifiers == (VERIFIERS["static"],)
    alone = Policies({"des": des}, []).find("/")
    assert alone is not None  # closed, not open
    assert alone._verifiers == ()
