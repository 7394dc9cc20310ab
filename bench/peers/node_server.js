// The reference server with the bench app: node node_server.js PORT [plain|async|suspends] [CERT KEY]
import { readFileSync } from "node:fs";
import { createServer } from "node:http";
import { createServer as createSecureServer } from "node:https";

import { Server } from "socket.io";

import { run } from "./node_app.js";

const [port, handlers = "plain", cert, key] = process.argv.slice(2);
const http = cert
  ? createSecureServer({ cert: readFileSync(cert), key: readFileSync(key) })
  : createServer();
await run(new Server(http), handlers);
http.listen(Number(port), "127.0.0.1");
