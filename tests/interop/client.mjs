// Runs scenarios with a JavaScript client against a server:
//
//     node client.mjs URL SCENARIOS TRANSPORT CLIENT
//     node client.mjs list
//
// SCENARIOS are names joined by commas; TRANSPORT is polling, websocket or upgrade; CLIENT a module:
// a package, or a file of this folder. One line of JSON for each scenario: {"scenario", "ok", "error"};
// with {"restart"} a scenario asks the caller to restart the server. "list" prints all names.
// Exit code 0 if all are well, 1 if one is not, 2 for a wrong command line.

import { scenarios as acks } from "./scenarios/acks.mjs";
import { scenarios as compression } from "./scenarios/compression.mjs";
import { scenarios as crowd } from "./scenarios/crowd.mjs";
import { scenarios as disconnects } from "./scenarios/disconnects.mjs";
import { scenarios as engine } from "./scenarios/engine.mjs";
import { scenarios as legacy } from "./scenarios/legacy.mjs";
import { scenarios as liveness } from "./scenarios/liveness.mjs";
import { scenarios as msgpack } from "./scenarios/msgpack.mjs";
import { scenarios as namespaces } from "./scenarios/namespaces.mjs";
import { scenarios as order } from "./scenarios/order.mjs";
import { scenarios as payloads } from "./scenarios/payloads.mjs";
import { scenarios as presence } from "./scenarios/presence.mjs";
import { scenarios as recovery } from "./scenarios/recovery.mjs";
import { scenarios as rooms } from "./scenarios/rooms.mjs";
import { scenarios as surface } from "./scenarios/surface.mjs";
import { scenarios as volatile } from "./scenarios/volatile.mjs";
import { report } from "./report.mjs";
import { Sockets, TRANSPORTS } from "./sockets.mjs";

const SCENARIOS = {
  ...payloads,
  ...acks,
  ...namespaces,
  ...rooms,
  ...disconnects,
  ...order,
  ...volatile,
  ...liveness,
  ...engine,
  ...surface,
  ...crowd,
  ...legacy,
  ...compression,
  ...msgpack,
  ...recovery,
  ...presence,
};
const DEADLINE_MS = 20_000;

async function run(name, sockets) {
  let timer;
  const deadline = new Promise((_, reject) => {
    const expire = () => reject(new Error(`not finished after ${DEADLINE_MS} ms`));
    timer = setTimeout(expire, DEADLINE_MS);
  });
  const broken = new Promise((_, reject) => {
    process.on("uncaughtException", reject);
    process.on("unhandledRejection", reject);
  });
  try {
    await Promise.race([SCENARIOS[name](sockets), deadline, broken]);
    sockets.check();
    report({ scenario: name, ok: true, error: null });
    return true;
  } catch (error) {
    report({ scenario: name, ok: false, error: error?.stack ?? String(error) });
    return false;
  } finally {
    clearTimeout(timer);
    sockets.close();
    process.removeAllListeners("uncaughtException");
    process.removeAllListeners("unhandledRejection");
  }
}

function fail(problem) {
  process.stderr.write(`${problem}\nusage: node client.mjs URL SCENARIOS TRANSPORT CLIENT\n`);
  process.exit(2);
}

const [url, wanted = "", transport, client] = process.argv.slice(2);
if (url === "list") {
  report(Object.keys(SCENARIOS));
  process.exit(0);
}
if (!(transport in TRANSPORTS)) fail(`unknown transport: ${transport}`);
const names = wanted.split(",");
for (const name of names) if (!(name in SCENARIOS)) fail(`unknown scenario: ${name}`);
const loaded = await import(client);
let allWell = true;
for (const name of names) {
  allWell = (await run(name, new Sockets(loaded, url, transport))) && allWell;
}
process.exit(allWell ? 0 : 1);
