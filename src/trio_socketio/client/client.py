"""A client, as the program that opened it sees it.

It is made of parts. `Link` keeps the connection: it opens one `ClientSession` after the other and
has the namespaces joined. `Memberships` are the namespaces: each `ClientMembership` has an `Outbox`
for what it sends and a `Dispatcher` for the events that it receives.
"""

from collections.abc import Sequence

from trio_socketio.client.channel import Channel
from trio_socketio.client.link import Link
from trio_socketio.client.membership import LEAVING
from trio_socketio.client.namespace import ClientNamespace
from trio_socketio.codec.names import unfit_character
from trio_socketio.errors import LocalProtocolError
from trio_socketio.protocol.namespace_name import full_name


class Client(Channel):
    """A connection to a server and its namespaces; made by ``open_client``.

    The methods that it shares with ClientNamespace concern the first namespace that was asked for.

    Args:
        link: keeps the connection.
        namespaces: to join; at least one.

    Attributes:
        options: the ClientOptions that it was opened with.
    """

    def __init__(self, link: Link, namespaces: Sequence[object]) -> None:
        names = [check_name(name) for name in namespaces]
        super().__init__(link.memberships.of(names[0]))
        self.options = link.settings.options
        self._link = link
        self._namespaces: dict[str, ClientNamespace] = {}
        for name in dict.fromkeys(names):
            link.memberships.of(name).ask()

    def __repr__(self) -> str:
        return f"<Client of {self._link.server}>"

    def of(self, name: str) -> ClientNamespace:
        """Return a namespace; its ``connect`` joins it if open_client was not asked for it.

        Args:
            name: a leading slash may be left out.
        Raises:
            LocalProtocolError: a namespace cannot be called that.
        """
        self._link.check_thread()
        name = check_name(name)
        namespace = self._namespaces.get(name)
        if namespace is None:
            namespace = ClientNamespace(self._link.memberships.of(name))
            self._namespaces[name] = namespace
        return namespace

    @property
    def transport(self) -> str:
        """The transport in use: "polling" or "websocket"; empty while there is no connection."""
        session = self._link.session
        return "" if session is None else session.transport

    @property
    def handler_failures(self) -> int:
        """How many calls of handlers, in all namespaces, have ended with an exception."""
        return self._link.memberships.handler_failures

    @property
    def events_dropped(self) -> int:
        """How many events had arrived and were not handled when the block of open_client ended.

        An event counts if it had a handler, or if there was a catch-all or a stream.
        """
        return self._link.memberships.events_dropped

    @property
    def packets_dropped(self) -> int:
        """How many packets of all namespaces were not sent, and will not be.

        Packets that were being sent when the connection broke are among them, although some of
        them may have arrived.
        """
        return self._link.packets_dropped

    def disconnect(self) -> None:
        """Leave every namespace; the connection closes with the last. Never blocks."""
        self._link.memberships.leave(LEAVING)


def check_name(name: object) -> str:
    """Return the full name of a namespace; the caller may leave out the leading slash.

    Raises:
        LocalProtocolError: a namespace cannot be called that.
    """
    if not isinstance(name, str):
        raise LocalProtocolError(f"the name of a namespace is text, not {name!r}")
    name = full_name(name)
    if "," in name or unfit_character(name):
        raise LocalProtocolError(f"a namespace cannot be called {name!r}")
    return name
