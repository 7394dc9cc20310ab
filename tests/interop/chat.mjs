// Clients 2.x and 4.8 chat with one another: node chat.mjs URLS TRANSPORT
//
// URLS are those of the nodes, joined by commas: the clients 7 (2.x) and ann (4.8) are on the first, 8 (2.x)
// and bob (4.8) on the last. Prints one object: what each of them saw in order, and the ids of the old ones.

import { io as io4 } from "socket.io-client";
import io2 from "socket.io-client-2";

const urls = process.argv[2].split(",");
const [first, last] = [urls[0], urls[urls.length - 1]];
const transports = { polling: ["polling"], websocket: ["websocket"], both: ["polling", "websocket"] }[process.argv[3]];
const EVENTS = [
  "auth/reply", "join/reply", "logic/error", "chat/rooms", "chat/users", "chat/broadcast", "signal/room",
  "signal/user", "signal/broadcast", "disconnect",
];
const seen = {};
const sockets = {};

function watch(name, socket) {
  seen[name] = [];
  sockets[name] = socket;
  for (const event of EVENTS) socket.on(event, (...args) => seen[name].push([event, ...args]));
  return socket;
}

/** A client as the original system has it: what it emits at once leaves in one burst. */
function old(name, url) {
  const socket = watch(name, io2(url + "/demo", { transports, forceNew: true }));
  socket.emit("auth", { userId: Number(name), meta: { name }, token: `token-of-${name}` });
  socket.emit("join", { rooms: [{ roomId: "r1" }] });
  return socket;
}

async function until(condition, what) {
  const late = Date.now() + 15_000;
  while (!condition()) {
    if (Date.now() > late) throw new Error(`${what} did not happen; seen: ${JSON.stringify(seen)}`);
    await new Promise((resolve) => setTimeout(resolve, 5));
  }
}
const counts = (name, event) => seen[name].filter(([one]) => one === event).length;
const everybody = (names, event, count) =>
  until(() => names.every((name) => counts(name, event) === count), `${event} ${count} times`);
const ask = (name, event, ...args) => sockets[name].timeout(15_000).emitWithAck(event, ...args);

const message = (id, evt, meta) => ({ ver: "1.0.0", meta, evt, id });
const text = JSON.stringify({ text: "hello" });

const answers = {};
const old7 = old("7", first);
const old8 = old("8", last);
for (const [name, url] of [["ann", first], ["bob", last]]) {
  const auth = { token: `token-of-${name}` };
  watch(name, io4(url + "/demo", { transports, forceNew: true, auth }));
}
answers.join = await ask("ann", "join", { rooms: [{ roomId: "r1" }] });
await ask("bob", "join", { rooms: [{ roomId: "r1" }] });
const all = ["7", "8", "ann", "bob"];
await everybody(all, "join/reply", 1);

// To a room: senders get it, too.
old7.emit("chat/rooms", [{ nspName: "demo", roomId: "r1", msg: message("m1", "chat/rooms", text) }]);
await everybody(all, "chat/rooms", 1);
const toRoom = { nspName: "/demo", roomId: "r1", msg: message("m2", "poll", { options: [1, 2] }) };
answers.rooms = await ask("ann", "chat/rooms", [toRoom]);
await everybody(all, "chat/rooms", 2);

// To users, on this node and the other.
old7.emit("chat/users", [
  { nspName: "demo", userId: 8, msg: message("m3", "chat/users", text) },
  { nspName: "demo", userId: "ann", msg: message("m4", "chat/users", text) },
]);
await everybody(["8", "ann"], "chat/users", 1);
answers.users = await ask("bob", "chat/users", { userId: 7, msg: message("m5", "chat/users", text) });
answers.unknown = await ask("ann", "chat/users", [
  { userId: "nobody", msg: message("m6", "chat/users", text) },
  { userId: "8", msg: message("m7", "chat/users", text) },
]);
old8.emit("chat/users", [{ nspName: "demo", userId: 99, msg: message("m8", "chat/users", text) }]);
await everybody(["8"], "chat/users", 2);
await everybody(["7"], "chat/users", 1);
await everybody(["8", "ann"], "logic/error", 1);

// To everybody, and signals.
answers.broadcast = await ask("bob", "chat/broadcast", { msg: message("m9", "chat/broadcast", text) });
await everybody(all, "chat/broadcast", 1);
answers.signal = await ask("ann", "signal/room", { roomId: "r1", msg: { evt: "typing", id: "s1" } });
await everybody(["7", "8", "bob"], "signal/room", 1);
old7.emit("signal/user", [{ nspName: "demo", userId: "bob", msg: message("s2", "offer", text) }]);
await everybody(["bob"], "signal/user", 1);

// Whoever has left a room neither gets what is sent there nor sends it.
answers.leave = await ask("ann", "leave", { rooms: [{ roomId: "r1" }] });
answers.outside = await ask("ann", "chat/rooms", [toRoom]);
old7.emit("chat/rooms", [{ nspName: "demo", roomId: "r1", msg: message("m10", "chat/rooms", text) }]);
await everybody(["7", "8", "bob"], "chat/rooms", 3);
old7.emit("chat/rooms", [{ nspName: "other", roomId: "r1", msg: message("m11", "chat/rooms", text) }]);
old7.emit("chat/rooms", "nonsense");
await everybody(["7"], "logic/error", 2);

// The main namespace has neither a deadline nor chat, and the clients stay.
await new Promise((resolve) => setTimeout(resolve, 2_500));
const connected = all.filter((name) => sockets[name].connected);
console.log(JSON.stringify({ seen, answers, connected, ids: { 7: old7.id, 8: old8.id } }));
process.exit(0);
