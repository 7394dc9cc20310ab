// A server of Node with a lobby as ours, to be moved over: node old_server.mjs REDIS-URL PORT DRAIN
//
// It prints a line when it serves. A line on its standard input, a number of seconds, drains it with the
// module DRAIN; then it prints how many sessions are left.

import { createServer } from "node:http";
import { createInterface } from "node:readline";

import { createAdapter } from "@socket.io/redis-adapter";
import Redis from "ioredis";
import { Server } from "socket.io";

const [redis, port, module] = process.argv.slice(2);
const { drain } = await import(module);
const publisher = new Redis(redis);
const http = createServer();
const io = new Server(http, { adapter: createAdapter(publisher, publisher.duplicate()) });
io.on("connection", (socket) => {
  socket.on("join", (room, answer) => {
    socket.join(room);
    answer(1);
  });
  socket.on("message", (room, ...values) => socket.to(room).emit("message", room, socket.id, ...values));
});
http.listen(Number(port), "127.0.0.1", () => console.log("serving"));

for await (const line of createInterface({ input: process.stdin })) {
  await drain(io, Number(line));
  console.log(io.engine.clientsCount);
}
process.exit();
