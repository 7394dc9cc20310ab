"""The dashboard in Chromium: what it shows, what it does, and what it says when it cannot."""

import json
import re
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Final

import pytest
from tests.browser.chromium import Chromium, Page
from tests.browser.crowd import Crowd
from tests.browser.pages import (
    HOSTILE,
    LobbyProcess,
    find_faults,
    foreign,
    is_too_wide,
    quoted,
    shot,
)
from tests.interop.server_process import assert_clean, free_port
from tests.redis_server import running_redis

SECRET: Final = "dashboard" * 4
READER: Final = "readeronly" * 3
IDENTITY: Final = (
    '[identity]\ntokens = [{ user = "ann", token = "token-of-ann" }]\n'
    'namespaces = [{ name = "/", methods = ["static"] }]\n'
    '[presence]\nnamespaces = [{ name = "/" }]\n'
)
TABS: Final = ("overview", "namespaces", "users", "disconnects", "nodes")


class Operated(LobbyProcess):
    """The lobby with an admin port."""

    def __init__(self, folder: Path, *, identity: str = "", listen: str = "127.0.0.1") -> None:
        self.admin = free_port()
        self.dashboard = f"http://127.0.0.1:{self.admin}"
        for name, secret in (("all", SECRET), ("reader", READER)):
            (folder / name).write_text(secret)
            (folder / name).chmod(0o600)
        config = folder / "config.toml"
        config.write_text(
            f'[admin]\nlisten = "{listen}:{self.admin}"\nallow_cleartext = true\n'
            f'[[control.tokens]]\nname = "all"\nfile = "{folder / "all"}"\n'
            f'[[control.tokens]]\nname = "reader"\nfile = "{folder / "reader"}"\n'
            f'methods = ["system.*", "sockets.get", "users.get", "rooms.list"]\n{identity}'
        )
        super().__init__(arguments=["--config", str(config)])


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Operated]:
    with Operated(tmp_path_factory.mktemp("dashboard")) as server:
        yield server
        assert_clean(server)


def sign_in(page: Page, secret: str = SECRET) -> None:
    page.wait_for("state.heardAt")
    page.evaluate(f"$('#token').value = {quoted(secret)}; $('#sign-in form').requestSubmit()")
    page.wait_for("state.grant")


@pytest.fixture
def page(browser: Chromium, server: Operated) -> Iterator[Page]:
    with browser.open_page(f"{server.dashboard}/") as page:
        page.resize(1280, 860)
        yield page
        assert foreign(page, server.dashboard) == []  # PAGE-05
        assert [one for one in page.console if "401" not in one] == []


def shows(page: Page, text: str) -> None:
    page.wait_for(
        f"document.querySelector('[role=tabpanel]:not([hidden])').textContent.includes({quoted(text)})"
    )


FILL: Final = """((selector, value) => {
  const field = document.querySelector(`#confirm ${selector}`);
  field.value = value;
  field.dispatchEvent(new Event("input", {bubbles: true}));
})"""


def act(page: Page, action: str, **fields: str) -> None:
    """Open the dialog of an action, fill it in, and confirm."""
    page.evaluate(f"document.querySelector('[data-action={action}]').click()")
    page.wait_for("$('#confirm').open")
    for name, value in fields.items():
        page.call(FILL, name, value)
    page.evaluate("document.querySelector('#confirm form').requestSubmit()")


def test_the_numbers_are_shown_without_a_token_on_this_machine(
    page: Page, server: Operated
) -> None:
    with Crowd(server.url).here("ann", "bob"):
        page.wait_for("$('#status').textContent === 'live'")
        page.wait_for("document.querySelectorAll('.tile .value')[2]?.textContent === '2'")
        page.evaluate("select('namespaces')")
        shows(page, "Sign in to see this.")
        assert not page.evaluate("$('#sign-in').hidden")


@pytest.mark.req("PAGE-21", "PAGE-22")
def test_the_token_stays_in_the_tab_and_in_a_header(page: Page, server: Operated) -> None:
    page.evaluate(
        "window.sent = []; window.fetch = ((real) => (url, given) => {"
        "sent.push(url, given.body ?? ''); return real(url, given); })(window.fetch); 0"
    )
    sign_in(page)
    page.wait_for("$('#who').textContent === 'token all'")
    assert "/rpc" in page.evaluate("sent")
    assert not any(SECRET in one for one in page.evaluate("sent"))
    assert page.evaluate("sessionStorage.token") == SECRET
    assert (
        page.evaluate("JSON.stringify(localStorage) + document.cookie + location.href").find(SECRET)
        < 0
    )
    assert page.evaluate("document.documentElement.outerHTML").find(SECRET) < 0
    assert not any(SECRET in one for one in page.requested)
    page.open(f"{server.dashboard}/")
    page.wait_for("state.grant?.name === 'all'")
    page.evaluate("$('#out').click()")
    assert page.evaluate("sessionStorage.length") == 0
    assert page.evaluate("JSON.stringify(state)").find(SECRET) < 0
    page.evaluate("$('#token').value = 'of nobody'; $('#sign-in form').requestSubmit()")
    page.wait_for("$('#sign-in-problem').textContent.includes('without blanks')")
    page.evaluate("$('#token').value = 'of-nobody-at-all'; $('#sign-in form').requestSubmit()")
    page.wait_for("$('#sign-in-problem').textContent.includes('does not know this token')")
    assert page.evaluate("sessionStorage.length") == 0


def test_namespaces_rooms_and_clients_are_shown(page: Page, server: Operated) -> None:
    sign_in(page)
    with Crowd(server.url).here("ann", "bob", rooms=("kitchen",)):
        page.evaluate("select('namespaces')")
        shows(page, "kitchen")
        shows(page, "127.0.0.1")
        page.evaluate(
            "[...document.querySelectorAll('#panel-namespaces .link')]"
            ".find((one) => one.textContent === 'kitchen').click()"
        )
        shows(page, "Clients in room kitchen of /")
        page.evaluate(
            "[...document.querySelectorAll('#panel-namespaces .link')]"
            ".find((one) => one.textContent === 'bob').click()"
        )
        shows(page, "User bob")
        shows(page, "kitchen")


def test_who_is_online_and_the_log_are_live(page: Page, server: Operated) -> None:
    sign_in(page)
    page.evaluate("select('users')")
    with Crowd(server.url).here("carl"):
        shows(page, "carl came online")
        page.wait_for("$('#users-list').textContent.includes('carl')")
    shows(page, "carl went offline: ")
    page.evaluate("select('disconnects')")
    shows(page, "carl")
    shows(page, "the client said goodbye")


@pytest.mark.req("PAGE-24")
def test_a_user_is_sent_an_event_and_kicked(page: Page, server: Operated) -> None:
    sign_in(page)
    with Crowd(server.url).here("ann") as crowd:
        page.evaluate("$('#query').value = 'ann'; $('#find').requestSubmit()")
        shows(page, "Online since")
        page.evaluate("document.querySelector('[data-action=kick]').click()")
        assert "Kick ann?" in page.wait_for("$('#confirm').open && $('#confirm').textContent")
        assert 'users.kick {"users":["ann"],"namespace":"/"}' in page.evaluate(
            "$('#confirm pre').textContent"
        )
        page.press("Escape", 27)
        page.wait_for("!$('#confirm').open")
        assert crowd.clients["ann"].connected
        act(page, "emit", input="news", textarea="not JSON")
        page.wait_for("$('#confirm .bad').textContent.includes('as JSON')")
        page.evaluate("$('#confirm').close()")
        act(page, "emit", input="news", textarea='["tea", {"n": 1}]')
        page.wait_for("$('#done').textContent === 'Done: 1 client reached.'")
        assert crowd.heard == [("ann", "tea", {"n": 1})]
        act(page, "kick")
        page.wait_for("$('#done').textContent === 'Done: 1 client put out.'")
        shows(page, "Nobody found: ann")
        assert not crowd.clients["ann"].connected


@pytest.mark.req("PAGE-24")
def test_a_socket_is_disconnected(page: Page, server: Operated) -> None:
    sign_in(page)
    with Crowd(server.url).here("ann") as crowd:
        socket = crowd.clients["ann"].id
        page.evaluate(f"find({quoted(socket)}, '/')")
        shows(page, f"Socket {socket}")
        act(page, "emit", input="news", textarea="[]")
        page.wait_for("$('#done').textContent === 'Done: 1 client reached.'")
        page.evaluate("document.querySelector('[data-action=disconnect]').click()")
        page.evaluate("document.querySelector('#confirm input').click()")
        assert '"close":true' in page.evaluate("$('#confirm pre').textContent")
        page.evaluate("document.querySelector('#confirm form').requestSubmit()")
        page.wait_for("$('#done').textContent === 'Done: 1 client disconnected.'")
        shows(page, "Nobody found")
        page.evaluate("select('disconnects')")
        shows(page, "server namespace disconnect")


@pytest.mark.req("PAGE-24")
def test_tokens_are_revoked_and_accepted_again(browser: Chromium, tmp_path: Path) -> None:
    served = Operated(tmp_path, identity=IDENTITY)
    with served as server, browser.open_page(f"{served.dashboard}/") as page:
        sign_in(page)
        with Crowd(server.url).here("ann", auth={"token": "token-of-ann"}, rooms=()) as crowd:
            page.evaluate("find('ann', '/')")
            shows(page, "Online since")
            act(page, "revoke")
            page.wait_for("$('#done').textContent.startsWith('Done: 1 client put out; their')")
            assert not crowd.clients["ann"].connected
        act(page, "unrevoke")
        page.wait_for("$('#done').textContent === 'Done: the revocation is lifted.'")


@pytest.mark.req("PAGE-24")
def test_a_refusal_is_shown_where_it_was_asked(page: Page) -> None:
    sign_in(page)
    page.evaluate("find('nobody', '/')")
    shows(page, "Nobody found: nobody")
    act(page, "revoke")  # there is no identity on this server
    page.wait_for("$('#confirm .bad').textContent.startsWith('It was refused: ')")
    assert page.evaluate("$('#confirm').open")


@pytest.mark.req("PAGE-23")
def test_what_the_token_may_not_do_is_said(page: Page, server: Operated) -> None:
    sign_in(page, READER)
    for tab, method in (
        ("namespaces", "namespaces.list"),
        ("namespaces", "sockets.list"),
        ("users", "presence.list"),
        ("users", "presence.log"),
        ("disconnects", "sockets.departed"),
    ):
        page.evaluate(f"select('{tab}')")
        shows(page, f"The token reader may not call {method}")
    page.evaluate("select('nodes')")
    shows(page, "(this one)")
    with Crowd(server.url).here("ann"):
        page.evaluate("find('ann', '/')")
        shows(page, "Engine.IO 4")
        for action in ("kick", "revoke", "disconnect", "emit"):
            assert page.evaluate(f"document.querySelector('[data-action={action}]').disabled")
    assert find_faults(page) == []


@pytest.mark.req("PAGE-20", "PAGE-22")
def test_where_others_can_reach_the_port_it_shows_nothing_without_a_token(
    browser: Chromium, tmp_path: Path
) -> None:
    served = Operated(tmp_path, listen="0.0.0.0")
    with served as server, browser.open_page(f"{served.dashboard}/") as page:
        page.wait_for("$('#status').textContent === 'sign in'")
        assert page.evaluate("[...panels.values()].every((one) => one.hidden)")
        assert "shows nothing without one" in page.evaluate("$('#sign-in-why').textContent")
        assert find_faults(page) == []
        shot(page, "dashboard-sign-in")
        sign_in(page)
        page.wait_for("state.samples.length && !$('#panel-overview').hidden")
        (tmp_path / "all").write_text("another-secret-than-before")
        server.restart()
        page.wait_for("$('#sign-in-problem').textContent.includes('does not know this token')")
        assert page.evaluate("sessionStorage.length") == 0


@pytest.mark.req("PAGE-25")
def test_a_server_that_is_away_is_said_for_how_long(browser: Chromium, tmp_path: Path) -> None:
    with Operated(tmp_path) as server, browser.open_page(f"{server.dashboard}/") as page:
        page.resize(1280, 860)
        sign_in(page)
        page.wait_for("state.samples.length > 1")
        server.stop()
        words = page.wait_for(
            "/cannot reach the server, for [2-9] s now/.exec($('#status').textContent)?.[0]"
        )
        assert words
        assert "goes on by itself" in page.evaluate("$('#problem').textContent")
        assert page.evaluate("document.querySelectorAll('.tile').length") == 7
        assert find_faults(page) == []
        shot(page, "dashboard-away")
        server.start()
        page.wait_for("$('#status').textContent === 'live'")
        assert page.evaluate("$('#problem').hidden")
        assert page.evaluate("state.grant.name") == "all"


@pytest.mark.req("PAGE-06")
@pytest.mark.time_limit(120)
def test_hostile_names_harm_nothing(page: Page, server: Operated) -> None:
    sign_in(page)
    title = page.evaluate("document.title")

    agent = {"User-Agent": "<img src=x onerror=document.title='owned'>\t'\"" + "x" * 9000}
    names = ("<img src=x onerror=alert(1)>", "\u05d0\u05d1 <b>", "e" + "\u0301" * 30)
    rooms = tuple(text[:90] for text in HOSTILE)
    with Crowd(server.url).here(*names, rooms=rooms, headers=agent):
        for tab in TABS:
            page.evaluate(f"select('{tab}')")
            page.evaluate("refresh()")
            assert not is_too_wide(page)
        page.evaluate("select('namespaces')")
        shows(page, "<img src=x onerror=alert(1)>")
        shot(page, "dashboard-hostile")
        page.evaluate("find('<img src=x onerror=alert(1)>', '/')")
        shows(page, "User <img src=x onerror=alert(1)>")
        page.evaluate("document.querySelector('[data-action=kick]').click()")
        assert page.evaluate("$('#confirm h2 bdi').children.length") == 0
        page.evaluate("$('#confirm').close()")
        for text in HOSTILE:
            page.evaluate(f"find({json.dumps(text[:256])}, '/')")
        assert page.evaluate("readable('x'.repeat(1e6)).length") < 2_100
        assert page.evaluate("document.querySelectorAll('img, iframe, b, main script').length") == 0
        assert page.evaluate("document.title") == title
    page.evaluate("select('disconnects')")
    shows(page, "<img src=x onerror=document.title='owned'>")
    assert page.evaluate("document.title") == title


@pytest.mark.req("PAGE-07", "PAGE-09")
@pytest.mark.time_limit(120)
def test_every_view_is_accessible_and_fits(page: Page, server: Operated) -> None:
    with Crowd(server.url).here("ann", "bob"):
        page.wait_for("state.samples.length > 1")
        assert find_faults(page) == []
        sign_in(page)
        for tab in TABS:
            page.evaluate(f"select('{tab}')")
            page.wait_for("document.querySelector('[role=tabpanel]:not([hidden]) .card')")
            page.evaluate("refresh()")
            assert find_faults(page) == [], tab
            shot(page, f"dashboard-{tab}")
        page.evaluate("find('ann', '/')")
        shows(page, "Online since")
        assert find_faults(page) == []
        page.evaluate("document.querySelector('[data-action=emit]').click()")
        assert find_faults(page) == []
        shot(page, "dashboard-dialog")
        page.evaluate("$('#confirm').close()")
        page.prefer("dark")
        page.evaluate("select('overview')")
        shot(page, "dashboard-dark")
        page.resize(360, 740, mobile=True)
        for tab in (*TABS, "found"):
            page.evaluate(f"select('{tab}')")
            page.evaluate("refresh()")
            assert not is_too_wide(page), tab
        page.evaluate("select('overview')")
        right = page.evaluate("""(() => {
          const tile = document.querySelector(".tile:nth-child(2)");
          tile.querySelector(".value").textContent = "1,234,567,890,123";
          return tile.getBoundingClientRect().right;
        })()""")
        assert right == 360 - 12  # the padding: numbers do not make tiles wider than the page
        shot(page, "dashboard-narrow")


@pytest.mark.req("PAGE-22")
def test_what_arrives_after_signing_out_is_not_kept(page: Page) -> None:
    sign_in(page)
    page.evaluate("select('namespaces')")
    shows(page, "the program")
    found = page.evaluate("""(async () => {
      const asked = [identify(), namespaces.read({}), readDepartures()];
      signOut();
      await Promise.all(asked);
      return [state.grant, namespaces.items, departed.items, sessionStorage.length];
    })()""")
    assert found == [None, [], [], 0]


def test_refusals_of_less_than_a_minute_are_counted_and_not_projected(page: Page) -> None:
    page.wait_for("state.samples.length > 1")
    assert (
        page.evaluate("""(() => {
      const at = Date.now();
      const one = (ago_s, refused) => ({...state.samples.at(-1), at: at - ago_s * 1000, refused});
      state.samples = [one(6, 1), one(4, 1), one(2, 3), one(0, 3)];
      drawOverview($("#panel-overview"));
      return document.querySelectorAll(".tile .value")[6].textContent;
    })()""")
        == "2"
    )


def test_the_keyboard_is_enough(page: Page) -> None:
    page.wait_for("state.samples.length > 1")
    page.evaluate("$('#tab-overview').focus()")
    page.press("ArrowRight", 39)
    assert page.evaluate("state.tab") == "namespaces"
    page.press("End", 35)
    assert page.evaluate("document.activeElement.id") == "tab-nodes"
    page.press("Home", 36)
    page.evaluate("document.querySelector('.chart svg').focus()")
    page.press("ArrowLeft", 37)
    told = page.evaluate("document.querySelector('.chart svg').getAttribute('aria-label')")
    assert re.search(r"Connections, the last .*\. \d\d:\d\d:\d\d: WebSocket \d+, HTTP \d+", told)


def test_the_charts_tell_what_was_measured(page: Page) -> None:
    found = page.evaluate("""(() => {
      const text = ['x{le="0.1"} 3', '# HELP y z', 'y{a="q\\\\"\\\\n",b="2"} 1.5e3', 'nan{} NaN',
        'bad line here'].join("\\n");
      const series = readMetrics(text);
      return [
        [...series.keys()], series.get("y")[0].labels, sum(series, "y"), sum(series, "absent"),
        quantile([[0.1, 0], [1, 0], [Infinity, 0]], 0.5),
        quantile([[0.1, 50], [1, 100], [Infinity, 100]], 0.5),
        quantile([[0.1, 0], [1, 0], [Infinity, 9]], 0.99),
        [0, 0.00005, 0.5, 1, 61, 4000, 90000, 1e7].map(duration),
        [0, 0.5, 1, 12.34, 999, 12345, 3.2e6].map(number),
        [10, 2048, 5e9].map(size), nice(3), nice(0.7), nice(26),
      ];
    })()""")
    assert found == [
        ["x", "y", "nan"],
        {"a": 'q"\n', "b": "2"},
        1500,
        0,
        None,
        0.1,
        1,
        ["0 s", "0.05 ms", "500 ms", "1 s", "61 s", "66 min", "25 h 0 min", "115 days"],
        ["0", "0.5", "1", "12.3", "999", "12,345", "3.2 M"],
        ["10 B", "2.0 KiB", "4.7 GiB"],
        5,
        1,
        50,
    ]


@pytest.mark.time_limit(120)
@pytest.mark.req("PAGE-28", "PAGE-29")
def test_users_are_found_where_they_are(browser: Chromium, tmp_path: Path) -> None:
    identity = (
        '[identity]\ntokens = [{ user = "ann", token = "token-of-ann" }]\n'
        'namespaces = [{ name = "/", methods = [] }]\n'
        '[presence]\nnamespaces = [{ name = "/chat" }, { name = "/shop" }]\n'
    )
    with Operated(tmp_path, identity=identity) as server, ExitStack() as stack:
        page = stack.enter_context(browser.open_page(f"{server.dashboard}/"))
        sign_in(page)
        page.evaluate("select('users')")
        shows(page, "Nobody has a seat in this namespace, so choose another.")
        auth = {"token": "token-of-ann"}
        with Crowd(server.url).here("ann", auth=auth, rooms=(), namespace="/chat") as crowd:
            page.evaluate("find('ann', '/')")
            shows(page, "with 1 seat, in /chat.")
            assert page.evaluate("$('#place').value") == "/chat"
            page.evaluate("find('bob', '/')")
            shows(page, "Nobody found: bob")
            assert page.evaluate("$('#place').value") == "/"
            other = stack.enter_context(browser.open_page(f"{server.dashboard}/#users"))
            sign_in(other)
            shows(other, "ann came online")  # without being told where she is
            page.evaluate("find('ann', '/shop')")
            shows(page, "with 1 seat, in /chat.")
            act(page, "kick")
            page.wait_for("$('#done').textContent === 'Done: 1 client put out.'")
            assert not crowd.clients["ann"].connected
        assert_clean(server)


def test_the_numbers_of_workers_are_added_up(page: Page) -> None:
    lines = [
        f'tsio_handler_seconds_bucket{{event="order",le="{bound}",worker="{worker}"}} {count}'
        for worker, counts in ((1, (0, 9, 10)), (2, (90, 90, 90)))
        for bound, count in zip(("0.001", "0.01", "+Inf"), counts, strict=True)
    ]
    lines += [f'tsio_disconnects_total{{reason="kicked",worker="{worker}"}} 2' for worker in (1, 2)]
    read = """((text) => {
      state.series = readMetrics(text);
      return [byLabel("tsio_disconnects_total", "reason"), histograms(state.series).get("order")];
    })"""
    reasons, order = page.call(read, "\n".join(lines))
    assert reasons == [["kicked", 4]]
    assert [count for _, count in order] == [90, 99, 100]


def test_one_node_shows_the_clients_of_all(browser: Chromium, tmp_path: Path) -> None:
    with ExitStack() as stack:
        redis = stack.enter_context(running_redis())
        nodes = []
        for name in ("a", "b"):
            (tmp_path / name).mkdir()
            shared = f'{IDENTITY}[redis]\nurl = "{redis.tcp_url}"\n[cluster]\nnode = "{name}"\n'
            nodes.append(stack.enter_context(Operated(tmp_path / name, identity=shared)))
        a, b = nodes
        page = stack.enter_context(browser.open_page(f"{a.dashboard}/"))
        sign_in(page)
        page.evaluate("select('nodes')")
        shows(page, "a (this one)")
        page.wait_for("document.querySelectorAll('#panel-nodes tbody tr').length === 2")
        shows(page, "Heartbeat through Redis")
        with Crowd(b.url).here("ann", auth={"token": "token-of-ann"}, rooms=()) as crowd:
            page.evaluate("select('users')")
            shows(page, "ann came online")
            page.evaluate("find('ann', '/')")
            page.wait_for("found.socket?.node === 'b' || found.user?.sockets[0].node === 'b'")
            act(page, "kick")
            page.wait_for("$('#done').textContent === 'Done: 1 client put out.'")
            assert not crowd.clients["ann"].connected
        page.evaluate("select('disconnects')")
        page.wait_for("departed.items[0]?.node === 'b'")
        assert page.evaluate("departed.silent") == []
        assert find_faults(page) == []
