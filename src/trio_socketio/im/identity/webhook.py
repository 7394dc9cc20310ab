"""Asks a URL who a client is. Whatever goes wrong refuses the client."""

import logging
import time
from collections.abc import Callable
from typing import Final

import trio

from trio_socketio.codec.json_text import encode_json
from trio_socketio.errors import LocalProtocolError
from trio_socketio.http.client import Response
from trio_socketio.http.outgoing import (
    AnswerUnusable,
    Outgoing,
    RequestFailed,
    parse_target,
    read_secret,
    sign,
    trust,
)
from trio_socketio.im.identity.answers import ask_for, is_refusal, read_answer
from trio_socketio.im.identity.identity import (
    LATER,
    MALFORMED,
    UNAVAILABLE,
    Attempt,
    Later,
    Refusal,
    Verdict,
)
from trio_socketio.im.identity.options import WebhookOptions
from trio_socketio.im.identity.token_names import TokenNames
from trio_socketio.protocol.circuit_breaker import CircuitBreaker, State
from trio_socketio.runtime.sampling import REFUSALS, SampledLog

log = logging.getLogger(__name__)

_OK: Final = 200
_REFUSING: Final = (401, 403)
"""With these, the body has to say that the client is refused: a webhook that does not accept our
signature answers so, too."""
_TOO_MANY: Final = 429
_BROKEN: Final = 500
"""From here on, the statuses say that the server itself has failed."""


class Webhook:
    """Verifies every token, by asking a URL.

    Args:
        options: the URL and its bounds; its files are read.
        deadline_s: how long a question may take, everything included.
        clock: seconds since 1970.
    Raises:
        ConfigurationError: a file cannot be used.

    Attributes:
        lines: says which failures are logged. The service has one that it flushes.
        names: names tokens. The service has one for all.
    """

    method = "webhook"

    def __init__(
        self,
        options: WebhookOptions,
        deadline_s: float,
        clock: Callable[[], float] = time.time,
    ) -> None:
        target = parse_target(options.url)
        self._outgoing = Outgoing(target, trust(options.ca_file) if target.secure else None)
        self._secret = read_secret(options.secret_file)
        self._max_in_flight = options.max_in_flight
        self._deadline_s = deadline_s
        self._clock = clock
        self._breaker = CircuitBreaker(options.max_failures, options.open_s)
        self._in_flight = 0
        self.names = TokenNames()
        self.lines = SampledLog(log, logging.WARNING, REFUSALS)

    def verify_now(self, attempt: Attempt) -> Verdict | Later | None:
        return LATER

    async def verify(self, attempt: Attempt) -> Verdict:
        question = ask_for(attempt)
        if isinstance(question, Refusal):
            return question
        if self._in_flight >= self._max_in_flight:
            return self._fail(f"{self._in_flight} questions wait for their answers")
        try:
            body = encode_json(question)
        except LocalProtocolError:  # what the client has sent beside the token is no JSON
            return Refusal(MALFORMED)
        turn = self._breaker.ask(trio.current_time())
        if turn is None:  # IDENT-20: told when it opened
            return Refusal(UNAVAILABLE)
        self._in_flight += 1
        try:
            response = await self._post(body)
        except AnswerUnusable as error:
            self._breaker.succeeded(turn)
            return self._fail(str(error))
        except RequestFailed as error:
            return self._failed(turn, str(error))
        except BaseException:
            self._breaker.abandoned(turn)
            raise
        finally:
            self._in_flight -= 1
        if response.status == _TOO_MANY or response.status >= _BROKEN:
            return self._failed(turn, f"it answered {response.status}")
        # IDENT-71: any other answer may be the client's own doing, so it closes the breaker.
        self._breaker.succeeded(turn)
        return self._judge(response, attempt)

    async def _post(self, body: bytes) -> Response:
        headers = [sign(self._secret, body, self._clock())]  # IDENT-25
        return await self._outgoing.request(
            "POST", body, headers=headers, timeout_s=self._deadline_s
        )

    def _judge(self, response: Response, attempt: Attempt) -> Verdict:
        """Return the verdict of an answer (IDENT-24)."""
        if response.status not in (_OK, *_REFUSING):
            return self._fail(f"it answered {response.status}")
        verdict, wrong = read_answer(response.body, attempt, self._clock(), self.names)
        if response.status in _REFUSING and not is_refusal(verdict):  # IDENT-80
            return self._fail(
                f"it answered {response.status} without a reason in 'refused': perhaps it has "
                "another secret than secret_file of [identity] webhook"
            )
        return self._fail(wrong) if wrong else verdict

    def _failed(self, turn: int, failure: str) -> Refusal:
        was_open = self._breaker.state is State.OPEN
        self._breaker.failed(turn, trio.current_time())
        if self._breaker.state is State.OPEN and not was_open:
            log.warning(
                "the webhook %s is not asked for %g s, and clients are refused: %s",
                self._outgoing.target,
                self._breaker.open_s,
                failure,
            )
            return Refusal(UNAVAILABLE)
        return self._fail(failure)

    def _fail(self, failure: str) -> Refusal:
        if self.lines.admits("questions that the webhook has not answered"):
            log.warning("the webhook %s: %s", self._outgoing.target, failure)
        return Refusal(UNAVAILABLE)

    async def aclose(self) -> None:
        """Close its connections."""
        await self._outgoing.aclose()
