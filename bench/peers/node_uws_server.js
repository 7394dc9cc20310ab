// The same on uWebSockets.js: node node_uws_server.js PORT [plain|async|suspends] [CERT KEY]
import { createRequire } from "node:module";

import { Server } from "socket.io";

import { run } from "./node_app.js";

// The package falls back to JavaScript where it has no binary for this Node, and that would be measured
// instead. So the binary is loaded by its name, or this fails.
const { platform, arch, versions } = process;
const binary = `uws_${platform}_${arch}_${versions.modules}.node`;
const uws = createRequire(import.meta.url)(`@trufflesuite/uws-js-unofficial/binaries/${binary}`);

const [port, handlers = "plain", cert, key] = process.argv.slice(2);
const app = cert ? uws.SSLApp({ cert_file_name: cert, key_file_name: key }) : uws.App();
const io = new Server();
io.attachApp(app);
await run(io, handlers);
app.listen("127.0.0.1", Number(port), (listening) => {
  if (!listening) {
    console.error(`port ${port} is not free`);
    process.exit(1);
  }
});
