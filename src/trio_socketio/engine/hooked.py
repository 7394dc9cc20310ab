"""An engine whose program has a say: each request passes the hooks before it is served.

Without hooks, EngineServer serves alone and none of this is on its way.
"""

import re
from collections.abc import Coroutine
from functools import partial
from typing import TYPE_CHECKING, Any, Final

import trio

from trio_socketio.engine.cookie import encode_cookie
from trio_socketio.engine.handshake import BAD_REQUEST, FORBIDDEN, UNSUPPORTED_PROTOCOL, Refusal
from trio_socketio.engine.hooks import EngineRequest, Hook, RefusedRequest
from trio_socketio.engine.server import EngineServer
from trio_socketio.errors import ConnectRefused, LocalProtocolError
from trio_socketio.runtime.verdicts import check_verdict, told_refusal

if TYPE_CHECKING:
    from trio_socketio.engine.hooks import Engine, HookWorkers
    from trio_socketio.engine.session import OpenSession, Session
    from trio_socketio.http.request import Request
    from trio_socketio.options import ServerOptions
    from trio_socketio.runtime.deadlines import Deadlines
    from trio_socketio.runtime.poller import Poller

_SID: Final = re.compile(r"[-A-Za-z0-9._~]{1,128}").fullmatch
"""Needs no escaping in a query or a cookie."""


def create_engine(
    options: "ServerOptions",
    poller: "Poller",
    deadlines: "Deadlines",
    open_session: "OpenSession",
    node: str,
    workers: "HookWorkers",
    hooks: "Engine",
) -> EngineServer:
    """An engine for these options; see EngineServer."""
    if hooks.is_used or options.cookie or options.allow_request or options.generate_id:
        return HookedEngine(options, poller, deadlines, open_session, node, workers, hooks)
    return EngineServer(options, poller, deadlines, open_session, node, workers)


class HookedEngine(EngineServer):
    """See EngineServer.

    Args:
        workers: run what is async.
        hooks: of the program.
    """

    def __init__(
        self,
        options: "ServerOptions",
        poller: "Poller",
        deadlines: "Deadlines",
        open_session: "OpenSession",
        node: str,
        workers: "HookWorkers",
        hooks: "Engine",
    ) -> None:
        super().__init__(options, poller, deadlines, open_session, node, workers)
        self.hooks = hooks
        self.allow_request = _hook("allow_request", options.allow_request)
        self.generate_id = _hook("generate_id", options.generate_id)
        self._always_async = any(hook.is_async for hook in hooks.middleware)
        self._opening_async = self._always_async or any(
            hook is not None and hook.is_async for hook in (self.allow_request, self.generate_id)
        )

    def _receive(self, request: "Request", *, upgrade: bool) -> None:
        request.attached = view = EngineRequest(request, self.options)
        admission = _Admission(self, self.workers, request, view)
        if self._always_async or (self._opening_async and view.sid is None):
            request.on_abort = admission.abort
            self.workers.submit(admission)
        else:
            self.admit(request, view, _finish_now(admission.decide()))

    def admit(
        self, request: "Request", view: EngineRequest, refused: tuple[Refusal, str] | None
    ) -> None:
        """The hooks have decided: serve the request, or refuse it."""
        if refused is None and view.new_sid in self.sessions and self.generate_id is not None:
            error = LocalProtocolError("it gave the id of a session that is there: it is refused")
            self.log_failure(self.generate_id, error)
            refused = BAD_REQUEST, "ID_GENERATION_ERROR"
        if refused is not None:
            self._refuse(request, *refused, upgrade=view.is_upgrade)
        else:
            self._serve(request, upgrade=view.is_upgrade)

    def admit_late(
        self, request: "Request", view: EngineRequest, refused: tuple[Refusal, str] | None
    ) -> None:
        """See admit: the hooks took their time."""
        request.on_abort = None
        if request.answered:  # the peer went away meanwhile
            return
        if refused is None:  # or something else has happened
            refusal = self._verify(request, upgrade=view.is_upgrade)
            refused = None if refusal is None else (refusal, "")
        self.admit(request, view, refused)

    def _refuse(
        self, request: "Request", refusal: Refusal, context: str = "", *, upgrade: bool
    ) -> None:
        view = _view(request) or EngineRequest(request, self.options)
        self._tell("connection_error", RefusedRequest(view, refusal, context))
        super()._refuse(request, refusal, context, upgrade=upgrade)

    def headers(self, request: "Request") -> list[tuple[bytes, bytes]]:
        """See EngineServer."""
        view = _view(request)
        if view is None:
            return super().headers(request)
        return [*super().headers(request), *view.response_headers.encode()]

    def packet_headers(self, request: "Request") -> list[tuple[bytes, bytes]]:
        """See EngineServer."""
        self._tell_headers(request)
        return self.headers(request)

    def _switching_headers(self, request: "Request") -> list[tuple[bytes, bytes]]:
        self._tell_headers(request)
        return self.headers(request)

    def _tell_headers(self, request: "Request") -> None:
        view = _view(request)
        if view is not None:
            if view.sid is None:
                self._tell("initial_headers", view.response_headers, view)
            self._tell("headers", view.response_headers, view)

    def _new_sid(self, request: "Request") -> str:
        view = _view(request)
        assert view is not None  # it was admitted
        sid = view.new_sid or super()._new_sid(request)
        if self.options.cookie is not None and not view.is_upgrade:
            view.response_headers.add("Set-Cookie", encode_cookie(self.options.cookie, sid))
        return sid

    def _start(self, session: "Session", upgrades: list[str]) -> None:
        super()._start(session, upgrades)
        self._tell("connection", session)

    def _tell(self, event: str, *arguments: Any) -> None:
        for hook in self.hooks.listeners[event]:
            try:
                self.workers.run(hook.function, *arguments)
            except BaseException as error:
                self.log_failure(hook, error)

    def explain(self, hook: Hook, error: BaseException, refusal: Refusal) -> Refusal:
        """A refusal as its client is told of it: with the program's message, if there is one."""
        if not isinstance(error, ConnectRefused):
            self.log_failure(hook, error)
        refused = told_refusal(error)
        if refused is None:
            return refusal
        message = str(refused.message).encode(errors="replace").decode()  # can be sent
        return Refusal(refusal.code, message, refusal.status)

    def log_failure(self, hook: Hook, error: BaseException) -> None:
        """A hook raised: that is counted and told, and harms nobody but its request."""
        self.workers.log_failure(hook.what, "", error)


class _Admission:
    """The hooks at work on one request."""

    __slots__ = ("_engine", "_request", "_scope", "_view", "_workers")

    def __init__(
        self,
        engine: HookedEngine,
        workers: "HookWorkers",
        request: "Request",
        view: EngineRequest,
    ) -> None:
        self._engine = engine
        self._workers = workers
        self._request = request
        self._view = view
        self._scope: trio.CancelScope | None = None

    async def run(self, workers: "HookWorkers") -> bool:
        """See HookJob."""
        if self._request.answered:
            return False
        with trio.CancelScope() as self._scope:
            refused = await self.decide()
            # In a turn, as if the request had just come.
            self._engine.poller.defer(
                partial(self._engine.admit_late, self._request, self._view, refused)
            )
        return False

    def abort(self) -> None:
        """The peer went away: nobody waits for the decision."""
        if self._scope is not None:
            self._scope.cancel()

    async def decide(self) -> tuple[Refusal, str] | None:
        """Ask the hooks, in the reference's order. Suspends only where a hook is async."""
        engine, view = self._engine, self._view
        for hook in engine.hooks.middleware:
            try:
                given = await self._ask(hook)
                _expect_none(given)
                check_verdict(given, hook.function)
            except BaseException as error:
                return engine.explain(hook, error, BAD_REQUEST), "MIDDLEWARE_FAILURE"
        refusal = engine._verify(self._request, upgrade=view.is_upgrade)
        if view.sid is None and refusal in (None, UNSUPPORTED_PROTOCOL):
            if engine.allow_request is not None:
                forbidden = await self._is_forbidden(engine.allow_request)
                if forbidden is not None:
                    return forbidden, ""
            if refusal is None and engine.generate_id is not None:
                return await self._name(engine.generate_id)
        return None if refusal is None else (refusal, "")

    async def _is_forbidden(self, hook: Hook) -> Refusal | None:
        try:
            allowed = await self._ask(hook)
            if allowed is not False:  # which is an answer here
                check_verdict(allowed, hook.function)
            if not isinstance(allowed, bool):
                raise LocalProtocolError(f"{hook.what} gave {allowed!r}, not True or False")
        except BaseException as error:
            return self._engine.explain(hook, error, FORBIDDEN)
        return None if allowed else FORBIDDEN

    async def _name(self, hook: Hook) -> tuple[Refusal, str] | None:
        try:
            sid = await self._ask(hook)
            if not isinstance(sid, str) or not _SID(sid):
                raise LocalProtocolError(f"{hook.what} gave {sid!r}, which cannot name a session")
        except BaseException as error:
            self._engine.log_failure(hook, error)
            return BAD_REQUEST, "ID_GENERATION_ERROR"
        self._view.new_sid = sid
        return None

    async def _ask(self, hook: Hook) -> Any:
        if not hook.is_async:
            return self._workers.run(hook.function, self._view)
        with trio.fail_after(self._engine.options.hook_timeout_s):
            return await self._workers.call_async(hook.function, self._view)


def _expect_none(given: Any) -> None:
    """Middleware that gives a coroutine was not called as a program thinks it was."""
    if isinstance(given, Coroutine):
        given.close()
        raise LocalProtocolError("it gave a coroutine, but is no async function")


def _finish_now(decision: Coroutine[Any, Any, tuple[Refusal, str] | None]) -> Any:
    """Run what has nothing to wait for."""
    try:
        decision.send(None)
    except StopIteration as done:
        return done.value
    decision.close()
    raise AssertionError("a plain hook was waited for")


def _hook(what: str, function: Any) -> Hook | None:
    return None if function is None else Hook(what, function)


def _view(request: "Request") -> EngineRequest | None:
    view: EngineRequest | None = getattr(request, "attached", None)
    return view
