// Two hundred clients at once.

import assert from "node:assert/strict";
import { randomUUID } from "node:crypto";
import { Inbox, request } from "../sockets.mjs";

const CLIENTS = 200;
const SPEAKERS = 10;

async function crowd(sockets) {
  const room = randomUUID();
  const everyone = await Promise.all(Array.from({ length: CLIENTS }, () => sockets.connect()));
  assert.equal(new Set(everyone.map((socket) => socket.id)).size, CLIENTS);
  const spoken = everyone.map((socket) => new Inbox(socket, "room"));
  const said = everyone.map((socket) => new Inbox(socket, "said"));
  await Promise.all(everyone.map((socket) => request(socket, "join", room)));
  await Promise.all(
    everyone.map(async (socket, index) => {
      socket.emit("say", `mine ${index}`);
      assert.deepEqual(await request(socket, "echo", index, socket.id), [index, socket.id]);
    }),
  );
  const speakers = everyone.slice(0, SPEAKERS);
  await Promise.all(speakers.map((socket, index) => request(socket, "to_others", room, index)));
  await Promise.all(everyone.map((socket) => request(socket, "echo", "fence")));
  for (let index = 0; index < CLIENTS; index++) {
    assert.deepEqual(await said[index].take(1), [[`mine ${index}`]]);
    const others = speakers.map((_, speaker) => speaker).filter((speaker) => speaker !== index);
    const heard = await spoken[index].take(others.length);
    assert.deepEqual(heard.map(([speaker]) => speaker).sort((a, b) => a - b), others);
  }
}

export const scenarios = { two_hundred_clients: crowd };
