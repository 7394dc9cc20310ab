// Rooms: who is in receives, who is not does not. A "fence" is an event to a socket alone that
// follows on the same connection: what was sent before it has arrived by then.

import assert from "node:assert/strict";
import { randomUUID } from "node:crypto";
import { Inbox, request } from "../sockets.mjs";

async function openThree(sockets) {
  const three = await Promise.all([sockets.connect(), sockets.connect(), sockets.connect()]);
  return [three, three.map((socket) => new Inbox(socket, "room"))];
}

const fence = (three) => Promise.all(three.map((socket) => request(socket, "echo", "fence")));

async function membership(sockets) {
  const socket = await sockets.connect();
  const [a, b] = [`a ${randomUUID()}`, `b ${randomUUID()} 😀`];
  assert.deepEqual(await request(socket, "join", a), [[a]]);
  assert.deepEqual(await request(socket, "join", a), [[a]]);
  assert.deepEqual(await request(socket, "join", b), [[a, b]]);
  assert.deepEqual(await request(socket, "leave", a), [[b]]);
  assert.deepEqual(await request(socket, "leave", "never joined"), [[b]]);
}

async function exceptSender(sockets) {
  const [three, inboxes] = await openThree(sockets);
  const room = randomUUID();
  await request(three[0], "join", room);
  await request(three[1], "join", room);
  for (const event of ["to_others", "to_others_by_exception"]) {
    await request(three[0], event, room, event, { nested: [1] });
    await fence(three);
    await inboxes[0].take(0);
    assert.deepEqual(await inboxes[1].take(1), [[event, { nested: [1] }]]);
    await inboxes[2].take(0);
  }
}

async function everyMember(sockets) {
  const [three, inboxes] = await openThree(sockets);
  const room = randomUUID();
  await request(three[0], "join", room);
  await request(three[1], "join", room);
  await request(three[2], "to_room", room, "from outside", Buffer.from([1, 2]));
  await fence(three);
  for (const inbox of inboxes.slice(0, 2)) {
    const [[text, bytes]] = await inbox.take(1);
    assert.equal(text, "from outside");
    assert.deepEqual([...Buffer.from(bytes)], [1, 2]);
  }
  await inboxes[2].take(0);
}

async function leave(sockets) {
  const [three, inboxes] = await openThree(sockets);
  const room = randomUUID();
  for (const socket of three) await request(socket, "join", room);
  await request(three[1], "leave", room);
  await request(three[0], "to_room", room, "after leaving");
  await fence(three);
  await inboxes[0].take(1);
  await inboxes[1].take(0);
  await inboxes[2].take(1);
}

async function ownRoom(sockets) {
  // Every socket is in the room of its id: this is how one client writes to another.
  const [three, inboxes] = await openThree(sockets);
  await request(three[0], "to_room", three[2].id, "just for you");
  await fence(three);
  await inboxes[0].take(0);
  await inboxes[1].take(0);
  assert.deepEqual(await inboxes[2].take(1), [["just for you"]]);
}

async function everybody(sockets) {
  const [three] = await openThree(sockets);
  const chat = await sockets.connect("/chat");
  const stray = new Inbox(chat, "everybody");
  const inboxes = three.map((socket) => new Inbox(socket, "everybody"));
  await request(three[0], "to_everybody", "all of them");
  await fence(three);
  for (const inbox of inboxes) assert.deepEqual(await inbox.take(1), [["all of them"]]);
  await request(chat, "name");
  await stray.take(0);
}

export const scenarios = {
  rooms_membership: membership,
  rooms_except_sender: exceptSender,
  rooms_every_member: everyMember,
  rooms_leave: leave,
  rooms_own: ownRoom,
  rooms_everybody: everybody,
};
