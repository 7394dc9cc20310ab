"""``trio-socketio serve``, with a store that writes down what it is asked and what it answers.

``python -m tests.faults.presence.node_process ARGUMENTS`` takes the arguments of the program.
"""

import os
import sys
from collections.abc import Awaitable, Callable
from functools import partial
from typing import TYPE_CHECKING, Any, TypeVar

from tests.faults.presence.app import ACTS, Recorder
from tests.faults.presence.history import Act, boottime
from trio_socketio.cli import main
from trio_socketio.cluster import shared_presence
from trio_socketio.im.presence import StoreUnavailable

if TYPE_CHECKING:
    from trio_socketio.protocol.presence_claims import (
        Claimed,
        ClaimRef,
        ClaimRequest,
        Fenced,
        Released,
        Stale,
        Taken,
    )
    from trio_socketio.protocol.presence_cursor import Cursor

T = TypeVar("T")


class RecordingStore(shared_presence.NamedStore):
    """Writes down what the store was asked, and what it has answered."""

    def __init__(self, *arguments: Any) -> None:
        super().__init__(*arguments)
        self._recorder = Recorder(os.environ[ACTS])

    async def claim(self, request: "ClaimRequest") -> "Claimed | Taken | Fenced":
        ask = partial(super().claim, request)
        return await self._note("claim", request, ask, request.id)

    async def reassert(
        self, request: "ClaimRequest", token: "Cursor"
    ) -> "Claimed | Stale | Fenced":
        ask = partial(super().reassert, request, token)
        return await self._note("reassert", request, ask, request.id)

    async def release(self, ref: "ClaimRef", reason: str) -> "Released | Stale | Fenced":
        ask = partial(super().release, ref, reason)
        return await self._note("release", ref, ask, reason=reason)

    async def _note(
        self,
        do: Any,
        asked: "ClaimRequest | ClaimRef",
        ask: Callable[[], Awaitable[T]],
        id_: str = "",
        reason: str = "",
    ) -> T:
        outcome, answer = "unknown", None
        try:
            answer = await ask()
            outcome = type(answer).__name__.lower()
            return answer
        except StoreUnavailable as error:
            reason = str(error)
            raise
        finally:
            act = Act(
                at=boottime(),
                do=do,
                namespace=asked.namespace,
                user=asked.user,
                id=id_,
                boot=asked.boot,
                outcome=outcome,
                token=str(getattr(answer, "token", "")),
                cursor=str(getattr(answer, "cursor", "")),
                reason=reason,
            )
            self._recorder.write(act)


if __name__ == "__main__":
    setattr(shared_presence, "NamedStore", RecordingStore)  # noqa: B010 - it is the name of a class
    sys.exit(main())
