// Volatile events: they may be dropped, and are never late, twice, or in front of what was earlier.

import assert from "node:assert/strict";
import { Inbox, pause, request } from "../sockets.mjs";

const TRIES = 50;
const COUNT = 200;

/** What arrived of the numbers sent: some of them, in order. */
function assertSome(numbers) {
  for (let at = 1; at < numbers.length; at++) assert.ok(numbers[at - 1] < numbers[at], "order");
}

/** Ask for volatile events until one has arrived: on polling, one finds no request to leave by. */
async function untilHeard(sockets, socket, event, ask) {
  const inbox = new Inbox(socket, event);
  for (let number = 0; number < TRIES; number++) {
    await ask(number);
    await request(socket, "echo", "fence");
    if (sockets.finalTransport() === "websocket") assert.equal(inbox.received.length, number + 1);
    if (inbox.received.length > 2) break;
  }
  assert.ok(inbox.received.length > 2, `only ${inbox.received.length} arrived of ${TRIES}`);
  assertSome(inbox.received.map(([number]) => number));
  return inbox.received;
}

async function toOne(sockets) {
  const socket = await sockets.connect();
  const bytes = Buffer.from([0, 255]);
  const heard = await untilHeard(sockets, socket, "said", (number) =>
    request(socket, "say_volatile", number, bytes),
  );
  for (const [, received] of heard) assert.deepEqual([...Buffer.from(received)], [0, 255]);
}

async function toRoom(sockets) {
  const [speaker, socket] = [await sockets.connect(), await sockets.connect()];
  const room = `volatile ${Math.random()}`;
  await request(socket, "join", room);
  await untilHeard(sockets, socket, "room", (number) =>
    request(speaker, "to_room_volatile", room, number),
  );
}

async function flood(sockets) {
  // More than the way to a client holds that reads nothing: some are dropped, nothing else suffers.
  const socket = await sockets.connect();
  const inbox = new Inbox(socket, "flood");
  const flooded = request(socket, "flood", COUNT, 100_000);
  while (inbox.received.length === 0) await pause(5);
  Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, 600); // this process stands still
  assert.deepEqual(await flooded, [COUNT]);
  const numbers = inbox.received.map(([number]) => number);
  assert.ok(numbers.length < COUNT, "none was dropped");
  assertSome(numbers);
  assert.deepEqual(await request(socket, "echo", "still here"), ["still here"]);
}

async function fromClient(sockets) {
  const socket = await sockets.connect();
  const inbox = new Inbox(socket, "said");
  for (let number = 0; number < 100; number++) socket.volatile.emit("say", number);
  socket.emit("say", 100);
  await request(socket, "echo", "fence");
  const numbers = inbox.received.map(([number]) => number);
  assertSome(numbers);
  assert.ok(numbers.includes(100));
}

export const scenarios = {
  volatile_to_one: toOne,
  volatile_to_room: toRoom,
  volatile_flood: flood,
  volatile_from_client: fromClient,
};
