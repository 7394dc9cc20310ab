// The reference server with the bench app: node node_server.js PORT [plain|async|suspends] [CERT KEY]
// With BENCH_REDIS, the URL of a Unix socket, in its environment, a node of those that share this Redis.
import { readFileSync } from "node:fs";
import { createServer } from "node:http";
import { createServer as createSecureServer } from "node:https";

import { Server } from "socket.io";

const [port, handlers = "plain", cert, key] = process.argv.slice(2);
const http = cert
  ? createSecureServer({ cert: readFileSync(cert), key: readFileSync(key) })
  : createServer();
const io = new Server(http);
const redis = process.env.BENCH_REDIS?.replace("unix://", "");
if (redis) {
  const { createAdapter } = await import("@socket.io/redis-adapter");
  const { Redis } = await import("ioredis");
  io.adapter(createAdapter(new Redis(redis), new Redis(redis)));
}

const tick = () => new Promise((resolve) => setImmediate(resolve));

// The reference gives handlers no return value: the last argument answers the acknowledgement.
const variants = {
  plain: (socket) => ({
    echo: (...values) => {
      socket.emit("echo", ...values);
    },
    echo_ack: (...values) => {
      const answer = values.pop();
      answer(...values);
    },
  }),
  async: (socket) => ({
    echo: async (...values) => {
      socket.emit("echo", ...values);
    },
    echo_ack: async (...values) => {
      const answer = values.pop();
      answer(...values);
    },
  }),
  suspends: (socket) => ({
    echo: async (...values) => {
      await tick();
      socket.emit("echo", ...values);
    },
    echo_ack: async (...values) => {
      const answer = values.pop();
      await tick();
      answer(...values);
    },
  }),
};

io.on("connection", (socket) => {
  const { echo, echo_ack: echoAck } = variants[handlers](socket);
  socket.on("echo", echo);
  socket.on("echo_ack", echoAck);
  socket.on("bcast", (...values) => {
    io.emit("bcast", ...values);
  });
  socket.on("join", (room, answer) => {
    socket.join(String(room));
    answer?.();
  });
  socket.on("room", (name, ...payload) => {
    io.to(String(name)).emit("room", ...payload);
  });
});

http.listen(Number(port), "127.0.0.1");
process.on("SIGTERM", () => process.exit(0));
