"""Has identity and presence go by the definitions of namespaces that are made at run time."""

from typing import Final

from trio_socketio.errors import ConfigurationError, OptionError
from trio_socketio.im.identity.service import IdentityService
from trio_socketio.im.namespaces.definition import NamespaceDefinition, SeatDefinition
from trio_socketio.im.presence import Presence
from trio_socketio.im.presence.named_seats import NamedSeats
from trio_socketio.im.presence.options import check_linger
from trio_socketio.im.presence.seat_options import SeatOptions
from trio_socketio.socketio.options import ServerOptions

_NOBODY: Final = "no client is asked who it is: set [identity] in the configuration"


class DefinedIdentity:
    """Identifies the clients of namespaces as their definitions say.

    Args:
        identity: None if the configuration sets up no methods.
    """

    def __init__(self, identity: IdentityService | None) -> None:
        self._identity = identity

    def check(self, definition: NamespaceDefinition) -> None:
        """Refuse methods that are not set up.

        Raises:
            OptionError: one of them is not.
        """
        if self._identity is None:
            if definition.identity:
                raise OptionError("identity", _NOBODY)
            return
        known = self._identity.methods
        for method in definition.identity or ():
            if method not in known:
                raise OptionError(
                    "identity",
                    f"{method[:32]!r} is not set up in [identity]; {' and '.join(known)} can be "
                    "used",
                )

    def define(self, definition: NamespaceDefinition) -> None:
        self.check(definition)  # another node may be set up differently
        if self._identity is not None:
            self._identity.give(definition.namespace, definition.identity)

    def forget(self, namespace: str) -> None:
        if self._identity is not None:
            self._identity.give(namespace, None)


class DefinedSeats:
    """Gives the users of namespaces their seats as the definitions say. It follows DefinedIdentity.

    Args:
        identity: None if the configuration sets up no methods.
        presence: None if nobody is known to be online. It gives no seats by name if the app does.
        options: of the server.
    """

    def __init__(
        self,
        identity: IdentityService | None,
        presence: Presence | None,
        options: ServerOptions,
    ) -> None:
        self._identity = identity
        self._presence = presence
        self._options = options

    @property
    def _named(self) -> NamedSeats | None:
        """The seats by name; None if the app gives the seats itself, or there are none."""
        return None if self._presence is None else self._presence._named

    def check(self, definition: NamespaceDefinition) -> None:
        """Refuse seats that cannot be given.

        Raises:
            OptionError: it says why.
        """
        seats = definition.seats
        if seats is None or seats.policy == "none":
            return
        if self._presence is None or self._identity is None:
            raise OptionError("seats", _NOBODY)
        if self._named is None:
            raise OptionError("seats", "the app gives the seats of its namespaces itself")
        methods = definition.identity
        name = definition.namespace
        asks = self._identity.is_to_ask_in(name) if methods is None else bool(methods)
        if not asks:
            raise OptionError("seats", "nobody is asked there who it is: give it identity, too")
        if seats.linger_s and not (definition.recovery and self._options.state_recovery):
            raise OptionError("seats.linger_s", "has no effect without recovery")
        try:
            check_linger("it", seats.linger_s, self._options)
        except ConfigurationError as error:
            raise OptionError("seats.linger_s", str(error)) from None

    def define(self, definition: NamespaceDefinition) -> None:
        self.check(definition)
        named = self._named
        if named is None:
            return
        if definition.seats is None:
            named.take_back(definition.namespace)
        else:
            named.give(definition.namespace, _read(definition.seats))

    def forget(self, namespace: str) -> None:
        if self._named is not None:
            self._named.take_back(namespace)

    def replaces(self, namespace: str) -> bool:
        """Whether a new client of a user puts out the old one."""
        seats = None if self._named is None else self._named.find(namespace)
        return seats is not None and seats.options.policy == "newest"


def _read(seats: SeatDefinition) -> SeatOptions | None:
    if seats.policy == "none":
        return None
    return SeatOptions(
        policy=seats.policy,
        maximum=seats.maximum or 1,
        takeover=seats.takeover,
        linger_s=seats.linger_s,
    )
