"""The admission of a program with hooks: each request passes them before it is served."""

import re
from collections.abc import Coroutine
from functools import partial
from typing import TYPE_CHECKING, Any, Final

import trio

from trio_socketio.engine.cookie import encode_cookie
from trio_socketio.engine.handshake import BAD_REQUEST, FORBIDDEN, UNSUPPORTED_PROTOCOL, Refusal
from trio_socketio.engine.hooks import EngineRequest, Hook, RefusedRequest
from trio_socketio.errors import ConnectRefused, LocalProtocolError
from trio_socketio.runtime.barrier import sole_error
from trio_socketio.runtime.verdicts import check_verdict, told_refusal

if TYPE_CHECKING:
    from trio_socketio.engine.admission import Gate
    from trio_socketio.engine.hooks import Engine, HookWorkers
    from trio_socketio.engine.options import EngineOptions, RequestHooks
    from trio_socketio.engine.session import Session
    from trio_socketio.http.request import Headers, Request
    from trio_socketio.option_checks import Network

_SID: Final = re.compile(r"[-A-Za-z0-9._~]{1,128}").fullmatch
"""Matches a sid that needs no escaping in a query or a cookie (EIO4-69)."""

_Decision = tuple[Refusal, str] | None
"""Why a request is refused, and a name for the context; None admits it."""


def needs_hooks(hooks: "Engine", asked: "RequestHooks", options: "EngineOptions") -> bool:
    """Whether requests have to pass `HookedAdmission`: the program has a hook or a cookie."""
    return bool(hooks._is_used or any(asked) or options.cookie)


class HookedAdmission:
    """Asks the hooks of a program about each request, in the reference's order.

    Args:
        gate: the engine.
        workers: run async hooks.
        hooks: middleware and listeners that the program registered.
        asked: further hooks, which were given as options.
        trusted_proxies: networks of the proxies whose forwarding headers are believed.
    """

    __slots__ = (
        "_allow_request",
        "_always_async",
        "_gate",
        "_generate_id",
        "_hooks",
        "_opening_async",
        "_trusted_proxies",
        "_workers",
    )

    def __init__(
        self,
        gate: "Gate",
        workers: "HookWorkers",
        hooks: "Engine",
        asked: "RequestHooks",
        trusted_proxies: "tuple[Network, ...]",
    ) -> None:
        self._gate = gate
        self._workers = workers
        self._hooks = hooks
        self._trusted_proxies = trusted_proxies
        self._allow_request = _hook("allow_request", asked.allow_request)
        self._generate_id = _hook("generate_id", asked.generate_id)
        self._always_async = any(hook.is_async for hook in hooks._middleware)
        self._opening_async = self._always_async or any(
            hook is not None and hook.is_async for hook in (self._allow_request, self._generate_id)
        )

    # -- deciding

    def receive(self, request: "Request", *, upgrade: bool) -> None:
        """Ask the hooks now if they are plain, otherwise in a worker."""
        request.attached = view = EngineRequest(request, self._trusted_proxies)
        if self._always_async or (self._opening_async and view.sid is None):
            job = _Job(self, request, view)
            request.on_abort = job.abort
            self._workers.submit(job)
        else:
            self._admit(request, view, _finish_now(self.decide(request, view)))

    async def decide(self, request: "Request", view: EngineRequest) -> _Decision:
        """Ask the hooks. Suspends only where a hook is async."""
        for hook in self._hooks._middleware:  # EIO4-68: before all other checks
            try:
                given = await self._ask(hook, view)
                _expect_none(given)
                check_verdict(given, hook.function)
            except BaseException as error:
                return self._explain(hook, error, BAD_REQUEST), "MIDDLEWARE_FAILURE"
        refusal = self._gate.verify(request, upgrade=view.is_upgrade)
        if view.sid is None and refusal in (None, UNSUPPORTED_PROTOCOL):  # EIO4-11
            if self._allow_request is not None:
                forbidden = await self._is_forbidden(self._allow_request, view)
                if forbidden is not None:
                    return forbidden, ""
            if refusal is None and self._generate_id is not None:
                return await self._choose_sid(self._generate_id, view)
        return None if refusal is None else (refusal, "")

    async def _is_forbidden(self, hook: Hook, view: EngineRequest) -> Refusal | None:
        try:
            allowed = await self._ask(hook, view)
            if allowed is not False:  # False is a proper answer of allow_request
                check_verdict(allowed, hook.function)
            if not isinstance(allowed, bool):  # EIO4-07: only True allows
                raise LocalProtocolError(f"{hook.what} returned {allowed!r}, not True or False")
        except BaseException as error:
            return self._explain(hook, error, FORBIDDEN)
        return None if allowed else FORBIDDEN

    async def _choose_sid(self, hook: Hook, view: EngineRequest) -> _Decision:
        try:
            sid = await self._ask(hook, view)
            if not isinstance(sid, str) or not _SID(sid):
                raise LocalProtocolError(
                    f"{hook.what} returned {sid!r}: an id is 1 to 128 of A-Z a-z 0-9 . _ ~ -"
                )
        except BaseException as error:
            self._log_failure(hook, error)
            return BAD_REQUEST, "ID_GENERATION_ERROR"
        view.new_sid = sid
        return None

    async def _ask(self, hook: Hook, view: EngineRequest) -> Any:
        if not hook.is_async:
            return self._workers.run(hook.function, view)
        with trio.fail_after(self._gate.options.hook_timeout_s) as scope:  # EIO4-67
            given = await self._workers.call_async(hook.function, view)
        if scope.cancel_called:  # it has shielded itself, and is late all the same
            raise trio.TooSlowError
        return given

    def admit_later(self, request: "Request", view: EngineRequest, refused: _Decision) -> None:
        """Have the decision take effect in a turn of the poller, as if the request had just come.

        Everything is checked again there, because the session may end and the client may leave
        before.
        """
        self._gate.poller.defer(partial(self._admit_late, request, view, refused))

    def _admit_late(self, request: "Request", view: EngineRequest, refused: _Decision) -> None:
        request.on_abort = None
        if request.answered:  # the client has hung up meanwhile
            return
        if refused is None:  # the session may have ended meanwhile, or the server may be stopping
            refusal = self._gate.verify(request, upgrade=view.is_upgrade)
            refused = None if refusal is None else (refusal, "")
        self._admit(request, view, refused)

    def _admit(self, request: "Request", view: EngineRequest, refused: _Decision) -> None:
        """Serve or refuse the request, as the hooks have decided."""
        if (
            refused is None
            and self._generate_id is not None
            and view.new_sid in self._gate.sessions  # EIO4-69
        ):
            error = LocalProtocolError(
                "it returned the id of a session that exists, so the request is refused"
            )
            self._log_failure(self._generate_id, error)
            refused = BAD_REQUEST, "ID_GENERATION_ERROR"
        if refused is not None:
            refusal, context = refused
            self._gate.refuse(request, refusal, context, upgrade=view.is_upgrade)
        else:
            self._gate.serve(request, upgrade=view.is_upgrade)

    def _explain(self, hook: Hook, error: BaseException, refusal: Refusal) -> Refusal:
        """Return the refusal that the client is told, with the program's message if it gave one."""
        if not isinstance(sole_error(error), ConnectRefused):
            self._log_failure(hook, error)
        refused = told_refusal(error)
        if refused is None:
            return refusal
        # A lone surrogate cannot be encoded, and the refusal has to be sent all the same.
        message = str(refused.message).encode(errors="replace").decode()
        return Refusal(refusal.code, message, refusal.status)

    # -- answers

    def headers(self, request: "Request") -> "Headers":
        """Return the CORS headers, and those that hooks have set."""
        headers = self._gate.cors.headers(request)
        view = _view(request)
        return headers if view is None else [*headers, *view.response_headers.encode()]

    def packet_headers(self, request: "Request") -> "Headers":
        """Return the same as `headers`, after listeners have added theirs (EIO4-70)."""
        view = _view(request)
        if view is not None:
            if view.sid is None:
                self._tell("initial_headers", view.response_headers, view)
            self._tell("headers", view.response_headers, view)
        return self.headers(request)

    switching_headers = packet_headers

    def name_session(self, request: "Request", sid: str) -> str:
        """Return the sid that generate_id gave, if it did, and set the cookie."""
        view = _view(request)
        assert view is not None  # it was admitted
        sid = view.new_sid or sid
        cookie = self._gate.options.cookie
        if cookie is not None and not view.is_upgrade:  # EIO4-72
            view.response_headers.add("Set-Cookie", encode_cookie(cookie, sid))
        return sid

    # -- telling listeners

    def session_opened(self, session: "Session") -> None:
        """Call the listeners of "connection"."""
        self._tell("connection", session)

    def request_refused(self, request: "Request", refusal: Refusal, context: str) -> None:
        """Call the listeners of "connection_error". Hooks may not have seen the request before."""
        view = _view(request) or EngineRequest(request, self._trusted_proxies)
        self._tell("connection_error", RefusedRequest(view, refusal, context))

    def _tell(self, event: str, *arguments: Any) -> None:
        for hook in self._hooks._listeners[event]:
            try:
                self._workers.run(hook.function, *arguments)
            except BaseException as error:
                self._log_failure(hook, error)

    def _log_failure(self, hook: Hook, error: BaseException) -> None:
        """Count and log a hook that raised. It affects no request but its own."""
        self._workers.log_failure(hook.what, "", error)


class _Job:
    """Asks the hooks about one request, in a worker."""

    __slots__ = ("_admission", "_request", "_scope", "_view")

    def __init__(self, admission: HookedAdmission, request: "Request", view: EngineRequest) -> None:
        self._admission = admission
        self._request = request
        self._view = view
        self._scope: trio.CancelScope | None = None

    async def run(self, workers: "HookWorkers") -> bool:
        """Ask the hooks, and have their decision take effect.

        Returns:
            False, because the clock was not read.
        """
        if self._request.answered:
            return False
        with trio.CancelScope() as self._scope:
            refused = await self._admission.decide(self._request, self._view)
            self._admission.admit_later(self._request, self._view, refused)
        return False

    def abort(self) -> None:
        """The client has hung up, so the decision is not needed (EIO4-67)."""
        if self._scope is not None:
            self._scope.cancel()


def _expect_none(given: Any) -> None:
    """Refuse a coroutine: plain middleware that returns one has not run at all.

    Raises:
        LocalProtocolError: middleware returned a coroutine.
    """
    if isinstance(given, Coroutine):
        given.close()
        raise LocalProtocolError("it returned a coroutine, but is not an async function")


def _finish_now(decision: Coroutine[Any, Any, _Decision]) -> _Decision:
    """Run a decision in which every hook is plain, so that it never suspends."""
    try:
        decision.send(None)
    except StopIteration as done:
        decision_made: _Decision = done.value
        return decision_made
    decision.close()
    raise AssertionError("a plain hook suspended")


def _hook(what: str, function: Any) -> Hook | None:
    return None if function is None else Hook(what, function)


def _view(request: "Request") -> EngineRequest | None:
    view: EngineRequest | None = getattr(request, "attached", None)
    return view
