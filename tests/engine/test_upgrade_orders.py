"""Any order of sends, polls and upgrade steps: every message arrives once, in order."""

from base64 import b64decode
from dataclasses import dataclass, field
from typing import Final

import pytest
import trio
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.engine.harness import POLLING, Engine, in_trio, open_engine, settle
from tests.properties import examples
from tests.wire import ConnectionEnded, HttpClient, WebSocketClient
from wsproto.events import TextMessage

STEPS: Final = (
    "send",  # the server sends a message
    "send",
    "poll",  # the client asks, unless it waits already
    "take",  # the client reads what has come, without waiting
    "post",
    "open",  # a candidate
    "probe",
    "fail",  # garbage on the candidate
    "upgrade",
    "settle",  # let the server work; without it, steps lie in the sockets together
)


@dataclass
class Script:
    """A client that follows random steps, and what went through."""

    engine: Engine
    sid: str
    sent: list[str] = field(default_factory=list)
    by_polling: list[str] = field(default_factory=list)
    by_websocket: list[str] = field(default_factory=list)
    posted: list[str] = field(default_factory=list)
    get: HttpClient | None = None
    candidate: WebSocketClient | None = None
    upgraded: bool = False

    @property
    def target(self) -> str:
        return f"{POLLING}&sid={self.sid}"

    async def take(self, step: str) -> None:
        await getattr(self, f"on_{step}")()

    async def on_send(self) -> None:
        message = str(len(self.sent))
        self.sent.append("4" + message)
        if len(self.sent) % 3:
            self.engine.session.send_text(message.encode())
        else:
            self.engine.session.send_binary(b"4" + message.encode())

    async def on_poll(self) -> None:
        if self.get is None and not self.upgraded:
            self.get = self.engine.http()
            await self.get.send("GET", self.target)

    async def on_take(self) -> None:
        if self.get is not None:
            with trio.move_on_after(0.002) as waited:
                response = await self.get.receive()
            if waited.cancelled_caught:
                return
            self.get = None
            if response.status == 400:  # it came after the upgrade
                assert self.upgraded
                assert response.json()["code"] == 3
                return
            for packet in response.text.split("\x1e"):
                if packet != "6":
                    data = b64decode(packet[1:]).decode() if packet[0] == "b" else packet
                    self.by_polling.append(data)

    async def on_post(self) -> None:
        message = f"p{len(self.posted)}"
        self.posted.append(message)
        if not self.upgraded:
            response = await self.engine.request("POST", self.target, body=b"4" + message.encode())
            assert response.text == "ok"
        else:
            assert self.candidate is not None
            await self.candidate.send("4" + message)

    async def on_open(self) -> None:
        if self.candidate is None:
            target = self.target.replace("polling", "websocket")
            self.candidate = self.engine.keep(await WebSocketClient.open(self.engine.port, target))

    async def on_probe(self) -> None:
        if self.candidate is not None and not self.upgraded:
            await self.candidate.send("2probe")

    async def on_fail(self) -> None:
        if self.candidate is not None and not self.upgraded:
            candidate, self.candidate = self.candidate, None
            await candidate.send("4garbage")
            while True:
                try:
                    assert await candidate.receive() == "3probe"
                except ConnectionEnded:
                    break

    async def on_upgrade(self) -> None:
        if self.candidate is not None and not self.upgraded:
            self.upgraded = True
            await self.candidate.stream.send_all(self.candidate.ws.send(TextMessage("5")))

    async def on_settle(self) -> None:
        await settle()

    async def finish(self) -> None:
        """Fetch what is left, over whatever carries the session now."""
        await settle()
        await self.on_take()
        assert self.engine.session.transport == ("websocket" if self.upgraded else "polling")
        if not self.upgraded:
            self.engine.session.send_text(b"end")
            while self.by_polling[-1:] != ["4end"]:
                await self.on_poll()
                await self.on_take()
            self.by_polling.pop()
            return
        assert self.get is None, "the upgrade left a poll waiting"
        assert self.candidate is not None
        await self.candidate.send("4end")
        self.engine.session.send_text(b"end")
        while (packet := await self.candidate.receive()) != "4end":
            if packet != "3probe":
                text = packet if isinstance(packet, str) else packet.decode()
                self.by_websocket.append(text)
        self.posted.append("end")
        await settle()


@pytest.mark.req("EIO4-39", "EIO4-50")
@settings(max_examples=examples(50), deadline=None)
@given(st.lists(st.sampled_from(STEPS), max_size=25))
def test_every_message_arrives_once_and_in_order(steps: list[str]) -> None:
    @in_trio
    async def play() -> None:
        async with open_engine(echo=False) as engine:
            polling = await engine.polling()
            script = Script(engine, polling.handshake["sid"])
            for step in steps:
                await script.take(step)
            await script.finish()
            assert script.by_polling + script.by_websocket == script.sent
            assert engine.listener.received == script.posted
            assert engine.listener.reasons == []
            assert engine.engine.packets_dropped == 0

    play()
