"""Rules by claim, in the definitions of namespaces that are made at run time."""

from types import SimpleNamespace
from typing import Any, cast

import pytest
from trio.testing import trio_test

from trio_socketio import Server
from trio_socketio.chat_services import ChatServices
from trio_socketio.configuration.tables import Configuration
from trio_socketio.errors import OptionError
from trio_socketio.im.identity.options import IdentityOptions, JwtOptions, NamespaceIdentity
from trio_socketio.im.namespaces.definition import NamespaceDefinition


def configured(*claims: str) -> Configuration:
    return Configuration(
        identity=IdentityOptions(
            jwt=JwtOptions(claims=claims),
            backend=True,
            namespaces=(NamespaceIdentity(name="/jwt-*", methods=("jwt",)),),
        )
    )


@pytest.mark.req("RULE-11")
@trio_test
async def test_a_definition_cannot_go_by_a_claim_that_is_not_kept() -> None:
    services = ChatServices(Server(), configured(), None, None, cast("Any", SimpleNamespace()))

    def defined(name: str = "/made", *methods: str) -> NamespaceDefinition:
        return NamespaceDefinition(namespace=name, identity=methods or None, rules={"claim": "acl"})

    for refused in (defined(), defined("/jwt-1"), defined("/made", "jwt", "backend")):
        for take in (services.check, services.define):
            with pytest.raises(OptionError, match=r"acl, which .* does not name") as caught:
                take(refused)
            assert caught.value.option == "rules.claim"
    with pytest.raises(OptionError, match="no client there has any"):
        services.check(defined("/made", "static"))
    services.check(defined("/made", "backend"))
    with pytest.raises(OptionError, match=r"^rules\.rooms: expected a list or null, not text$"):
        services.check(NamespaceDefinition(namespace="/made", rules={"rooms": "lobby"}))
    services.apply(configured("acl"))
    services.define(defined())
    assert services.rules.find("/made") is not None
