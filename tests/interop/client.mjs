// Runs scenarios with an official JavaScript client against a server:
//
//     node client.mjs URL SCENARIO TRANSPORT VERSION [PARSER]
//
// SCENARIO is a name, several joined by commas, or "all"; TRANSPORT polling, websocket or upgrade;
// VERSION a key of CLIENTS, PARSER one of PARSERS. One line of JSON for each scenario: {"scenario", "ok", "error"}.
// Exit code 0 if all are well, 1 if one is not, 2 for a wrong command line.

import { scenarios as acks } from "./scenarios/acks.mjs";
import { scenarios as compression } from "./scenarios/compression.mjs";
import { scenarios as crowd } from "./scenarios/crowd.mjs";
import { scenarios as disconnects } from "./scenarios/disconnects.mjs";
import { scenarios as engine } from "./scenarios/engine.mjs";
import { scenarios as legacy } from "./scenarios/legacy.mjs";
import { scenarios as msgpack } from "./scenarios/msgpack.mjs";
import { scenarios as namespaces } from "./scenarios/namespaces.mjs";
import { scenarios as order } from "./scenarios/order.mjs";
import { scenarios as payloads } from "./scenarios/payloads.mjs";
import { scenarios as reconnection } from "./scenarios/reconnection.mjs";
import { scenarios as recovery } from "./scenarios/recovery.mjs";
import { scenarios as rooms } from "./scenarios/rooms.mjs";
import { scenarios as surface } from "./scenarios/surface.mjs";
import { report } from "./report.mjs";
import { Sockets, TRANSPORTS } from "./sockets.mjs";

const CLIENTS = {
  "4.8": "socket.io-client",
  "4.0": "socket.io-client-4-0",
  "2.5": "socket.io-client-2",
  "1.7": "socket.io-client-1",
};
const PARSERS = { json: undefined, msgpack: "socket.io-msgpack-parser" };
const DEADLINE_MS = 20_000;

// Without the scenarios of DRIVEN, for which the caller does something to the server, and those of
// LEGACY, which are of clients 1.x and 2.x.
const SCENARIOS = {
  ...payloads,
  ...acks,
  ...namespaces,
  ...rooms,
  ...disconnects,
  ...order,
  ...engine,
  ...surface,
  ...crowd,
};
const DRIVEN = { ...reconnection, ...compression, ...recovery, ...msgpack };
const LEGACY = { ...legacy };

async function run(name, scenario, sockets) {
  let timer;
  const deadline = new Promise((_, reject) => {
    const expire = () => reject(new Error(`not finished after ${DEADLINE_MS} ms`));
    timer = setTimeout(expire, scenario.deadlineMs ?? DEADLINE_MS);
  });
  const broken = new Promise((_, reject) => {
    process.on("uncaughtException", reject);
    process.on("unhandledRejection", reject);
  });
  try {
    await Promise.race([scenario(sockets), deadline, broken]);
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
  process.stderr.write(`${problem}\nusage: node client.mjs URL SCENARIO TRANSPORT VERSION [PARSER]\n`);
  process.exit(2);
}

const [url, wanted, transport, version, parserName = "json"] = process.argv.slice(2);
if (!(transport in TRANSPORTS)) fail(`unknown transport: ${transport}`);
if (!(version in CLIENTS)) fail(`unknown version: ${version}`);
if (!(parserName in PARSERS)) fail(`unknown parser: ${parserName}`);
const names = wanted === "all" ? Object.keys(SCENARIOS) : wanted.split(",");
const client = await import(CLIENTS[version]);
const io = client.io ?? client.default; // 1.x and 2.x export a function
const parser = PARSERS[parserName] && (await import(PARSERS[parserName]));
let allWell = true;
for (const name of names) {
  const scenario = SCENARIOS[name] ?? DRIVEN[name] ?? LEGACY[name];
  if (scenario === undefined) fail(`unknown scenario: ${name}`);
  allWell = (await run(name, scenario, new Sockets(io, url, transport, parser))) && allWell;
}
process.exit(allWell ? 0 : 1);
