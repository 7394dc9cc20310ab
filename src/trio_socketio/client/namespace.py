"""A namespace of the server, as a client sees it."""

from trio_socketio.client.channel import Channel
from trio_socketio.client.membership import LEAVING, ClientMembership


class ClientNamespace(Channel):
    """One namespace of a client; returned by ``Client.of``.

    Args:
        membership: of the namespace.

    Attributes:
        name: begins with a slash.
    """

    def __init__(self, membership: ClientMembership) -> None:
        super().__init__(membership)
        self.name = membership.name

    def __repr__(self) -> str:
        return f"<ClientNamespace {self.name} {self._membership.machine.state.name.lower()}>"

    def disconnect(self) -> None:
        """Leave the namespace. The others stay joined. Never blocks."""
        self._membership.leave(LEAVING)
