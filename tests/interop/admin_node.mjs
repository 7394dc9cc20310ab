// An instrumented server of Node on a Redis: node admin_node.mjs REDIS KEY PASSWORD_HASH
// The first line that it prints has its port; it ends with its standard input.
import { createServer } from "node:http";

import adminUi from "@socket.io/admin-ui";
import { createAdapter } from "@socket.io/redis-adapter";
import Redis from "ioredis";
import { Server } from "socket.io";

const [redis, key, password] = process.argv.slice(2);
const publisher = new Redis(redis);
const http = createServer();
const io = new Server(http, { adapter: createAdapter(publisher, publisher.duplicate(), { key }) });

adminUi.instrument(io, {
  auth: { type: "basic", username: "ops", password },
  store: new adminUi.RedisStore(new Redis(redis)),
  serverId: "node",
  mode: "development",
});
io.on("connection", (socket) => {
  socket.data.from = "node";
  socket.on("hello", (...values) => socket.emit("echo", ...values.filter((one) => typeof one !== "function")));
});
http.listen(0, "127.0.0.1", () => console.log(http.address().port));
process.stdin.on("end", () => process.exit()).resume();
