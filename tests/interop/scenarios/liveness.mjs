// Heartbeats, and a server that goes away and comes back.

import assert from "node:assert/strict";
import { once, request } from "../sockets.mjs";
import { report } from "../report.mjs";

const RESTART_MS = 15_000;

async function heartbeat(sockets) {
  const socket = await sockets.connect();
  for (let beat = 0; beat < 2; beat++) await once(socket.io.engine, "pong"); // whoever pinged
  assert.deepEqual(await request(socket, "echo", "still here"), ["still here"]);
}

async function reconnection(sockets) {
  const socket = sockets.create("/", {
    reconnection: true,
    reconnectionDelay: 50,
    reconnectionDelayMax: 200,
    auth: { token: "again" }, // clients 1.x and 2.x have none
  });
  await sockets.connected(socket);
  const [{ auth }] = await request(socket, "whoami");
  const ids = new Set();
  const answers = []; // to what was emitted while the server was away
  for (const how of ["stop", "crash"]) {
    ids.add(socket.id);
    assert.deepEqual(await request(socket, "join", "room"), [["room"]], "rooms of a new server");
    const gone = once(socket, "disconnect", RESTART_MS);
    report({ restart: how });
    const [reason] = await gone;
    assert.ok(["transport close", "transport error"].includes(reason), reason);
    socket.emit("echo", how, (answer) => answers.push(answer));
    await once(socket, "connect", RESTART_MS);
    await sockets.settled(socket);
    assert.deepEqual((await request(socket, "whoami"))[0].auth, auth);
  }
  ids.add(socket.id);
  assert.equal(ids.size, 3);
  assert.deepEqual(answers, ["stop", "crash"]);
}

export const scenarios = { heartbeat, reconnection };
