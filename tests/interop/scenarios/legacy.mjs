// What only clients 1.x and 2.x do: they are in the main namespace unasked, put parameters into the
// name of a namespace, make up their ids from the engine's, and are told of errors by "error".

import assert from "node:assert/strict";
import { Inbox, TRANSPORTS, once, request } from "../sockets.mjs";

function join(sockets, root, name, options) {
  const socket = root.io.socket(name, options);
  sockets.adopt(socket);
  return socket;
}

async function ids(sockets) {
  const root = await sockets.connect();
  const [who] = await request(root, "whoami");
  assert.equal(who.id, root.io.engine.id);
  assert.equal(who.id, root.id);
  const chat = join(sockets, root, "/chat");
  await once(chat, "connect");
  assert.equal((await request(chat, "name"))[0].id, `/chat#${root.io.engine.id}`);
}

async function query(sockets) {
  const root = await sockets.connect("/", { query: { color: "blue & green" } });
  const [who] = await request(root, "whoami");
  assert.deepEqual([who.color, who.auth], ["blue & green", {}]);
  const chat = join(sockets, root, "/chat", { query: "token=a%26b%20c&empty=" });
  await once(chat, "connect");
  const [name] = await request(chat, "name");
  assert.deepEqual(name.auth, { token: "a&b c", empty: "" });
}

async function refused(sockets) {
  const root = await sockets.connect();
  const admin = join(sockets, root, "/admin", { query: "role=guest" });
  assert.deepEqual(await once(admin, "error"), [{ needed: ["admin"], seen: null }]);
  const nowhere = join(sockets, root, "/nowhere");
  assert.deepEqual(await once(nowhere, "error"), ["Invalid namespace"]);
  assert.deepEqual(await request(root, "echo", "still here"), ["still here"]);
}

async function admitted(sockets) {
  const root = await sockets.connect();
  const admin = join(sockets, root, "/admin", { query: "role=admin" });
  await once(admin, "connect");
  assert.equal((await request(admin, "name"))[0].namespace, "/admin");
  admin.disconnect();
  assert.deepEqual(await request(root, "echo", "still here"), ["still here"]);
}

async function disconnectedByServer(sockets) {
  const socket = await sockets.connect();
  const gone = once(socket, "disconnect");
  socket.emit("kick_me", false);
  assert.deepEqual(await gone, ["io server disconnect"]);
}

async function base64(sockets) {
  const socket = await sockets.connect("/", { forceBase64: true });
  const bytes = Buffer.from([0, 1, 2, 253, 254, 255]);
  const [answer, number] = await request(socket, "echo", { bytes }, 7);
  assert.equal(Buffer.from(answer.bytes).toString("hex"), bytes.toString("hex"));
  assert.equal(number, 7);
}

async function mixedRoom(sockets) {
  // Clients of both revisions in one room get the same broadcast.
  const { io } = await import("socket.io-client");
  const modern = io(sockets.url, { transports: TRANSPORTS[sockets.transport], forceNew: true });
  try {
    await once(modern, "connect");
    const legacy = await sockets.connect();
    const room = `mixed ${modern.id}`;
    const inboxes = [modern, legacy].map((socket) => new Inbox(socket, "room"));
    for (const socket of [modern, legacy]) await request(socket, "join", room);
    await request(legacy, "to_room", room, "hello", Buffer.from([1, 2]), { deep: Buffer.from([3]) });
    for (const inbox of inboxes) {
      const [[text, bytes, { deep }]] = await inbox.take(1);
      assert.equal(text, "hello");
      assert.deepEqual([[...Buffer.from(bytes)], [...Buffer.from(deep)]], [[1, 2], [3]]);
    }
  } finally {
    modern.disconnect();
  }
}

export const scenarios = {
  legacy_ids: ids,
  legacy_query: query,
  legacy_refused: refused,
  legacy_admitted: admitted,
  legacy_disconnected_by_server: disconnectedByServer,
  legacy_base64: base64,
  legacy_mixed_room: mixedRoom,
};
