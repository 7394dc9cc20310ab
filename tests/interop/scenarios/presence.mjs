// One session for each user: what becomes of a client whose user logs in anew.

import assert from "node:assert/strict";
import { Inbox, once, pause, request } from "../sockets.mjs";

// Far longer than the clients below wait before they connect again, if they do.
const STAYS_AWAY_MS = 700;

function create(sockets, user) {
  return sockets.create("/chat", {
    auth: { user },
    query: { user }, // clients 1.x and 2.x have no auth
    reconnection: true,
    reconnectionDelay: 50,
    reconnectionDelayMax: 50,
    randomizationFactor: 0,
  });
}

/** The old client is told why, is put out, and does not come back by itself. */
async function sessionReplaced(sockets) {
  const user = `user ${sockets.transport}`;
  const old = create(sockets, user);
  await once(old, "connect");
  const replaced = new Inbox(old, "session/replaced");
  const connected = new Inbox(old, "connect");
  const gone = once(old, "disconnect");
  const fresh = create(sockets, user);
  await once(fresh, "connect");
  assert.deepEqual(await replaced.take(1), [[{ reason: "replaced" }]]);
  assert.equal((await gone)[0], "io server disconnect");
  await pause(STAYS_AWAY_MS);
  assert.deepEqual(connected.received, []);
  assert.equal(old.connected, false);
  assert.equal(fresh.connected, true);
  assert.deepEqual(await request(fresh, "census"), [[1, 1]]);
  // It may come back because its program wants it, and is the newest then.
  const turned = once(fresh, "disconnect");
  old.connect();
  await once(old, "connect");
  assert.equal((await turned)[0], "io server disconnect");
  assert.deepEqual(await request(old, "census"), [[1, 1]]);
}

export const scenarios = { session_replaced: sessionReplaced };
