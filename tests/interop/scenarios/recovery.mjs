// Connections that break and are recovered; needs a server with --state-recovery.

import assert from "node:assert/strict";
import { Inbox, once, request } from "../sockets.mjs";

const AWAY_MS = 20; // until a client comes back that does so by itself

/** A client that can come back by itself, and what it hears. */
async function comer(sockets) {
  const options = { reconnection: true, reconnectionDelay: AWAY_MS, randomizationFactor: 0 };
  const socket = sockets.create("/", options);
  await sockets.connected(socket);
  assert.ok(!socket.recovered);
  return [socket, new Inbox(socket, "news")];
}

/** Break the connection, do something meanwhile, and have the client come back. */
async function breakConnection(sockets, socket, meanwhile) {
  const gone = once(socket, "disconnect");
  const back = once(socket, "connect");
  socket.io.reconnection(false); // it stays away for as long as the others take
  socket.io.engine.close();
  await gone;
  assert.equal(socket.id, undefined);
  await meanwhile();
  socket.io.reconnection(true);
  socket.connect();
  await back;
  await sockets.settled(socket);
}

const withoutOffsets = (received) =>
  received.map((args) => {
    assert.equal(typeof args.at(-1), "string");
    return args.slice(0, -1);
  });

async function recovery_again_and_again(sockets) {
  const [socket, news] = await comer(sockets);
  const other = await sockets.connect();
  const { id } = socket;
  await request(socket, "remember", "room", { of: ["mine"] });
  for (let round = 0; round < 3; round++) {
    await breakConnection(sockets, socket, async () => {
      await request(other, "tell", "room", round, { binary: Buffer.from([round]) });
      await request(other, "tell", "other room", "not for it");
      await request(other, "tell", id, round, "itself");
      await request(other, "tell perhaps", "volatile");
    });
    assert.ok(socket.recovered);
    assert.equal(socket.id, id);
    const [recovered, rooms, value] = await request(socket, "recall");
    assert.deepEqual([recovered, rooms, value], [true, ["room"], { of: ["mine"] }]);
    await request(other, "tell", null, round, "all");
    assert.deepEqual(withoutOffsets(await news.take(3)), [
      [round, { binary: Buffer.from([round]) }],
      [round, "itself"],
      [round, "all"],
    ]);
  }
  const back = once(socket, "connect");
  socket.io.engine.close(); // and now it comes back by itself
  await back;
  assert.ok(socket.recovered);
  await sockets.settled(socket);
}

async function recovery_after_a_volatile_event(sockets) {
  const [socket, news] = await comer(sockets);
  const other = await sockets.connect();
  const perhaps = once(socket, "perhaps");
  if (sockets.finalTransport() === "websocket") {
    await request(other, "tell perhaps", "its last argument is text");
    await perhaps;
  } else {
    perhaps.catch(() => {});
  }
  await breakConnection(sockets, socket, () => request(other, "tell", null, 1));
  assert.ok(socket.recovered);
  assert.deepEqual(withoutOffsets(await news.take(1)), [[1]]);
}

async function recovery_of_a_forged_session(sockets) {
  const [socket, news] = await comer(sockets);
  const other = await sockets.connect();
  await request(other, "tell", null, 1);
  await news.take(1);
  const { id } = socket;
  socket._pid = "x".repeat(20);
  await breakConnection(sockets, socket, () => request(other, "tell", null, 2));
  assert.ok(!socket.recovered);
  assert.notEqual(socket.id, id);
  const anew = socket.id; // the client has its old offset and a new session
  await breakConnection(sockets, socket, () => request(other, "tell", null, 3));
  assert.ok(socket.recovered);
  assert.equal(socket.id, anew);
  assert.deepEqual(withoutOffsets(await news.take(1)), [[3]]);
}

async function recovery_after_leaving(sockets) {
  const [socket] = await comer(sockets);
  const { id } = socket;
  socket.disconnect();
  socket.connect();
  await sockets.connected(socket);
  assert.ok(!socket.recovered);
  assert.notEqual(socket.id, id);
}

export const scenarios = {
  recovery_again_and_again,
  recovery_after_a_volatile_event,
  recovery_of_a_forged_session,
  recovery_after_leaving,
};
