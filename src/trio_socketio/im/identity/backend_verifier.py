"""Asks a backend on the control socket who a client is. Whatever goes wrong refuses the client."""

import logging
import time
from collections.abc import Callable
from typing import Any, Protocol

from trio_socketio.codec.json_rpc import Code
from trio_socketio.control.failures import unavailable
from trio_socketio.errors import ControlError
from trio_socketio.im.identity.answers import ask_for, read_answer
from trio_socketio.im.identity.identity import (
    LATER,
    REFUSED,
    UNAVAILABLE,
    Attempt,
    Later,
    Refusal,
    Verdict,
)
from trio_socketio.im.identity.token_names import TokenNames
from trio_socketio.runtime.sampling import REFUSALS, SampledLog

log = logging.getLogger(__name__)


class AskBackend(Protocol):
    """Calls backend.authenticate of a backend; at run time Backends.authenticate."""

    async def __call__(self, namespace: str, question: Any, timeout_s: float) -> bytes:
        """Return the answer, as it was sent.

        Raises:
            ControlError: no backend is there, or it has refused or not answered in time.
        """


async def _no_backend(namespace: str, question: object, timeout_s: float) -> bytes:
    raise unavailable("there is no control socket")


class BackendVerifier:
    """Verifies every token, by asking a backend.

    Args:
        deadline_s: how long it may take.
        clock: seconds since 1970.

    Attributes:
        ask: calls the backend. It is set later, because files are read, and verifiers made, before
            there is a control service.
        lines: says which failures are logged. The service has one that it flushes.
        names: names tokens. The service has one for all.
    """

    method = "backend"

    def __init__(self, deadline_s: float, clock: Callable[[], float] = time.time) -> None:
        self.ask: AskBackend = _no_backend
        self._deadline_s = deadline_s
        self._clock = clock
        self.names = TokenNames()
        self.lines = SampledLog(log, logging.WARNING, REFUSALS)

    def verify_now(self, attempt: Attempt) -> Verdict | Later | None:
        return LATER

    async def verify(self, attempt: Attempt) -> Verdict:
        question = ask_for(attempt)
        if isinstance(question, Refusal):
            return question
        try:
            answer = await self.ask(attempt.namespace, question, self._deadline_s)
        except ControlError as error:
            if error.code in (Code.UNAUTHORIZED, Code.FORBIDDEN):
                return Refusal(REFUSED)
            return self._fail(str(error))  # IDENT-28
        verdict, wrong = read_answer(answer, attempt, self._clock(), self.names)
        return self._fail(wrong) if wrong else verdict

    def _fail(self, failure: str) -> Refusal:
        if self.lines.admits("clients that no backend has authenticated"):
            log.warning("a client was not authenticated by a backend: %s", failure)
        return Refusal(UNAVAILABLE)
