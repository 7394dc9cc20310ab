"""Which namespaces ask for identity, and which verifiers are asked there, in their order."""

from collections.abc import Callable, Collection, Iterable, Mapping

import msgspec

from trio_socketio.im.identity.identity import (
    UNKNOWN_TOKEN,
    Attempt,
    Later,
    Refusal,
    Verdict,
    Verifier,
)
from trio_socketio.im.identity.options import NamespaceIdentity
from trio_socketio.protocol.namespace_patterns import ByNamespace


class Decision(msgspec.Struct, frozen=True):
    """What was decided about a client.

    Args:
        method: of the verifier that has decided; "none" if none knows the token.
        verdict: who the client is, or why it is refused.
    """

    method: str
    verdict: Verdict


class Chain:
    """The verifiers that are asked, one after the other, until one knows the kind of the token.

    Args:
        verifiers: in the order in which they are asked.
    """

    def __init__(self, verifiers: Iterable[Verifier]) -> None:
        self._verifiers = tuple(verifiers)

    def verify_now(self, attempt: Attempt) -> Decision | Verifier:
        """Decide about a client, or return the verifier whose `verify` has to be awaited."""
        for verifier in self._verifiers:
            verdict = verifier.verify_now(attempt)
            if isinstance(verdict, Later):
                return verifier
            if verdict is not None:
                return Decision(verifier.method, verdict)
        return Decision("none", Refusal(UNKNOWN_TOKEN))  # IDENT-03


class Policies:
    """The chain of each namespace.

    Args:
        verifiers: all that are set up, by method, in their order.
        namespaces: what holds for single namespaces; all others ask all verifiers but `des`.

    Attributes:
        methods: those that are set up.
        find_configured: returns what `find` does where no methods were given.
    """

    def __init__(
        self, verifiers: Mapping[str, Verifier], namespaces: Iterable[NamespaceIdentity]
    ) -> None:
        def choose(methods: Collection[str]) -> Chain | None:
            # IDENT-34: it is open if no methods are named. If none of those that are named is set
            # up, it is closed, as a chain without verifiers refuses every token.
            chosen = [verifiers[method] for method in verifiers if method in methods]
            return Chain(chosen) if methods else None

        chains = {one.name: choose(one.methods) for one in namespaces}
        strong = [verifiers[method] for method in verifiers if method != "des"]
        # LEG-12: if DES tokens are all there is, it is closed rather than open.
        default = Chain(strong) if verifiers else None
        self.methods = tuple(verifiers)
        self._choose = choose
        self.find_configured: Callable[[str], Chain | None] = ByNamespace(chains, default).find
        self._given: dict[str, Chain | None] = {}

    def find(self, namespace: str) -> Chain | None:
        """Return the chain of a namespace by its name; None if everybody may enter it."""
        if namespace in self._given:
            return self._given[namespace]
        return self.find_configured(namespace)

    def give(self, namespace: str, methods: Collection[str] | None) -> None:
        """Give a namespace methods of its own; None restores the configured methods."""
        if methods is None:
            self._given.pop(namespace, None)
        else:
            self._given[namespace] = self._choose(methods)
