"""Methods that nodes call of one another; no peer of the control socket can call them."""

import msgspec

from trio_socketio.control.failures import too_large
from trio_socketio.control.methods import rpc
from trio_socketio.control.targets import Missing, Names, Users, find_namespace, select
from trio_socketio.socketio.server import Server

MAX_ASKED = 10_000
"""The most clients of a node that one call may ask for an answer."""


class Reach(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """The receivers of an event on a node.

    Args:
        reached: how many sockets there are.
        clients: the public id of each, and who it is if that is known; empty unless asked for.
        missing: the names that do not exist on this node.
    """

    reached: int
    clients: list[tuple[str, str | None]] = []
    missing: Missing


class NodeReach:
    """The method node.reach.

    It follows an event on the connection that has brought the event, and is answered before
    anything else is read from there. So it counts the sockets that the event was delivered to.

    Args:
        server: has the sockets.
    """

    def __init__(self, server: Server) -> None:
        self._server = server

    @rpc("node.reach")
    def reach(
        self,
        namespace: str = "/",
        all_: bool = False,
        rooms: Names = (),
        sockets: Names = (),
        except_: Names = (),
        users: Users = (),
        except_users: Users = (),
        named: bool = False,
    ) -> Reach:
        """Count the receivers of an event that was sent to all nodes.

        Args:
            namespace: the namespace of the clients.
            all_: whether every client of the namespace gets the event.
            rooms: clients in any of these rooms get the event, each of them once.
            sockets: public ids of clients that get the event.
            except_: rooms, and public ids of clients, that do not get the event.
            users: ids of users whose clients get the event.
            except_users: ids of users whose clients do not get the event.
            named: whether to name them, too.
        """
        place = find_namespace(self._server, namespace)
        target, missing = select(
            place,
            all_=all_,
            rooms=rooms,
            sockets=sockets,
            users=users,
            excluded=except_,
            excluded_users=except_users,
        )
        found = () if target is None else place.adapter.select(target)
        clients: list[tuple[str, str | None]] = []
        if named and len(found) > MAX_ASKED:
            raise too_large(f"the event has reached {len(found)} clients, too many to name")
        if named:
            clients = [(socket.public_id, socket.user) for socket in found]
        return Reach(reached=len(found), clients=clients, missing=missing)
