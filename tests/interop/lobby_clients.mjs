// Official clients behind a load balancer: node lobby_clients.mjs URL COUNT [TRANSPORT...]
//
// There are COUNT of each TRANSPORT: polling, upgrade or websocket. All join the room "lobby". They keep
// cookies, as browsers do. A line on the standard input is what each of them then says there. Each event
// is a line of JSON on the standard output; the program ends with its input.

import { createInterface } from "node:readline";

import { io } from "socket.io-client";

const [url, count, ...kinds] = process.argv.slice(2);
const TRANSPORTS = { polling: ["polling"], upgrade: ["polling", "websocket"], websocket: ["websocket"] };
const report = (event) => process.stdout.write(JSON.stringify(event) + "\n");
const sockets = [];

function open(kind, client) {
  const transports = TRANSPORTS[kind];
  const socket = io(url, { transports, forceNew: true, withCredentials: true, reconnectionDelay: 100 });
  socket.on("connect", async () => {
    const { engine } = socket.io;
    const settled = transports.at(-1);
    if (engine.transport.name !== settled) await new Promise((resolve) => engine.once("upgrade", resolve));
    await socket.emitWithAck("join", "lobby");
    report({ joined: client, kind, prefix: engine.id.slice(0, 4), transport: engine.transport.name });
  });
  socket.on("message", (room, from, text) => report({ heard: client, text }));
  socket.on("disconnect", (reason) => report({ lost: client, reason }));
  socket.on("connect_error", (error) => report({ failed: client, reason: error.message }));
  sockets.push(socket);
}

for (const kind of kinds) for (let at = 0; at < Number(count); at++) open(kind, sockets.length);

for await (const line of createInterface({ input: process.stdin })) {
  for (const socket of sockets) socket.emit("message", "lobby", line);
}
process.exit(0);
