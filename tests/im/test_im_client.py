"""The JavaScript client of the guide, with a socket that only remembers."""

import json
import shutil
import subprocess
from pathlib import Path
from typing import Any, Final

CLIENT: Final = Path(__file__).parents[2] / "spec" / "guide" / "im_client.mjs"
BEGINNING: Final = f"""
import {{ ImClient }} from {json.dumps(CLIENT.as_uri())};
const handlers = {{}};
const socket = {{
  connected: true, active: true, sent: [],
  on: (event, handler) => (handlers[event] ??= []).push(handler),
  emit: (...args) => socket.sent.push(args),
}};
const receive = (event, ...args) => {{ for (const one of handlers[event] ?? []) one(...args); }};
const turn = () => new Promise((resolve) => setImmediate(resolve));
const im = new ImClient(() => socket, "http://x", "/c");
const said = [];
const say = (...what) => said.push(what);
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
        const fail = (error) => say(error.errcode, error.errmsg);
        im.auth({ token: "t" });
        receive("auth/reply", { errcode: 0, errmsg: "ok" });
        const told = { errcode: 2, errmsg: "you send too many events" };
        im.sendInRoom("r1", "hi").catch(fail);
        await turn();
        receive("logic/error", told);
        socket.sent.at(-1).at(-1)(told);
        await turn();
        receive("disconnect", "io server disconnect");
        await im.sendInRoom("r1", "hi").catch(fail);
        """)
    assert said == [[2, "you send too many events"], [-1, "io server disconnect"]]
    said = play("""
        im.auth({ token: "t" }).catch((error) => say(error.errcode, error.errmsg));
        receive("logic/error", { errcode: 3, errmsg: "the token was revoked" });
        receive("disconnect", "io server disconnect");
        await turn();
        """)
    assert said == [[3, "the token was revoked"]]
