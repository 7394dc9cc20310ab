"""The pictures of the README: what a newcomer sees after ``make serve``.

``SCREENSHOTS=spec/guide/images make test-browser ARGS='-k pictures'`` takes them anew; without
SCREENSHOTS this shows that they can be taken.
"""

import os
import time
from pathlib import Path
from typing import Final

import pytest
from tests.browser.chromium import Chromium, Page
from tests.browser.crowd import Crowd
from tests.browser.pages import LobbyProcess, quoted, shot
from tests.browser.test_dashboard import sign_in
from tests.interop.server_process import assert_clean

ADMIN: Final = "!$('#dashboard').hidden && $('#dashboard').href"
TALK: Final = ("Is there tea left?", "There is, and cake as well.", "I am on my way.")
IN: Final = '$("#log") && state.room && $("#online-count").textContent'
WIDTH: Final = 960
LATER_S: Final = 55
"""How long charts are watched for a picture; a test need not wait for that."""


def enter(page: Page, name: str) -> None:
    page.resize(WIDTH, 560)
    page.evaluate(f"$('#name').value = {quoted(name)}; $('#enter').requestSubmit()")
    page.wait_for(IN)


def say(page: Page, text: str) -> None:
    page.evaluate(f"$('#text').value = {quoted(text)}; $('#say').requestSubmit()")


@pytest.mark.time_limit(120)
def test_pictures_of_the_chat_page_and_the_dashboard(
    browser: Chromium, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    token = tmp_path / "dashboard.token"
    token.write_text("0123456789abcdef")
    tokens = f'[{{ name = "dashboard", file = "{token}" }}]'
    monkeypatch.setenv("TRIO_SOCKETIO__CONTROL__TOKENS", tokens)  # as `make serve` does
    with (
        LobbyProcess(arguments=["--admin", "127.0.0.1:0"]) as server,
        browser.open_page(f"{server.url}/") as ann,
        browser.open_page(f"{server.url}/") as bob,
    ):
        enter(ann, "ann")
        dashboard = ann.wait_for(ADMIN)
        with browser.open_page(dashboard) as page:
            page.resize(1280, 740)
            sign_in(page, token.read_text())
            page.wait_for("state.samples.length > 1")
            enter(bob, "bob")
            ann.wait_for("$('#members').textContent.includes('bob')")
            for speaker, text in zip((ann, bob, ann), TALK, strict=True):
                say(speaker, text)
                ann.wait_for(f"$('#log').textContent.includes({quoted(text)})")
                bob.wait_for(f"$('#log').textContent.includes({quoted(text)})")
            with Crowd(server.url).here("carol", "dave", "erin"):
                ann.wait_for("$('#members').textContent.includes('erin')")
                ann.wait_for("document.querySelector('.line .state').title.startsWith('arrived')")
                bob.evaluate("$('#text').value = 'T'; $('#text').oninput()")
                ann.wait_for("$('#typing').textContent")
                shot(ann, "chat")
                talk_for_a_while(ann, bob)
                page.wait_for("state.samples.length > 3")
                shot(page, "dashboard")
    assert_clean(server)


def talk_for_a_while(*speakers: Page) -> None:
    """Make the charts of the dashboard move, if a picture is taken."""
    ends = time.monotonic() + (LATER_S if "SCREENSHOTS" in os.environ else 0)
    number = 0
    while time.monotonic() < ends:
        number += 1
        say(speakers[number % len(speakers)], f"message {number}")
        time.sleep(0.1 + 0.4 * (number % 7 == 0))
