"""The methods that nodes call of one another for confirmed delivery."""

import msgspec

from trio_socketio.control.methods import rpc
from trio_socketio.im.deliveries.messenger import RoomUsers, Told, too_many
from trio_socketio.im.deliveries.offers import Offer
from trio_socketio.im.deliveries.record import Key
from trio_socketio.im.deliveries.service import Deliveries


class Done(msgspec.Struct, frozen=True):
    """What a node has done.

    Args:
        count: how many sockets it has reached, or of how many users it has noted something.
    """

    count: int


class NodeDeliveries:
    """The methods that nodes call of one another.

    Args:
        deliveries: of this node.
    """

    def __init__(self, deliveries: Deliveries) -> None:
        self._deliveries = deliveries

    @rpc("node.offer")
    def offer(self, node: str, offers: list[Offer]) -> Done:
        """Send copies of messages to those of their users who are here.

        Args:
            node: attends to the deliveries.
            offers: the messages.
        """
        return Done(sum(self._deliveries.send_here(node, offer) for offer in offers))

    @rpc("node.confirmed")
    def confirmed(self, answers: list[Told]) -> Done:
        """Note that users have confirmed.

        Args:
            answers: namespace, id and user of each.
        """
        noted = (
            self._deliveries.note(Key(namespace, name), user) for namespace, name, user in answers
        )
        return Done(sum(noted))

    @rpc("node.arrived")
    def arrived(self, node: str, users: list[tuple[str, str]]) -> Done:
        """Offer a node what users wait for who have come to it.

        Args:
            node: where they are.
            users: namespace and id of each.
        """
        return Done(sum(self._deliveries.offer_again(*user, node) for user in users))

    @rpc("node.room_users")
    def room_users(self, namespace: str, rooms: list[str]) -> RoomUsers:
        """Return the identified users in rooms of this node.

        Args:
            namespace: the namespace.
            rooms: the rooms.
        """
        users = self._deliveries.users_here(namespace, rooms)
        most = self._deliveries.options.max_targets
        if len(users) > most:
            raise too_many(len(users), most)
        return RoomUsers(users)
