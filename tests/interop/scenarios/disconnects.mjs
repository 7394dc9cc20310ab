// Who ended it, told to both sides; another client watches what the server's handlers are told.

import assert from "node:assert/strict";
import { Inbox, once, request } from "../sockets.mjs";

class Watcher {
  constructor(socket) {
    this.leaving = new Inbox(socket, "leaving");
    this.gone = new Inbox(socket, "gone");
  }

  static async open(sockets, watched) {
    const socket = await sockets.connect();
    const watcher = new Watcher(socket);
    await request(socket, "watch", watched.id);
    return watcher;
  }

  /** The server told its handlers `reason`, once, with the rooms while they were still known. */
  async assertGone(reason, rooms) {
    assert.deepEqual(await this.gone.take(1), [[reason]]);
    assert.deepEqual(await this.leaving.take(1), [[reason, rooms]]);
  }
}

async function openBoth(sockets) {
  const socket = await sockets.connect();
  const watcher = await Watcher.open(sockets, socket);
  await request(socket, "join", "red");
  await request(socket, "join", "blue");
  return [watcher, socket, socket.id];
}

async function byClient(sockets) {
  const [watcher, socket] = await openBoth(sockets);
  const gone = once(socket, "disconnect");
  socket.disconnect();
  assert.equal((await gone)[0], "io client disconnect");
  await watcher.assertGone("client namespace disconnect", ["blue", "red"]);
}

async function byServer(sockets) {
  const [watcher, socket, id] = await openBoth(sockets);
  const chat = socket.io.socket("/chat"); // holds the connection: the client closes an unused one
  sockets.adopt(chat);
  await once(chat, "connect");
  const { engine } = socket.io;
  const gone = once(socket, "disconnect");
  socket.emit("kick_me", false);
  assert.equal((await gone)[0], "io server disconnect");
  await watcher.assertGone("server namespace disconnect", ["blue", "red"]);
  // The other namespace goes on, and the client may come back on the same connection.
  assert.equal((await request(chat, "name"))[0].id, chat.id);
  socket.connect();
  await once(socket, "connect");
  assert.equal(socket.io.engine, engine);
  assert.notEqual(socket.id, id);
  assert.deepEqual(await request(socket, "echo", "back"), ["back"]);
}

async function byServerWithConnection(sockets) {
  const [watcher, socket] = await openBoth(sockets);
  const { engine } = socket.io;
  const closed = once(engine, "close");
  const gone = once(socket, "disconnect");
  socket.emit("kick_me", true);
  assert.equal((await gone)[0], "io server disconnect");
  await watcher.assertGone("server namespace disconnect", ["blue", "red"]);
  await closed;
}

async function byEngine(sockets) {
  const [watcher, socket] = await openBoth(sockets);
  const gone = once(socket, "disconnect");
  socket.io.engine.close();
  assert.equal((await gone)[0], "forced close");
  await watcher.assertGone("transport close", ["blue", "red"]);
}

async function duringRequest(sockets) {
  // Emitted before it left: handled all the same, and before the disconnect handlers.
  // (The reference drops it when both packets arrive in one read; we never do.)
  const socket = await sockets.connect();
  const watcher = await Watcher.open(sockets, socket);
  socket.emit("join", "last minute");
  socket.disconnect();
  await watcher.assertGone("client namespace disconnect", ["last minute"]);
}

async function emitsAfterwards(sockets) {
  // A room forgets who left: nothing is sent, nothing breaks.
  const [watcher, socket, id] = await openBoth(sockets);
  socket.disconnect();
  await watcher.assertGone("client namespace disconnect", ["blue", "red"]);
  const other = await sockets.connect();
  await request(other, "to_room", id, "anybody there?");
  await request(other, "to_room", "red", "anybody there?");
  assert.deepEqual(await request(other, "echo", "fine"), ["fine"]);
}

export const scenarios = {
  disconnect_by_client: byClient,
  disconnect_by_server: byServer,
  disconnect_by_server_with_connection: byServerWithConnection,
  disconnect_by_engine: byEngine,
  disconnect_right_after_emit: duringRequest,
  disconnect_then_emit_to_room: emitsAfterwards,
};
