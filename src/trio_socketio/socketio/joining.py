"""Takes one client into one namespace, or turns it away. The table is in protocol/joining.py.

The stages are one generator, which yields whatever has to be awaited. While nothing has to be, it
runs inside the turn that read the CONNECT. The first async step moves it into a task of its own,
with one cancel scope that ends when the client leaves.
"""

from collections.abc import Callable, Generator
from functools import partial
from typing import TYPE_CHECKING, Any

import trio

from trio_socketio.codec.socket_packet import PacketType
from trio_socketio.errors import ConnectRefused, LocalProtocolError, RemoteProtocolError
from trio_socketio.protocol.joining import ENDS, TRANSITIONS, State, advance
from trio_socketio.runtime.barrier import sole_error, split_failure
from trio_socketio.runtime.verdicts import check_verdict, told_refusal
from trio_socketio.socketio.adapter_life import State as AdapterState
from trio_socketio.socketio.credentials import (
    AUTH_TIMEOUT,
    BAD_TOKEN,
    SERVER_ERROR,
    AuthenticationTimedOut,
    Credentials,
)
from trio_socketio.socketio.founding import found_namespace, is_dynamic_name
from trio_socketio.socketio.identification import identify_socket
from trio_socketio.socketio.new_sockets import create_socket
from trio_socketio.socketio.refusing import turn_away
from trio_socketio.socketio.restoration import give_back, restore_session, take_pid
from trio_socketio.socketio.socket_life import accept, enter, stay_out
from trio_socketio.socketio.steps import Awaited
from trio_socketio.socketio.undos import UNDO_S, Undo, Undos

if TYPE_CHECKING:
    from trio_socketio.codec.socket_packet import Packet
    from trio_socketio.socketio.entrance import Candidate, Hall
    from trio_socketio.socketio.namespace_recovery import NamespaceRecovery
    from trio_socketio.socketio.saved_session import SavedSession
    from trio_socketio.socketio.socket import Socket
    from trio_socketio.socketio.steps import Step

_Stages = Generator[Awaited, Any, None]


class Joining:
    """A client that is joining a namespace. Steps are called with it, and observers are told of it.

    It has 24 methods that are not public, because each stage is one, and so is each thing that may
    happen in any stage: a packet, a kick, a lost client, a timeout. All of them move one state.

    Args:
        participant: the client.
        name: of the namespace that the client asks for.
        auth: the payload of the CONNECT.

    Attributes:
        credentials: of a client that authenticates itself by an event, once it was accepted.
        socket: the client's socket; None until the namespace has been found.
        state: how far the client has come; changed by this object alone.
    """

    __slots__ = (
        "_at",
        "_lost",
        "_namespace",
        "_participant",
        "_registry",
        "_scope",
        "_stages",
        "_token",
        "_undos",
        "auth",
        "credentials",
        "name",
        "socket",
        "state",
    )

    def __init__(self, participant: "Candidate", name: str, auth: dict[str, Any]) -> None:
        self.name = name
        self.auth = auth
        self.socket: Socket | None = None
        self.state = State.SEARCHING
        self._participant = participant
        self._namespace: Hall | None = None
        self._registry = participant.namespaces.everywhere  # until the namespace has been found
        # RECOVER-07, IDENT-33: taken out of auth before any step runs, so user code sees neither.
        recovers = participant.host.recovery is not None and participant.revision.recovers
        self._lost = take_pid(auth) if recovers else None
        asks_in = participant.host.asks_identity
        self._token = auth.pop("token", None) if asks_in is not None and asks_in(name) else None
        self._at: Step | str = ""  # the step at work, for the log
        self.credentials: Credentials | None = None
        self._scope: trio.CancelScope | None = None  # that of the task, once there is one
        self._undos: Undos | None = None
        self._stages: _Stages = self._pass_stages()

    def __repr__(self) -> str:
        return f"<Joining of {self.name}, {self.state.name}>"

    # -- for steps

    def undo(self, function: Undo) -> None:
        """Have function called, once, if the client does not join in the end (JOIN-11).

        It is plain or async. The last function registered is called first. They are called after
        the step at work has ended, also when the server stops, and each may take UNDO_S.
        """
        if self._undos is None:
            self._undos = Undos(self._participant.host.workers, self.name)
        self._undos.add(function)

    def identify(self, user: str | int) -> None:
        """Say who the client is; `Socket.user` returns it from now on (JOIN-09).

        As long as the socket is in the namespace, it is in the room of its user, ``user:<id>``.

        Args:
            user: an integer is taken as decimal text.
        Raises:
            LocalProtocolError: the namespace has not been found yet, or the client has joined.
            ConnectRefused: the client has asked for the lost session of another user, or this
                cannot be the id of a user.
        """
        if self.socket is None or self.state is State.JOINED:
            raise LocalProtocolError(f"{self!r} cannot be identified now")
        identify_socket(self.socket, user)

    def accept(self, event: str, timeout_s: float, reply: str | None = None) -> Credentials:
        """Answer the CONNECT before it is known who the client is (JOIN-19).

        The client sends its credentials as an event. For an async step of the stage AUTHENTICATING.

        Args:
            event: the name of the event that carries the credentials.
            timeout_s: how long the client may take to send them, and the step to judge them.
            reply: the name of the event that tells the client what has become of them.
        Returns:
            The credentials, for which the step has to wait.
        Raises:
            LocalProtocolError: the client cannot be accepted in this state.
        """
        if self.socket is None or self._scope is None:
            raise LocalProtocolError("only an async step that authenticates can accept a client")
        credentials = Credentials(self.socket, event, reply)
        if not self._has_ended:  # otherwise the step is about to be cancelled
            self._move(State.ACCEPTED)
            self._scope.deadline = trio.current_time() + timeout_s
            self.credentials = credentials
            accept(self.socket)
        return credentials

    # -- for the participant

    @property
    def _has_ended(self) -> bool:
        """Whether it is decided. The task and the undos may still be at work."""
        return self.state in ENDS

    @property
    def _is_accepted(self) -> bool:
        """Whether the client was told that it is connected, and may send events."""
        return self.credentials is not None and not self._has_ended

    @property
    def _has_room(self) -> bool:
        """Whether another event may wait until the client is authenticated."""
        return self.credentials is None or self.credentials.has_room

    def _begin(self) -> None:
        """Pass the plain steps here and now; from the first async step on, a task does the rest."""
        try:
            awaited = next(self._stages, None)  # JOIN-07
        except BaseException as error:
            self._fail(error)
        else:
            if awaited is not None:
                if self._participant.host.workers.spawn(self._run, awaited):
                    return
                self._abandon("server shutting down")
                self._stages.close()
        self._conclude()

    def _receive_packet(self, packet: "Packet") -> None:
        """Take a DISCONNECT, or any packet of a client that was accepted.

        Raises:
            RemoteProtocolError: no client may send it now.
        """
        kind = packet.type
        if self.socket is None or self.credentials is None or kind is PacketType.DISCONNECT:
            self._abandon("client namespace disconnect")
        elif kind is PacketType.EVENT or kind is PacketType.BINARY_EVENT:
            self.credentials.receive_event(packet.data, packet.ack_id, packet.weight)
        elif kind is PacketType.ACK or kind is PacketType.BINARY_ACK:
            if self.socket._acks is not None:
                self.socket._acks.receive(packet.ack_id, packet.data, self.socket.public_id)
        else:
            raise RemoteProtocolError(f"{kind.name} for a namespace that the client is in")

    def _abandon(self, reason: str) -> None:
        """End the joining: the client has left, or the server stops. Ignored once it is decided."""
        if not self._has_ended:
            self._move(State.ABANDONED)
            self._let_go(reason)
            self._registry.observers.abandoned(self)

    def _refuse(self, error: ConnectRefused, *, errcode: int = BAD_TOKEN) -> None:
        """Turn the client away, whatever step is at work. Ignored once it is decided.

        Args:
            error: what the client is told.
            errcode: for a client that has been accepted, unless the error's data has one.
        """
        if not self._has_ended:
            self._move(State.REFUSED)
            turn_away(self._participant, self.name, self.socket, self.credentials, error, errcode)
            self._let_go("server namespace disconnect")
            self._registry.observers.refused(self, error)

    # -- the stages

    def _pass_stages(self) -> _Stages:
        """Pass every stage from CONNECT to JOINED, in order. An exception refuses the client."""
        host = self._participant.host
        namespace = self._participant.namespaces.by_name.get(self.name)
        if namespace is None:
            namespace = yield from self._search()
            if namespace is None:
                return
        self._namespace = namespace
        registry = self._registry = namespace._registry
        namespace._joinings[self] = None
        if self.state is State.REFUSED:  # a handler of "new_namespace" has disconnected the client
            return
        if namespace._adapter_life.state is not AdapterState.STARTED:  # RUN-09
            self._at = "the start of the adapter"
            timeout_s = host.options.engine.hook_timeout_s
            yield Awaited(namespace._adapter_life.wait_started, (timeout_s,))
            if self._has_ended:
                return
        restored = None
        recovery = namespace._recovery
        if self._lost is not None and recovery is not None:
            self._move(State.RESTORING)
            restored = yield from self._restore(namespace, recovery, self._lost)
            if self._has_ended:
                return
        socket = self.socket = create_socket(self._participant, namespace, self.auth, restored)
        skips = restored is not None and recovery is not None and recovery.shared.skip_middlewares
        for step in registry.steps.plan:
            if step.takes_socket and skips:  # middleware
                continue
            if step.stage in TRANSITIONS[self.state]:  # not back from ACCEPTED
                self._move(step.stage)
            self._at = step
            argument = socket if step.takes_socket else self
            if step.is_async:
                verdict = yield Awaited(step.function, (argument,), step.timeout_s)
                self._check_time()
            else:
                verdict = host.workers.run(step.function, argument)
                if type(verdict) is Awaited:  # JOIN-33: for this client it is not that simple
                    verdict = yield verdict
                    self._check_time()
            if self._has_ended:
                return
            check_verdict(verdict, step.function)
            if not self._participant.session.is_open:  # the step has closed the session
                self._abandon(self._participant.session.reason)
                return
        self._join(namespace, socket)

    def _search(self) -> Generator[Awaited, Any, "Hall | None"]:
        """Ask the parents, in order, for a namespace that does not exist (SURF-01).

        Raises:
            ConnectRefused: no parent accepts the name, or there are too many namespaces already.
        """
        host, namespaces = self._participant.host, self._participant.namespaces
        for parent in tuple(namespaces.parents.values()) if is_dynamic_name(self.name) else ():
            self._at = f"predicate {parent.name}"
            try:
                if parent._is_async:
                    wanted = yield Awaited(parent._ask, (self.name, self.auth))
                    self._check_time()
                else:
                    wanted = host.workers.run(parent._ask, self.name, self.auth)
                if wanted:
                    check_verdict(wanted, parent._ask)  # SURF-33
            except GeneratorExit:
                raise
            except BaseException as error:
                self._log(error)
                continue
            if self._has_ended:
                return None
            if wanted:
                break
        else:
            raise ConnectRefused("Invalid namespace")  # SIO5-08, SIO4-07
        self._at = "creating a namespace"
        # Another client may have brought it into being while a predicate was awaited.
        namespace = namespaces.by_name.get(self.name)
        return namespace or found_namespace(self._participant, parent, self.name)

    def _restore(
        self, namespace: "Hall", recovery: "NamespaceRecovery", lost: tuple[str, str | None]
    ) -> Generator[Awaited, Any, "SavedSession | None"]:
        """Ask the adapter for the lost session; a failure is logged, no more (RECOVER-09)."""
        self._at = f"recovery in {self.name}"
        timeout_s = self._participant.host.options.engine.hook_timeout_s
        store = namespace.adapter
        asked = (store, recovery, lost, timeout_s)
        try:
            session: SavedSession | None = yield Awaited(restore_session, asked, timeout_s + UNDO_S)
        except GeneratorExit:
            raise
        except BaseException as error:
            self._log(error)
            return None
        if session is not None:
            restored = session

            async def undo() -> None:
                is_over = self.state is State.REFUSED
                await give_back(store, recovery, restored, is_over=is_over)

            self.undo(undo)
        return session

    def _join(self, namespace: "Hall", socket: "Socket") -> None:
        self._at = "the adapter"
        enter(socket)
        if self.state is State.REFUSED:  # a hook of a room has disconnected the socket
            return
        self.state = advance(self.state, State.JOINED)
        self._undos = None  # they may refer to the joining, which would be a cycle
        self._participant.admit(self, socket)
        registry = self._registry
        if registry.observers.all:
            registry.observers.joined(socket)  # JOIN-18: also if it was recovered
        if registry.connection is not None:  # SIO5-83: events are queued behind it
            socket._open_events().dispatch(registry.connection, [socket])
        if self.credentials is not None:
            self.credentials.release()

    # -- driving the stages

    def _resume(self, resume: Callable[[], Awaited]) -> Awaited | None:
        """Run the stages until something has to be awaited. Returns that, or None at their end."""
        try:
            return resume()
        except BaseException as error:
            if not isinstance(error, StopIteration):
                self._fail(error)
                error.__traceback__ = None  # RUN-44: its frames refer to it, and to us
            return None

    async def _run(self, awaited: Awaited | None) -> None:
        """Drive a joining with async steps, in its own task."""
        try:
            with trio.CancelScope() as self._scope:
                while awaited is not None and not self._has_ended:
                    awaited = await self._await(awaited, self._scope)
            if self._scope.cancelled_caught and not self._has_ended:
                self._time_out()
        finally:
            self._abandon("server shutting down")  # ignored unless the task was cancelled
            self._stages.close()
            await self._undo_then_conclude()

    async def _await(self, awaited: Awaited, scope: trio.CancelScope) -> Awaited | None:
        host = self._participant.host
        timeout_s = awaited.timeout_s or host.options.engine.hook_timeout_s
        scope.deadline = trio.current_time() + timeout_s  # JOIN-13: each step has its own
        try:
            result = await host.workers.call_async(awaited.function, *awaited.arguments)
        except BaseException as error:
            failure, unwinding = split_failure(error)
            if unwinding is None:
                return self._resume(partial(self._stages.throw, error))
            if failure is not None:
                self._log(failure)
            try:
                raise unwinding from None
            finally:
                del unwinding  # RUN-44: its traceback refers to this frame
        return self._resume(partial(self._stages.send, result))

    def _fail(self, error: BaseException) -> None:
        """Refuse the client: a step has raised. A defect is logged, and clients are not told."""
        if not isinstance(sole_error(error), ConnectRefused):
            self._log(error)
        refusal = told_refusal(error)
        if refusal is not None:
            self._refuse(refusal)
        else:
            self._refuse(ConnectRefused("Internal server error"), errcode=SERVER_ERROR)

    def _check_time(self) -> None:
        """Time out after a step that shielded itself for too long: it must not pass (JOIN-13)."""
        if self._scope is not None and self._scope.cancel_called and not self._has_ended:
            self._time_out()

    def _time_out(self) -> None:
        if self.state is State.ACCEPTED:  # JOIN-25: the client has not sent its credentials
            self._refuse(AuthenticationTimedOut(), errcode=AUTH_TIMEOUT)
        else:
            self._log(TimeoutError("the step did not end within its time"))
            self._refuse(ConnectRefused("Timed out"), errcode=SERVER_ERROR)

    def _log(self, error: BaseException) -> None:
        # Clients make up the names of children, so the log knows all children of a parent by one.
        name = self.name if self._namespace is None else self._namespace._family
        what = self._at if isinstance(self._at, str) else self._at.describe(name)
        whom = self.name if self.socket is None else self.socket.public_id
        self._participant.host.workers.log_failure(what, whom, error)

    def _let_go(self, reason: str) -> None:
        """Cancel what is at work for the client: it is decided that it does not join."""
        self._participant.forget_joining(self)
        if self.socket is not None:
            stay_out(self.socket, reason)
        if self.credentials is not None:
            self.credentials.drop()
        if self._scope is not None:
            self._scope.cancel()  # JOIN-31

    def _conclude(self) -> None:
        """Count the joining no longer: nothing is at work for it, except perhaps its undos."""
        if self._undos is not None and self.state is not State.JOINED:  # JOIN-10
            workers = self._participant.host.workers
            if self._undos.has_async and workers.spawn(self._undo_then_conclude):
                return
            self._undos.run()
        self._participant.joining_over()
        if self._namespace is not None:
            del self._namespace._joinings[self]
            self._namespace._end_if_deserted()

    async def _undo_then_conclude(self) -> None:
        if self._undos is not None and self.state is not State.JOINED:
            await self._undos.run_async()
        self._conclude()

    def _move(self, state: State) -> None:
        self.state = advance(self.state, state)
