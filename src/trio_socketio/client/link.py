"""Keeps a client connected: opens one session after the other, and joins its namespaces."""

import logging
import random
from collections.abc import Callable, Sequence
from math import inf
from threading import get_ident

import trio

from trio_socketio.client.endpoint import Dialer
from trio_socketio.client.membership import LEAVING, ClientMembership
from trio_socketio.client.memberships import Memberships
from trio_socketio.client.packet_reader import PacketReader
from trio_socketio.client.session import ClientSession, open_session
from trio_socketio.client.settings import Settings
from trio_socketio.errors import ConnectFailed, LocalProtocolError
from trio_socketio.protocol.backoff import Backoff
from trio_socketio.protocol.membership import State
from trio_socketio.runtime.barrier import split_failure
from trio_socketio.runtime.failures import FailureLog

log = logging.getLogger(__name__)


class FirstConnection:
    """The attempt to connect that open_client waits for. It raises what makes this attempt fail.

    Later attempts are repeated, and their failures go to a hook and the log.
    """

    def __init__(self) -> None:
        self._over = trio.Event()
        self._failure: BaseException | None = None

    @property
    def is_over(self) -> bool:
        """Whether it has succeeded or failed."""
        return self._over.is_set()

    def end(self, failure: BaseException | None) -> None:
        """Note that it has succeeded, or failed."""
        self._failure = failure
        self._over.set()

    async def wait(self) -> None:
        """Wait until it is over.

        Raises:
            BaseException: the failure.
        """
        await self._over.wait()
        failure, self._failure = self._failure, None
        if failure is not None:
            try:
                raise failure
            finally:
                failure = None  # it refers to this frame, and this frame to it


class Link:
    """Connects while a namespace is wanted, and again whenever the connection is lost.

    Args:
        dialer: opens streams.
        transports: see open_client.
        settings: what the program asked for.

    Attributes:
        memberships: the namespaces of the client.
        session: the current one; None while there is no connection.
        failures: logs what code of the program raises.
        packets_dropped: packets that were not sent and will not be.
    """

    def __init__(self, dialer: Dialer, transports: Sequence[str], settings: Settings) -> None:
        self.settings = settings
        self.session: ClientSession | None = None
        self.failures = FailureLog()
        self.packets_dropped = 0
        self.memberships = Memberships(self)
        self._thread = get_ident()
        self._dialer = dialer
        self._transports = transports
        self._asked = trio.Event()  # set when a namespace is wanted but not yet joined
        self._lost = ""  # why the connection was lost
        # Shielded, so that there is time for a goodbye when the program's block is cancelled. It is
        # aclose that ends it.
        self._scope = trio.CancelScope(shield=True)
        self._first = FirstConnection()

    @property
    def server(self) -> str:
        """The address of the server."""
        return str(self._dialer.endpoint)

    # -- for its memberships

    def check_thread(self) -> None:
        """Check that the caller runs in the client's thread; see membership.Link."""
        if get_ident() != self._thread:  # CLI-33
            raise LocalProtocolError(
                "this client runs in another thread, and nothing was done: call "
                "trio.from_thread.run_sync(client.emit, ...), or run(...) for what is async"
            )

    def count_dropped(self, number: int, why: str) -> None:
        """Count packets that were not sent and will not be; see outbox.Wire."""
        self.packets_dropped += number
        if why:
            log.warning("%d packets were not sent: %s", number, why)

    async def join(self, membership: ClientMembership) -> None:
        """Join a namespace now, or with the next connection; see membership.Link."""
        if self.memberships.are_closed:
            raise ConnectFailed("the client is closed: the block of open_client has ended")
        if self.session is not None and self.session.is_open:
            await membership.join(self.session)
        else:
            self._asked.set()

    def read_on(self) -> None:
        """Read more than usual, because a task waits for an answer of the server."""
        self.memberships.read_on()

    def membership_ended(self) -> None:
        """Close the connection if that was the last namespace that was wanted."""
        if self.session is not None and not self.memberships.are_wanted:
            self.session.close()

    async def wait_drained(self) -> None:
        """Wait until the network has taken what was emitted; returns at once without a session."""
        await (
            trio.lowlevel.checkpoint()
        )  # so that a producer's loop lets other tasks run in any case
        if self.session is not None:
            await self.session.output.wait_drained()

    # -- for open_client

    @trio.lowlevel.enable_ki_protection  # it calls the program's auth: see Dispatcher.run
    async def run(self) -> None:
        """Connect, and connect again whenever the connection is lost, until aclose."""
        with self._scope:
            try:
                await self._serve_session(self._first_joined)
            except BaseException as error:
                if self._first.is_over:
                    raise
                failure, cancelled = split_failure(error)
                self._first.end(failure)
                if cancelled is not None:
                    raise cancelled from None
                return
            await self._reconnect()

    async def wait_opened(self) -> None:
        """Wait until every namespace has been joined for the first time.

        Raises:
            ConnectFailed: the server cannot be reached.
            ConnectRefused: it refuses.
            Exception: whatever the program's auth raises.
        """
        await self._first.wait()

    def _first_joined(self) -> None:
        refusal = self.memberships.refusal
        if refusal is not None:
            raise refusal
        self._first.end(None)

    async def aclose(self) -> None:
        """Say goodbye within close_timeout_s, and end `run` (CLI-10)."""
        with trio.move_on_after(self.settings.options.close_timeout_s, shield=True):
            session = self.session
            self.memberships.close(LEAVING)
            if session is not None:
                await session.wait_ended()
        self._scope.cancel()
        self.failures.flush()  # CLI-19
        dropped = self.memberships.events_dropped
        if dropped:  # CLI-46
            log.warning("%d events were not handled: the block of open_client has ended", dropped)

    # -- connecting

    async def _serve_session(self, joined: Callable[[], None]) -> None:
        """Open a session, join, and wait for the end.

        Args:
            joined: is called when every namespace has its answer.
        Raises:
            ConnectFailed: no session could be opened, or the server did not answer every CONNECT.
            Exception: whatever the program's auth or `joined` raises.
        """
        options = self.settings.options
        reader = PacketReader(self.memberships, self.settings.parser, options.max_message_bytes)
        session: ClientSession | None = None
        try:
            async with open_session(
                self._dialer, options, self._transports, reader, self._session_ended
            ) as session:
                self.session = session
                self._asked = trio.Event()
                await self._use_session(session, joined)
        finally:
            # CLI-45: not before its tasks have ended, as an answer to a POST may just have come.
            if session is not None and session.output.unsent:
                # The first time it is not logged, because open_client raises the reason.
                lost = f"the connection was lost: {session.reason}" if self._first.is_over else ""
                self.count_dropped(session.output.unsent, lost)

    async def _use_session(self, session: ClientSession, joined: Callable[[], None]) -> None:
        try:
            await self._join_all(session)
            joined()
            self.membership_ended()  # all of them may have been left while it opened
        except BaseException:
            if not self._first.is_over:
                # open_client is about to raise, so the namespaces that did let us in are left.
                # Later they stay wanted: without a DISCONNECT the server may restore them.
                self.memberships.leave(LEAVING)  # CLI-27
            session.close()
            with trio.move_on_after(self.settings.options.close_timeout_s):
                await session.wait_ended()
            raise
        await session.wait_ended()

    async def _join_all(self, session: ClientSession) -> None:
        limit_s = self.settings.options.connect_timeout_s
        wanted = self.memberships.wanted()
        with trio.move_on_after(limit_s) as scope:
            for membership in wanted:
                await membership.join(session)
            for membership in wanted:
                await membership.wait_settled()
        if scope.cancelled_caught:
            error = ConnectFailed(f"the server did not answer a CONNECT within {limit_s:g} s")
            self._wait_for_more(wanted, error)
        if session.reason and self.memberships.are_wanted:
            hint = "the server may speak another parser"  # CLI-17
            raise ConnectFailed(f"the connection was lost at once: {session.reason}; {hint}")

    def _wait_for_more(self, wanted: list[ClientMembership], error: ConnectFailed) -> None:
        """Go on, if possible, although the server has not answered every CONNECT in time.

        Once a program has its client, one namespace that hangs does not take the others with it.
        It is joined whenever its answer comes (CLI-34).

        Raises:
            ConnectFailed: the client has never been connected, or no namespace is joined, or the
                server was not asked for all of them.
        """
        states = {membership.machine.state for membership in wanted}
        if not self._first.is_over or State.JOINED not in states or State.WAITING in states:
            raise error
        for membership in wanted:
            if membership.machine.state is State.JOINING:
                log.warning("%s is not joined again yet: %s", membership.name, error)
                membership.dispatcher.call_hook("connect_error", error)

    def _session_ended(self, reason: str) -> None:
        """Tell the namespaces that the session has ended."""
        self._lost = reason
        self.session = None
        self.memberships.lose(reason)

    async def _reconnect(self) -> None:
        """Connect again whenever a namespace is wanted, until cancelled (CLI-20)."""
        options = self.settings.options
        attempts = inf if options.reconnect_attempts is None else options.reconnect_attempts
        limit = attempts if options.reconnect else 0
        backoff = Backoff(
            options.reconnect_delay_s, options.reconnect_delay_max_s, options.reconnect_jitter
        )
        while True:
            if self._asked.is_set() or not self.memberships.are_wanted:
                await self._asked.wait()
                self._asked = trio.Event()
                backoff.succeeded()
            elif backoff.attempts >= limit:
                self.memberships.leave(self._lost)
                continue
            else:
                with trio.move_on_after(backoff.next_delay_s(random.random())):
                    await self._asked.wait()
            if not self.memberships.are_wanted:  # they were left meanwhile
                continue
            try:
                await self._serve_session(backoff.succeeded)
            except ConnectFailed as error:
                self._tell(error)
            except BaseException as error:
                failure, cancelled = split_failure(error)
                if cancelled is not None:
                    raise cancelled from None
                if failure is not None:
                    self.failures.tell("connecting again", "", failure)
                    self._tell(failure)

    def _tell(self, error: BaseException) -> None:
        """Log that an attempt to connect again has failed, and call the hooks."""
        log.info("connecting again failed: %s", error)
        self._lost = str(error)
        self.memberships.call_hook("connect_error", error)
