"""The chat page of the lobby in Chromium: two windows talk, and nothing harms them."""

from collections.abc import Iterator
from contextlib import ExitStack
from typing import Any, Final

import pytest
from tests.browser.chromium import Chromium, Page
from tests.browser.pages import (
    HOSTILE,
    LobbyProcess,
    find_faults,
    foreign,
    is_too_wide,
    quoted,
    shot,
)
from tests.interop.server_process import assert_clean
from trio import open_nursery
from trio import run as run_trio

from trio_socketio import open_client

IN: Final = '$("#log") && state.room && $("#online-count").textContent'
TEXTS: Final = '[...document.querySelectorAll("#log .text")].map((one) => one.textContent)'


@pytest.fixture(scope="module")
def lobby() -> Iterator[LobbyProcess]:
    with LobbyProcess(arguments=["--admin", "127.0.0.1:0"]) as server:
        yield server
        assert_clean(server)


class Windows:
    """Windows of the lobby."""

    def __init__(self, browser: Chromium, url: str, stack: ExitStack) -> None:
        self._browser = browser
        self._url = url
        self._stack = stack
        self.open: list[Page] = []

    def show(self) -> Page:
        page = self._stack.enter_context(self._browser.open_page(f"{self._url}/"))
        self.open.append(page)
        return page

    def enter(self, name: str, transport: str = "") -> Page:
        page = self.show()
        page.evaluate(f"$('#transport').value = {quoted(transport)}")
        log_in(page, name)
        return page


def log_in(page: Page, name: str) -> None:
    page.evaluate(f"$('#name').value = {quoted(name)}; $('#enter').requestSubmit()")
    page.wait_for(IN)


@pytest.fixture
def windows(browser: Chromium, lobby: LobbyProcess) -> Iterator[Windows]:
    with ExitStack() as stack:
        opened = Windows(browser, lobby.url, stack)
        yield opened
        for page in opened.open:
            assert foreign(page, lobby.url) == []  # PAGE-05
            assert page.console == []


def say(page: Page, text: str) -> None:
    page.evaluate(f"$('#text').value = {quoted(text)}; $('#say').requestSubmit()")


@pytest.mark.req("PAGE-05", "PAGE-16")
@pytest.mark.parametrize("transport", ["", "polling"])
def test_two_windows_talk(windows: Windows, transport: str) -> None:
    ann, bob = windows.enter("ann", transport), windows.enter("bob", "websocket")
    kind = "long-polling" if transport else "WebSocket"
    assert ann.evaluate("$('#status').textContent") == f"{kind}, as ann"
    ann.wait_for("$('#members').textContent.includes('bob')")
    say(ann, "Is there tea?")
    assert bob.wait_for(f"{TEXTS}.length && {TEXTS}") == ["Is there tea?"]
    ann.wait_for("document.querySelector('.line .state').title === 'arrived at 1 of 1'")
    assert ann.evaluate("document.querySelector('.line .state span').textContent") == "✓✓"
    bob.evaluate("$('#text').value = 'Th'; $('#text').oninput()")
    ann.wait_for("$('#typing').textContent === 'bob is typing…'")
    say(bob, "There is.")
    ann.wait_for(f"{TEXTS}.length === 2")
    assert ann.evaluate("$('#typing').textContent") == ""
    ann.wait_for("$('#events').textContent.includes('bob came online')")
    bob.evaluate("$('#leave').click()")
    ann.wait_for("$('#events').textContent.includes('bob went offline')")
    ann.wait_for("!$('#members').textContent.includes('bob')")
    ann.wait_for("$('#online-count').textContent === '1'")
    assert ann.evaluate("$('#dashboard').href").startswith("http://127.0.0.1:")


def test_a_message_that_is_written_before_the_room_is_there_stays(windows: Windows) -> None:
    ann = windows.enter("ann")
    kept = ann.evaluate("""(() => {
      const room = state.room;
      state.room = "";
      $("#text").value = "early";
      $("#say").requestSubmit();
      state.room = room;
      return $("#text").value;
    })()""")
    assert kept == "early"
    ann.evaluate("$('#say').requestSubmit()")
    assert ann.wait_for(f"{TEXTS}.length && {TEXTS}") == ["early"]


def test_rooms_are_joined_and_left(windows: Windows) -> None:
    ann, bob = windows.enter("ann"), windows.enter("bob")
    bob.evaluate("$('#new-room').value = 'kitchen'; $('.add').requestSubmit()")
    bob.wait_for("$('#room-title').textContent === 'kitchen'")
    kitchen = "[...document.querySelectorAll('.rooms li button')]"
    kitchen += ".find((one) => one.dataset.room === 'kitchen')"
    ann.wait_for(kitchen)
    ann.evaluate(f"{kitchen}.click()")
    bob.wait_for("$('#members').textContent.includes('ann')")
    ann.wait_for("$('#room-title').textContent === 'kitchen'")
    ann.evaluate("show('tea')")
    say(bob, "Supper!")
    assert ann.wait_for(f"{kitchen}.querySelector('.new')?.textContent") == "1 unread"
    ann.evaluate(f"{kitchen}.click()")
    ann.wait_for(f"{TEXTS}.includes('Supper!')")
    ann.evaluate("$('#part').click()")
    bob.wait_for("!$('#members').textContent.includes('ann')")
    assert ann.evaluate("$('#room-title').textContent") == "tea"


@pytest.mark.req("PAGE-13")
def test_the_same_name_takes_the_seat_over(windows: Windows) -> None:
    bob, first = windows.enter("bob"), windows.enter("ann")
    second = windows.enter("ann")
    first.wait_for("$('#main').textContent.includes('ann has come in from another window')")
    bob.wait_for("$('#events').textContent.includes('ann moved to another window')")
    assert bob.wait_for("$('#online-count').textContent") == "2"
    first.evaluate("$('#main button').click()")
    first.wait_for(IN)
    second.wait_for("$('#main').textContent.includes('ann has come in from another window')")


@pytest.mark.req("PAGE-12")
def test_a_name_that_is_refused_says_why(windows: Windows) -> None:
    page = windows.show()
    page.evaluate("enter('\\u202eann')")
    page.wait_for("$('#refused').textContent.includes('a name cannot have the character U+202E')")
    log_in(page, "ann")


def test_a_name_of_spaces_is_none(windows: Windows) -> None:
    page = windows.show()
    page.evaluate("$('#name').value = '  '; $('#enter').requestSubmit()")
    page.wait_for("$('#refused').textContent.startsWith('A name cannot be only')")
    assert page.evaluate("document.activeElement.id") == "name"
    log_in(page, "ann")


def test_a_lost_connection_is_said_and_comes_back(browser: Chromium) -> None:
    with LobbyProcess() as server, browser.open_page(f"{server.url}/") as page:
        log_in(page, "ann")
        server.stop()
        page.wait_for("$('#status').textContent.startsWith('no connection')")
        say(page, "Is anybody there?")
        page.wait_for("document.querySelector('.line .state').textContent.includes('not sent')")
        server.start()
        page.wait_for("$('#status').textContent === 'WebSocket, as ann'")
        page.evaluate("document.querySelector('.line .state button').click()")
        page.wait_for("document.querySelector('.line .state').textContent.startsWith('✓')")


def test_polling_is_the_fall_back_where_websocket_is_not_possible(browser: Chromium) -> None:
    served = LobbyProcess(arguments=["--transport", "polling"])
    with served as server, browser.open_page(f"{server.url}/") as page:
        log_in(page, "ann")
        assert page.evaluate("$('#status').textContent") == "long-polling, as ann"


def test_an_official_client_talks_with_the_page(windows: Windows, lobby: LobbyProcess) -> None:
    ann = windows.enter("ann")
    heard: list[tuple[Any, ...]] = []

    async def main() -> None:
        async with open_nursery() as nursery, open_client(lobby.url) as client:
            client.on("message")(lambda *arguments: heard.append(arguments))
            assert await client.emit_with_ack("join", "tea") == 2
            await client.emit_with_ack("message", "tea", "from Python", {"n": [1]}, b"\x00\x01")
            nursery.cancel_scope.cancel()

    run_trio(main)
    guest, *_ = ann.wait_for(f"{TEXTS}.length && {TEXTS}"), heard
    assert guest == ['from Python {"n":[1]} (2 bytes)']
    assert ann.evaluate("document.querySelector('.line:has(.text) .who').textContent").startswith(
        "guest "
    )


@pytest.mark.req("PAGE-06")
@pytest.mark.time_limit(120)
def test_hostile_text_harms_nothing(windows: Windows, lobby: LobbyProcess) -> None:
    ann = windows.enter("<b>ann</b>")
    title = ann.evaluate("document.title")
    elements = "document.querySelectorAll('img, script, iframe, b').length"
    before = ann.evaluate(elements)

    async def main() -> None:
        auth = {"name": "<img src=x onerror=alert(1)>"}
        async with open_client(lobby.url, auth=auth) as client:
            await client.emit_with_ack("join", "tea")
            await client.emit_with_ack("join", "<u>room</u>\u202e")
            for text in HOSTILE:
                sent = text[:900_000]  # what a client may send at once
                assert await client.emit_with_ack("message", "tea", sent, timeout_s=10) is True
            await client.emit_with_ack("message", "tea", [[[]]] * 100, {"__proto__": 1}, None)

    run_trio(main)
    texts = ann.wait_for(f"{TEXTS}.length === {len(HOSTILE) + 1} && {TEXTS}")
    assert texts[0] == HOSTILE[0]
    assert "\u0000" not in texts[4]
    assert len(texts[8]) < 2_100
    assert "more characters are not shown" in texts[8]
    assert ann.evaluate(elements) == before
    assert ann.evaluate("document.title") == title
    assert ann.evaluate(
        "[...document.querySelectorAll('.text')].every((one) => one.dir === 'auto' &&"
        " getComputedStyle(one).unicodeBidi === 'plaintext' || one.dir === 'auto')"
    )
    assert ann.evaluate("document.querySelector('.line .who bdi') !== null")
    assert not is_too_wide(ann)
    shot(ann, "chat-hostile")


@pytest.mark.req("PAGE-07", "PAGE-09")
@pytest.mark.time_limit(120)
def test_every_view_is_accessible_and_fits(windows: Windows) -> None:
    page = windows.show()
    page.resize(1280, 800)
    assert find_faults(page) == []
    shot(page, "chat-welcome")
    log_in(page, "ann")
    bob = windows.enter("bob")
    page.wait_for("$('#members').textContent.includes('bob')")
    say(page, "Is there tea left?")
    say(bob, "There is, and cake as well.")
    page.wait_for(f"{TEXTS}.length === 2")
    assert find_faults(page) == []
    shot(page, "chat-light")
    page.prefer("dark")
    shot(page, "chat-dark")
    page.resize(360, 740, mobile=True)
    assert not is_too_wide(page)
    shot(page, "chat-narrow")
    windows.enter("ann")
    page.wait_for("$('#main').className === 'over'")
    assert find_faults(page) == []
    assert not is_too_wide(page)


def test_the_keyboard_is_enough(windows: Windows) -> None:
    page = windows.show()
    assert page.evaluate("document.activeElement.id") == "name"
    page.evaluate("document.activeElement.value = 'ann'")
    page.press("Enter", 13, "\r")
    page.wait_for(IN)
    page.wait_for("document.activeElement.id === 'text'")
    page.evaluate("$('#text').value = 'by keyboard'")
    page.press("Enter", 13, "\r")
    page.wait_for(f"{TEXTS}.includes('by keyboard')")
