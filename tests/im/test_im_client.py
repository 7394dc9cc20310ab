"""The JavaScript client of the guide, with a socket that only remembers."""

import json
import shutil
import subprocess
from pathlib import Path
from typing import Any, Final

import pytest

CLIENT: Final = Path(__file__).parents[2] / "spec" / "guide" / "im_client.mjs"
BEGINNING: Final = f"""
import {{ ImClient }} from {json.dumps(CLIENT.as_uri())};
Math.random = () => 0;
const handlers = {{}};
const socket = {{
  connected: true, active: true, sent: [],
  on: (event, handler) => (handlers[event] ??= []).push(handler),
  emit: (...args) => socket.sent.push(args),
  connect: () => {{ say("connects"); socket.connected = true; receive("connect"); }},
  disconnect: () => put("io client disconnect"),
}};
const receive = (event, ...args) => {{ for (const one of handlers[event] ?? []) one(...args); }};
const turn = (ms = 0) => new Promise((resolve) => setTimeout(resolve, ms));
const said = [];
const say = (...what) => said.push(what);
const fail = (error) => say(error.errcode, error.errmsg);
const ok = {{ errcode: 0, errmsg: "ok" }};
const bad = {{ errcode: 3, errmsg: "the token is not known" }};
// Answer the last event that was sent.
const answer = async (told) => {{ socket.sent.at(-1).at(-1)(told); await turn(); }};
const put = (reason, told) => {{
  if (told) receive("logic/error", told);
  socket.connected = false;
  receive("disconnect", reason);
}};
// What has been sent since this was called last, without what takes the answers.
const sent = () => socket.sent.splice(0).map((args) => args.slice(0, -1));
const enter = async () => {{ im.auth({{ token: "t" }}); await answer(ok); }};
const im = new ImClient(() => socket, "http://x", "/c", {{
  onOut: (error) => say("out", error.errcode, error.errmsg),
  onRoomLost: (room, error) => say("lost", room, error.errmsg),
}});
"""


def play(script: str) -> Any:
    """Run a script, and return what it has said."""
    node = shutil.which("node")
    assert node is not None
    text = f"{BEGINNING}{script}\nconsole.log(JSON.stringify(said)); process.exit();"
    arguments = [node, "--input-type=module", "--eval", text]
    ended = subprocess.run(arguments, capture_output=True, text=True, timeout=30)
    assert ended.returncode == 0, ended.stderr
    return json.loads(ended.stdout)


def test_every_listener_hears_a_message_once() -> None:
    said = play("""
        im.on("chat/rooms", ({ meta }) => say("one", meta));
        im.on("chat/rooms", ({ meta }) => say("two", meta));
        for (const id of ["m1", "m1", "m2"]) {
          receive("chat/rooms", { id, meta: '"hi"' }, ({ id }) => say("confirmed", id));
        }
        """)
    first, again, second = ["confirmed", "m1"], ["confirmed", "m1"], ["confirmed", "m2"]
    heard = [["one", "hi"], ["two", "hi"]]
    assert said == [*heard, first, again, *heard, second]


def test_a_message_is_not_confirmed_before_its_listeners_have_returned() -> None:
    said = play("""
        let fails = true;
        im.on("chat/users", () => { say("one"); if (fails) throw new Error("the page failed"); });
        im.on("chat/users", () => say("two"));
        for (let copy = 0; copy < 2; copy++) {
          try {
            receive("chat/users", { id: "m1" }, () => say("confirmed"));
          } catch (error) {
            say(error.message);
          }
          fails = false;
        }
        """)
    assert said == [["one"], ["two"], ["the page failed"], ["one"], ["confirmed"]]


def test_an_old_refusal_is_not_the_reason_of_a_disconnect() -> None:
    said = play("""
        await enter();
        const told = { errcode: 2, errmsg: "you send too many events" };
        im.sendInRoom("r1", "hi").catch(fail);
        await turn();
        receive("logic/error", told);
        await answer(told);
        put("io server disconnect");
        await im.sendInRoom("r1", "hi").catch(fail);
        """)
    gone = [-1, "io server disconnect"]
    assert said == [[2, "you send too many events"], ["out", *gone], gone]
    said = play("""
        im.auth({ token: "t" }).catch(fail);
        put("io server disconnect", { errcode: 3, errmsg: "the token was revoked" });
        await turn();
        """)
    assert said == [["out", 3, "the token was revoked"], [3, "the token was revoked"]]


# -- logging in again


def test_another_token_brings_a_client_back_whose_first_was_refused() -> None:
    said = play("""
        im.auth({ token: "bad" }).catch(fail);
        await answer(bad);
        put("io server disconnect", bad);
        await im.sendToUser("bob", "hi").catch(fail);
        im.auth({ token: "good" }).then(() => say("in"), fail);
        await turn();
        say(sent());
        await turn();
        """)
    refused = [3, "the token is not known"]
    first, second = (["auth", {"token": token}] for token in ("bad", "good"))
    assert said[:4] == [["out", *refused], refused, refused, ["connects"]]
    assert said[4:] == [[[first, second]]]


def test_a_client_stays_in_with_its_token_if_another_one_is_refused() -> None:
    said = play("""
        await enter();
        im.auth({ token: "bad" }).catch(fail);
        await answer(bad);
        im.sendToUser("bob", "hi", "m1").then(say, fail);
        await turn();
        await answer(ok);
        put("transport close"); // socket.io-client connects again by itself
        sent();
        socket.connect();
        say(sent());
        """)
    assert said == [
        [3, "the token is not known"], ["m1"], ["connects"], [[["auth", {"token": "t"}]]],
    ]  # fmt: skip


def test_a_connection_that_is_lost_while_another_token_is_judged_falls_back() -> None:
    said = play("""
        await enter();
        im.auth({ token: "bad" }).catch(fail);
        put("transport close");
        socket.connect();
        await answer(bad);
        put("io server disconnect", bad);
        await turn(5);
        await answer(ok);
        im.sendToUser("bob", "hi", "m1").then(say, fail);
        await turn();
        await answer(ok);
        say(sent().filter(([event]) => event === "auth").map(([, { token }]) => token));
        """)
    assert said == [
        ["connects"], [3, "the token is not known"], ["connects"], ["m1"],
        [["t", "bad", "bad", "t"]],
    ]  # fmt: skip


def test_the_latest_of_several_tokens_counts() -> None:
    said = play("""
        im.auth({ token: "a" }).then(() => say("a"), fail);
        im.auth({ token: "b" }).then(() => say("b"), fail);
        im.auth({ token: "c" }).then(() => say("c"), fail);
        await answer(bad);
        put("io server disconnect", bad);
        await turn(5);
        say(sent().map(([, { token }]) => token));
        """)
    assert said == [["connects"], [["a", "c"]]]
    said = play("""
        im.auth({ token: "a" }).then(() => say("a"), fail);
        im.auth({ token: "b" }).then(() => say("b"), fail);
        await answer(ok);
        say(sent().map(([, { token }]) => token));
        """)
    assert said == [[["a", "b"]]]


@pytest.mark.parametrize(
    ("told", "after"),
    [
        ({"errcode": -1, "errmsg": "namespace changed", "retry_after_s": 0}, 5),
        ({"errcode": 2, "errmsg": "too many logins", "retry_after_s": 0.02}, 30),
    ],
)
def test_a_client_that_is_out_for_a_while_comes_back(told: dict[str, Any], after: int) -> None:
    said = play(f"""
        await enter();
        im.join("r1");
        await turn();
        await answer(ok);
        put("io server disconnect", {json.dumps(told)});
        im.sendToUser("bob", "hi", "m1").then(say, fail); // which waits
        sent();
        await turn({after});
        await answer(ok);
        say(sent().map(([event]) => event));
        """)
    assert said == [["connects"], [["auth", "join", "chat/users"]]]


def test_a_client_that_is_replaced_stays_out() -> None:
    said = play("""
        await enter();
        receive("session/replaced", { reason: "replaced" });
        put("io server disconnect");
        await im.sendToUser("bob", "hi").catch(fail);
        socket.connect(); // by the app: nothing is known to log in with
        say(sent().map(([event]) => event));
        im.auth({ token: "u" }).then(() => say("in"));
        await answer(ok);
        """)
    replaced = [-1, "the session was ended: replaced"]
    assert said == [["out", *replaced], replaced, ["connects"], [["auth"]], ["in"]]


def test_a_client_that_is_closed_asks_for_nothing_more() -> None:
    said = play("""
        await enter();
        im.close();
        await im.join("r1").catch(fail);
        await turn(5);
        say(sent().length);
        """)
    assert said == [[-1, "the client was closed"], [1]]


# -- rooms after a reconnection


def test_many_rooms_are_joined_again_some_at_a_time() -> None:
    said = play("""
        await enter();
        const rooms = Array.from({ length: 120 }, (_, number) => `r${number}`);
        im.join(...rooms).then(() => say("joined"));
        for (let part = 0; part < 3; part++) { await turn(); await answer(ok); }
        put("transport close");
        sent();
        socket.connect();
        await answer(ok);
        im.sendInRoom("r119", "hi", "m1").then(say, fail); // it waits for its room
        for (let part = 0; part < 3; part++) await answer(ok);
        await answer(ok);
        say(sent().map(([event, { rooms }]) => [event, rooms?.length ?? 0]));
        """)
    joins = [["join", 50], ["join", 50], ["join", 20]]
    assert said == [
        ["joined"], ["connects"], ["m1"], [[["auth", 0], *joins, ["chat/rooms", 0]]],
    ]  # fmt: skip


def test_rooms_that_are_joined_too_fast_are_joined_later() -> None:
    said = play("""
        await enter();
        im.join("a", "b");
        await turn();
        await answer(ok);
        put("transport close");
        sent();
        socket.connect();
        await answer(ok);
        await answer({ errcode: 2, errmsg: "too often", retry_after_s: 0.03 });
        im.sendInRoom("b", "hi", "m1").then(say, fail);
        im.sendToUser("bob", "hi", "m2").then(say, fail); // which needs no room
        await turn();
        await answer(ok);
        await turn(40);
        await answer(ok);
        await answer(ok);
        say(sent().map(([event]) => event));
        """)
    events = ["auth", "join", "chat/users", "join", "chat/rooms"]
    assert said == [["connects"], ["m2"], ["m1"], [events]]


def test_a_room_that_is_not_allowed_any_more_does_not_cost_the_others() -> None:
    said = play("""
        await enter();
        im.join("a", "b", "c");
        await turn();
        await answer(ok);
        put("transport close");
        sent();
        socket.connect();
        await answer(ok);
        const no = { errcode: 2, errmsg: "you may not use the room 'b'" };
        for (let { length } = socket.sent; ; ) {
          const { rooms } = socket.sent.at(-1)[1];
          await answer(rooms.some(({ roomId }) => roomId === "b") ? no : ok);
          if (socket.sent.length === length) break;
          ({ length } = socket.sent);
        }
        say(sent().slice(1).map(([, { rooms }]) => rooms.map(({ roomId }) => roomId).join("")));
        put("transport close");
        socket.connect();
        await answer(ok);
        say(sent().slice(1).map(([, { rooms }]) => rooms.map(({ roomId }) => roomId).join("")));
        """)
    assert said == [
        ["connects"], ["lost", "b", "you may not use the room 'b'"], [["abc", "ab", "a", "b", "c"]],
        ["connects"], [["ac"]],
    ]  # fmt: skip
