// Official clients behind a load balancer: node lobby_clients.mjs URL COUNT [KIND...]
//
// There are COUNT of each KIND: a transport (polling, upgrade or websocket), of version 4; the same with a 2
// behind it, of version 2; or jsonp. All join the room "lobby", or that in the environment as ROOM. They keep
// cookies, as browsers do. A line on the standard input is what each of them then says there; if it is an
// array of JSON, the first value is the number of the one that says the second. Each event is a line of JSON
// on the standard output; the program ends with its input.

import { createInterface } from "node:readline";

import { io } from "socket.io-client";
import io2 from "socket.io-client-2";

import { io as jsonp } from "./jsonp.mjs";

const [url, count, ...kinds] = process.argv.slice(2);
const ROOM = process.env.ROOM ?? "lobby";
const TRANSPORTS = { polling: ["polling"], upgrade: ["polling", "websocket"], websocket: ["websocket"] };
const KINDS = { jsonp: [jsonp, TRANSPORTS.polling] };
for (const [name, transports] of Object.entries(TRANSPORTS)) {
  KINDS[name] = [io, transports];
  KINDS[`${name}2`] = [io2, transports];
}
const report = (event) => process.stdout.write(JSON.stringify(event) + "\n");
const sockets = [];

/** JSONP is not told when a node refuses what it has sent: it asks again. */
function join(socket) {
  return new Promise((resolve) => {
    const ask = () => socket.emit("join", ROOM, joined);
    const again = setInterval(ask, 1000);
    const joined = () => resolve(clearInterval(again));
    socket.once("disconnect", () => clearInterval(again));
    ask();
  });
}

/** A client that may not upgrade stays where it is. */
function settle(engine, resolve) {
  for (const event of ["upgrade", "upgradeError"]) engine.once(event, resolve);
}

function open(kind, client) {
  const [connect, transports] = KINDS[kind];
  const socket = connect(url, { transports, forceNew: true, withCredentials: true, reconnectionDelay: 100 });
  socket.on("connect", async () => {
    const { engine } = socket.io;
    const settled = transports.at(-1);
    if (engine.transport.name !== settled) await new Promise((resolve) => settle(engine, resolve));
    await join(socket);
    report({ joined: client, kind, sid: engine.id, transport: engine.transport.name });
  });
  socket.on("message", (room, from, text) => report({ heard: client, text }));
  socket.on("disconnect", (reason) => report({ lost: client, reason }));
  socket.on("connect_error", (error) => report({ failed: client, reason: error.message }));
  sockets.push(socket);
}

for (const kind of kinds) for (let at = 0; at < Number(count); at++) open(kind, sockets.length);

for await (const line of createInterface({ input: process.stdin })) {
  const [speaker, text] = line.startsWith("[") ? JSON.parse(line) : [undefined, line];
  for (const socket of speaker === undefined ? sockets : [sockets[speaker]]) {
    socket.emit("message", ROOM, text);
  }
}
process.exit(0);
