"""What clients may do and say, as services of the program: the rules and the chat events."""

from collections.abc import Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

import msgspec

from trio_socketio.codec.json_rpc_codes import Code
from trio_socketio.control.methods import read_misfit
from trio_socketio.errors import ControlError, OptionError
from trio_socketio.im.chat import Chat, ToConfirm
from trio_socketio.im.deliveries.order import Accepted, Order
from trio_socketio.im.rules.options import NamespaceRules
from trio_socketio.im.rules.service import Rules

if TYPE_CHECKING:
    from collections.abc import Iterator

    from prometheus_client.registry import Collector

    from trio_socketio.configuration.tables import Configuration
    from trio_socketio.control.nodes import Nodes
    from trio_socketio.im.deliveries.service import Deliveries
    from trio_socketio.im.identity.service import IdentityService
    from trio_socketio.im.namespaces.definition import NamespaceDefinition
    from trio_socketio.runtime.runtime import Runtime
    from trio_socketio.socketio.server import Server


class ChatServices:
    """The rules and the chat events, which go by them and hand messages to confirmed delivery.

    Args:
        server: has the clients.
        configuration: the options.
        nodes: the cluster; None if there is none.
        identity: knows the claims of clients; None if everybody may enter.
        deliveries: takes the messages that have to be confirmed.

    Attributes:
        chat: the chat events.
        rules: what clients may do.
    """

    def __init__(
        self,
        server: "Server",
        configuration: "Configuration",
        nodes: "Nodes | None",
        identity: "IdentityService | None",
        deliveries: "Deliveries",
    ) -> None:
        bearer_of = None if identity is None else identity.client_of
        self.rules = Rules(server, configuration.rules, bearer_of)
        self.chat = Chat(
            server,
            configuration.chat,
            nodes=nodes,
            permits=self.rules,
            confirm=self._confirm,
        )
        self._identity = identity
        self._deliveries = deliveries
        self._asking = configuration.identity
        self._has_app = configuration.app.spec is not None

    async def _confirm(self, messages: Sequence[ToConfirm], ids: list[str]) -> None:
        """Have messages of a client delivered with confirmation (CHAT-06, CHAT-21, CHAT-31).

        Raises:
            ControlError: one is not accepted.
        """
        if any(one.sender is None for one in messages):  # CHAT-33: the backend has no sender either
            raise ControlError(
                Code.FORBIDDEN,
                "messages that have to be confirmed are accepted of clients alone that have said "
                "who they are",
            )
        orders = [
            Order(
                namespace=one.namespace,
                event=one.event,
                args=[one.message],
                users=one.users,
                rooms=one.rooms,
                sender=one.sender,
            )
            for one in messages
        ]
        accepted: list[Accepted] = []
        try:
            await self._deliveries.start_all(orders, accepted)
        finally:
            ids.extend(one.id for one in accepted)

    def collectors(self) -> "Iterator[Collector]":
        """Return what collects the metrics."""
        from trio_socketio.im.chat.metrics import ChatCollector
        from trio_socketio.im.rules.metrics import RulesCollector

        yield RulesCollector(self.rules)
        yield ChatCollector(self.chat)

    async def start(self, runtime: "Runtime") -> None:
        """Start the services."""
        await runtime.start_service("rules", partial(self.rules.run, runtime))
        await runtime.start_service("chat", partial(self.chat.run, runtime))

    def apply(self, configuration: "Configuration") -> None:
        """Apply other options."""
        self.rules.apply(configuration.rules)
        self._asking = configuration.identity

    # -- the definitions of namespaces that are made at run time

    def check(self, definition: "NamespaceDefinition") -> None:
        """Refuse rules that cannot be used, and confirmation without chat events (CHAT-30).

        Raises:
            OptionError: it says why.
        """
        rules = _read_rules(definition)
        if rules is not None and rules.claim is not None:
            methods = definition.identity
            if methods is None:
                methods = self._asking.methods_in(definition.namespace)
            fault = self._asking.fault_of_claim(rules.claim, methods)
            if fault:  # RULE-11
                raise OptionError("rules.claim", f"is {rules.claim}, {fault}")
        if definition.confirm and not definition.chat:
            raise OptionError("confirm", "has no effect without chat")
        if definition.confirm and not self._may_ask(definition):  # CHAT-33
            raise OptionError(
                "confirm",
                f"nobody can confirm messages in {definition.namespace}, because nobody is asked "
                "there who it is: name methods in identity",
            )

    def _may_ask(self, definition: "NamespaceDefinition") -> bool:
        """Whether clients may be asked who they are; an app may do that itself."""
        if definition.identity is not None:
            return len(definition.identity) > 0
        if self._identity is None:
            return self._has_app
        return self._identity.is_to_ask_in(definition.namespace)

    def define(self, definition: "NamespaceDefinition") -> None:
        """Apply a definition.

        Raises:
            OptionError: this server cannot, as another one could.
        """
        self.check(definition)
        name = definition.namespace
        self.rules.define(name, _read_rules(definition))
        if definition.chat:
            self.chat.serve(name, confirm=definition.confirm)
        else:
            self.chat.cease(name)

    def forget(self, namespace: str) -> None:
        """Restore what is configured."""
        self.rules.define(namespace, None)
        self.chat.cease(namespace)


def _read_rules(definition: "NamespaceDefinition") -> NamespaceRules | None:
    """Read the rules of a definition.

    Raises:
        OptionError: they cannot be used.
    """
    if definition.rules is None:
        return None
    given: dict[str, Any] = {**definition.rules, "name": definition.namespace}
    try:
        return msgspec.convert(given, NamespaceRules)
    except msgspec.ValidationError as error:
        misfit = read_misfit(str(error))
        place = f"rules.{misfit.place}" if misfit.place else "rules"
        raise OptionError(place, misfit.reason) from None
    except OptionError as error:
        raise error.within("rules") from None
