"""A log of presence that is full before the server serves; see bench/following.py."""

from collections.abc import AsyncIterator

from trio_socketio import Server, ServerOptions
from trio_socketio.im.presence import Cursor, MemoryStore, Presence
from trio_socketio.protocol.presence_claims import Claimed, ClaimRef, ClaimRequest

NAMESPACE = "/chat"
ENTRIES = 50_000
USERS = 1000


def create(options: ServerOptions) -> Server:
    """See trio_socketio.app."""
    sio = Server(options)
    store = MemoryStore(max_events=2 * ENTRIES)
    Presence(sio, store).seat(NAMESPACE)

    @sio.lifespan
    async def fill(_: Server) -> AsyncIterator[None]:
        await store.enroll("bench", "bench-1")
        tokens: dict[str, Cursor] = {}
        for number in range(ENTRIES):
            user = f"user-{number * 7919 % USERS}"
            if user in tokens:
                ref = ClaimRef(
                    namespace=NAMESPACE,
                    user=user,
                    boot="bench-1",
                    attempt=number,
                    token=tokens.pop(user),
                )
                await store.release(ref, "transport close")
                continue
            request = ClaimRequest(
                namespace=NAMESPACE,
                user=user,
                id=f"{number:020}",
                node="bench",
                boot="bench-1",
                attempt=number,
            )
            claimed = await store.claim(request)
            assert isinstance(claimed, Claimed)
            tokens[user] = claimed.token
        yield

    return sio
