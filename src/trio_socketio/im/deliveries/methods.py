"""The methods deliver and deliveries.* of the control socket."""

from typing import Annotated, Final

import msgspec
from msgspec import Meta, Raw

from trio_socketio.codec.names import unfit_character
from trio_socketio.control.failures import unavailable
from trio_socketio.control.methods import rpc
from trio_socketio.control.pages import Limit, check_place
from trio_socketio.control.targets import Names, User, Users, read_user, read_users
from trio_socketio.im.deliveries.options import MAX_EXPIRES_S, MAX_RETRIES
from trio_socketio.im.deliveries.order import MAX_ID, Accepted, Order, read_id
from trio_socketio.im.deliveries.record import Head, Key, Outcome
from trio_socketio.im.deliveries.service import Deliveries
from trio_socketio.protocol.namespace_name import full_name

MessageId = Annotated[str, Meta(min_length=1, max_length=MAX_ID)]
Seconds = Annotated[float, Meta(gt=0, le=MAX_EXPIRES_S)]
Schedule = Annotated[tuple[float, ...], Meta(max_length=MAX_RETRIES)]
_NO_SERVICE: Final = "no messages are delivered here: the server has no deliveries"


class Confirmation(msgspec.Struct, frozen=True, kw_only=True):
    """A user who has acknowledged a message.

    Args:
        user: the id of the user.
        at_s: when, seconds since 1970.
    """

    user: str
    at_s: float


class DeliveryInfo(msgspec.Struct, frozen=True, kw_only=True):
    """A delivery in a list.

    Args:
        id: of the message.
        state: open, confirmed (by all users), or expired before that.
        event: the name of the event.
        targets: how many users have to acknowledge the message.
        confirmed: how many of them have.
        accepted_at_s: when it was accepted, seconds since 1970.
        ended_at_s: when it has ended; null if it goes on.
    """

    id: str
    state: Outcome
    event: str
    targets: int
    confirmed: int
    accepted_at_s: float
    ended_at_s: float | None


class DeliveryReport(msgspec.Struct, frozen=True, kw_only=True):
    """What has become of a message.

    Args:
        id: of the message.
        namespace: where its users are.
        state: open, confirmed (by all users), or expired before that.
        event: the name of the event.
        sender: the user who has sent it; null if a backend has.
        rooms: the rooms that it was for.
        accepted_at_s: when it was accepted, seconds since 1970.
        expires_at_s: when it expires, or has.
        ended_at_s: when it has ended; null if it goes on.
        confirmed: the users who have acknowledged it.
        unconfirmed: the users who have not, or not yet.
    """

    id: str
    namespace: str
    state: Outcome
    event: str
    sender: str | None
    rooms: list[str]
    accepted_at_s: float
    expires_at_s: float
    ended_at_s: float | None
    confirmed: list[Confirmation]
    unconfirmed: list[str]


class DeliveryPage(msgspec.Struct, frozen=True, kw_only=True):
    """A page of deliveries, in the order of their ids.

    Args:
        deliveries: those in the state that was asked for, among as many as limit says; so there may
            be fewer of them although more follow.
        next: the value of after for the next page; null if this is the last one.
    """

    deliveries: list[DeliveryInfo]
    next: str | None


class DeliveryMethods:
    """The methods.

    Args:
        deliveries: the service; None if there is none.
    """

    def __init__(self, deliveries: Deliveries | None = None) -> None:
        self.deliveries = deliveries

    @rpc("deliver")
    async def deliver(
        self,
        event: str,
        args: tuple[Raw, ...],
        namespace: str = "/",
        users: Users = (),
        rooms: Names = (),
        expires_s: Seconds | None = None,
        schedule_s: Schedule | None = None,
        sender: User | None = None,
        durable: bool | None = None,
    ) -> Accepted:
        """Send a message, and send it again to those users who do not acknowledge it.

        The result comes when the message is kept. The same message with the same id is sent once:
        the call may be made again.

        Args:
            event: the name of the event.
            args: its arguments; the first one is an object, whose "id" tells copies of the message
                from other messages. It gets one if it has none.
            namespace: where the users are.
            users: ids of users who have to acknowledge it, whether they are there or not.
            rooms: the identified users who are in these rooms now have to as well.
            expires_s: how long after it was accepted it ends; null means as configured.
            schedule_s: how long after it was accepted it is sent again, ascending; null means as
                configured.
            sender: the user whose message it is, for the report.
            durable: whether it has to outlive a restart; null means as configured.
        """
        order = Order(
            namespace=namespace,
            event=event,
            args=args,
            users=read_users(users),
            rooms=rooms,
            expires_s=expires_s,
            schedule_s=schedule_s,
            sender=None if sender is None else read_user(sender, "sender"),
            durable=durable,
        )
        return await self._service().start(order)

    @rpc("deliveries.get")
    async def get(self, id_: MessageId, namespace: str = "/") -> DeliveryReport:
        """Show who has acknowledged a message, and who has not.

        Args:
            id_: of the message.
            namespace: where its users are.
        """
        key = Key(full_name(namespace), read_id(id_))
        record = await self._service().find(key)
        head = record.head
        return DeliveryReport(
            id=head.id,
            namespace=head.namespace,
            state=record.outcome,
            event=head.event,
            sender=head.sender,
            rooms=list(head.rooms),
            accepted_at_s=head.accepted_at,
            expires_at_s=head.expires_at,
            ended_at_s=record.ended_at,
            confirmed=[
                Confirmation(user=user, at_s=at) for user, at in sorted(record.confirmed.items())
            ],
            unconfirmed=sorted(user for user in record.users if user not in record.confirmed),
        )

    @rpc("deliveries.list")
    async def list_(
        self,
        namespace: str = "/",
        state: Outcome | None = None,
        after: str | None = None,
        limit: Limit = 100,
    ) -> DeliveryPage:
        """List messages that wait for their users, and the reports that are kept of others.

        Args:
            namespace: where the users are.
            state: shows only those that are open, confirmed or expired; null shows all.
            after: the value of next in the previous page; null for the first one.
            limit: how many are looked at for a page.
        """
        check_place(after, lambda text: not unfit_character(text), "which is the id of a message")
        lines = await self._service().page(full_name(namespace), after or "", limit)
        shown = [
            _describe(line.head, line.outcome, line.confirmed, line.ended_at)
            for line in lines
            if state in (None, line.outcome)
        ]
        return DeliveryPage(
            deliveries=shown, next=lines[-1].head.id if len(lines) == limit else None
        )

    def _service(self) -> Deliveries:
        if self.deliveries is None:
            raise unavailable(_NO_SERVICE)
        return self.deliveries


def _describe(head: Head, state: Outcome, confirmed: int, ended_at: float | None) -> DeliveryInfo:
    return DeliveryInfo(
        id=head.id,
        state=state,
        event=head.event,
        targets=head.targets,
        confirmed=confirmed,
        accepted_at_s=head.accepted_at,
        ended_at_s=ended_at,
    )
