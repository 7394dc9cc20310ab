// Namespaces on one connection, the auth payload, refused connections.

import assert from "node:assert/strict";
import { Inbox, once, pause, request } from "../sockets.mjs";

/** Two sockets of one manager; both are connected when it resolves. */
async function connectTwo(sockets, first, second, options = {}) {
  const one = await sockets.connect(first, options);
  const two = one.io.socket(second, options);
  sockets.adopt(two);
  await once(two, "connect");
  return [one, two];
}

async function twoAtOnce(sockets) {
  const [root, chat] = await connectTwo(sockets, "/", "/chat");
  assert.equal(root.io, chat.io);
  const [who] = await request(root, "whoami");
  const [name] = await request(chat, "name");
  assert.equal(name.namespace, "/chat");
  assert.notEqual(name.id, who.id);
  // Each event reaches its own namespace only.
  const stray = new Inbox(root, "message");
  const other = await sockets.connect("/chat");
  const arrived = once(chat, "message");
  assert.deepEqual(await request(other, "message", "hello"), ["ok"]);
  assert.deepEqual(await arrived, ["hello"]);
  assert.deepEqual(await request(root, "echo", "fence"), ["fence"]);
  await stray.take(0);
}

async function leaveOne(sockets) {
  const [root, chat] = await connectTwo(sockets, "/", "/chat");
  chat.disconnect();
  assert.deepEqual(await request(root, "echo", "still here"), ["still here"]);
  const before = chat.id;
  chat.connect();
  await once(chat, "connect");
  assert.notEqual(chat.id, before);
  assert.equal((await request(chat, "name"))[0].id, chat.id);
}

async function onlyAnother(sockets) {
  const chat = await sockets.connect("/chat?color=ignored");
  assert.equal((await request(chat, "name"))[0].namespace, "/chat");
}

async function unknown(sockets) {
  const root = await sockets.connect();
  const nowhere = root.io.socket("/nowhere");
  sockets.adopt(nowhere);
  const refused = once(nowhere, "connect_error");
  const [error] = await refused;
  assert.ok(error instanceof Error);
  assert.equal(error.message, "Invalid namespace");
  assert.equal(error.data, undefined);
  assert.equal(nowhere.connected, false);
  assert.deepEqual(await request(root, "echo", "still here"), ["still here"]);
}

async function auth(sockets) {
  const payload = { token: "abc", user: { id: 7, name: "Zoë 😀" }, list: [1, null, true] };
  const socket = sockets.create("/", { auth: payload, query: { color: "blue & green" } });
  const welcome = once(socket, "welcome");
  await sockets.connected(socket);
  assert.deepEqual(await welcome, [payload]);
  const [who] = await request(socket, "whoami");
  assert.deepEqual(who, {
    id: socket.id,
    auth: payload,
    color: "blue & green",
    rooms: [socket.id],
    checked: true,
  });
}

async function authByFunction(sockets) {
  const socket = sockets.create("/", { auth: (send) => setTimeout(send, 20, { token: "later" }) });
  const welcome = once(socket, "welcome");
  await sockets.connected(socket);
  assert.deepEqual(await welcome, [{ token: "later" }]);
}

async function noAuth(sockets) {
  const socket = sockets.create();
  const welcome = once(socket, "welcome");
  await sockets.connected(socket);
  assert.deepEqual(await welcome, [{}]);
  assert.notEqual(socket.id, socket.io.engine.id); // which is a secret
}

async function authOfEach(sockets) {
  const [root, chat] = await connectTwo(sockets, "/", "/chat", { auth: { token: "both" } });
  assert.deepEqual((await request(root, "whoami"))[0].auth, { token: "both" });
  assert.deepEqual((await request(chat, "name"))[0].auth, { token: "both" });
}

async function refused(sockets) {
  const socket = sockets.create("/", { auth: { token: "revoked" } });
  const [error] = await once(socket, "connect_error");
  assert.ok(error instanceof Error);
  assert.equal(error.message, "token revoked");
  assert.deepEqual(error.data, { code: 4011, retry: false });
  assert.equal(socket.connected, false);
  // The same socket may try again, with another token.
  socket.auth = { token: "fresh" };
  socket.connect();
  await sockets.connected(socket);
  assert.deepEqual((await request(socket, "whoami"))[0].auth, { token: "fresh" });
}

async function refusedLater(sockets) {
  // By asynchronous middleware, beside a namespace that is connected.
  const root = await sockets.connect();
  const admin = root.io.socket("/admin", { auth: { role: "guest" } });
  sockets.adopt(admin);
  const answer = once(admin, "connect_error");
  const [error] = await answer;
  assert.equal(error.message, "admins only");
  assert.deepEqual(error.data, { needed: ["admin"], seen: null });
  assert.deepEqual(await request(root, "echo", "still here"), ["still here"]);
  admin.auth = { role: "admin" };
  admin.connect();
  await once(admin, "connect");
  assert.deepEqual(await request(admin, "name"), [{ namespace: "/admin", id: admin.id }]);
}

/** Changes of mind before, while and after the server decides; for tests/apps/joining_app.py. */
async function joiningAgain(sockets) {
  const root = await sockets.connect();
  const lost = new Inbox(root, "disconnect");
  const minds = [
    async (socket) => socket.connect(),
    async (socket) => socket.disconnect().connect(),
    async (socket) => {
      for (let times = 0; times < 3; times++) socket.disconnect().connect();
    },
    async (socket) => {
      await pause(75); // the middleware of a slow one is half done
      socket.disconnect().connect();
    },
    async (socket) => {
      socket.disconnect();
      await pause(300); // meanwhile the server has let it in, and nobody has listened
      socket.connect();
    },
    async (socket) => {
      await once(socket, "connect");
      socket.disconnect().connect();
    },
  ];
  const check = async (name, changeMind) => {
    const socket = root.io.socket(name);
    sockets.adopt(socket);
    await changeMind(socket);
    await pause(400); // what is under way arrives
    assert.equal(socket.connected, true, name);
    assert.deepEqual(await request(socket, "echo", name), [name]);
    assert.deepEqual(await request(root, "census", name), [1], name);
    socket.disconnect();
    assert.deepEqual(await request(root, "census", name), [0], name);
  };
  const named = (kind) => minds.map((mind, number) => check(`/${kind}-${number}`, mind));
  await Promise.all([...named("quick"), ...named("slow")]);
  await lost.take(0);
}

export const scenarios = {
  joining_again: joiningAgain,
  namespaces_two_at_once: twoAtOnce,
  namespaces_leave_one: leaveOne,
  namespaces_only_another: onlyAnother,
  namespaces_unknown: unknown,
  auth,
  auth_by_function: authByFunction,
  auth_none: noAuth,
  auth_of_each_namespace: authOfEach,
  refused,
  refused_by_async_middleware: refusedLater,
};
