// The server goes away and comes back, twice: the caller restarts it after each "connected" line.

import assert from "node:assert/strict";
import { once, request } from "../sockets.mjs";
import { report } from "../report.mjs";

const RESTARTS = 2;
const RESTART_MS = 15_000;

async function reconnection(sockets) {
  const socket = sockets.create("/", {
    reconnection: true,
    reconnectionDelay: 50,
    reconnectionDelayMax: 200,
    auth: { token: "again" },
  });
  const ids = new Set();
  await sockets.connected(socket);
  for (let restart = 0; ; restart++) {
    ids.add(socket.id);
    assert.deepEqual((await request(socket, "whoami"))[0].auth, { token: "again" });
    assert.deepEqual(await request(socket, "join", "room"), [["room"]], "rooms of the new server");
    if (restart === RESTARTS) break;
    const gone = once(socket, "disconnect", RESTART_MS);
    report({ step: "connected", times: restart + 1 });
    const [reason] = await gone;
    assert.ok(["transport close", "transport error"].includes(reason), reason);
    socket.emit("echo", `kept while away ${restart}`, (answer) => kept.push(answer));
    await once(socket, "connect", RESTART_MS);
    await sockets.settled(socket);
  }
  assert.equal(ids.size, RESTARTS + 1);
  assert.deepEqual(kept.splice(0), ["kept while away 0", "kept while away 1"]);
}

const kept = []; // answers to what was emitted while the server was away
reconnection.deadlineMs = 40_000;

export const scenarios = { reconnection };
