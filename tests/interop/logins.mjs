// Users of official clients who log in again and again: node logins.mjs URLS USERS LOGINS SEED
//
// URLS are joined by commas. Clients 4.8 and 2.5 take turns, on every transport. The client before is
// still there, or leaves, or breaks its connection. The result is one line of JSON.

import { io as io4 } from "socket.io-client";
import io2 from "socket.io-client-2";
import { report } from "./report.mjs";
import { once, TRANSPORTS } from "./sockets.mjs";

const LATE_MS = 5_000;
const AT_A_TIME = 20;
const HUNG_UP = "hung up on for now";
const [urls, users, logins, seed] = [
  process.argv[2].split(","),
  ...process.argv.slice(3).map(Number),
];

let state = seed;
/** mulberry32: the same numbers for the same seed. */
function chance() {
  state = (state + 0x6d2b79f5) | 0;
  let t = Math.imul(state ^ (state >>> 15), 1 | state);
  t = (t + Math.imul(t ^ (t >>> 7), 61 | t)) ^ t;
  return ((t ^ (t >>> 14)) >>> 0) / 4294967296;
}
const choose = (list) => list[Math.floor(chance() * list.length)];

const complaints = [];
const kinds = {};
const ends = {};
let entered = 0;
let latestMs = 0;

function create(user, client) {
  const transport = choose(Object.keys(TRANSPORTS));
  const options = { transports: TRANSPORTS[transport], forceNew: true, reconnection: false };
  const url = choose(urls) + "/chat";
  const socket =
    client === "4.8"
      ? io4(url, { ...options, auth: { user } })
      : io2(url, { ...options, query: { user } });
  const kind = `${client} ${transport}`;
  kinds[kind] = (kinds[kind] ?? 0) + 1;
  const login = { socket, kind, reasons: [], gone: null };
  login.ended = new Promise((resolve) => {
    socket.on("session/replaced", ({ reason }) => login.reasons.push(reason));
    socket.on("disconnect", (reason) => {
      login.gone = reason;
      resolve();
    });
  });
  return login;
}

/** Whether it was let in; if it was not, it was hung up on, so that it would come again by itself. */
async function connected(login) {
  // While a client polls, the end of its connection is an error of its transport.
  const isLost = (error) => error?.type === "TransportError";
  const refused = new Promise((resolve, reject) => {
    login.socket.once("connect_error", (error) => (isLost(error) ? resolve(false) : reject(error)));
    login.socket.once("error", (error) =>
      isLost(error) ? resolve(false) : reject(new Error(JSON.stringify(error))),
    );
  });
  const arrived = once(login.socket, "connect", 20_000).then(() => true);
  arrived.catch(() => {}); // perhaps nobody waits for it any more
  const wasLetIn = await Promise.race([arrived, login.ended.then(() => false), refused]);
  if (wasLetIn) entered += 1;
  else if (login.gone && !login.gone.startsWith("transport ")) throw new Error(login.gone);
  return wasLetIn;
}

/** The old client of a user learns that it is out, and why. */
async function replaced(login, user) {
  const began = performance.now();
  let timer;
  const late = new Promise((resolve) => (timer = setTimeout(resolve, LATE_MS)));
  await Promise.race([login.ended, late]);
  clearTimeout(timer);
  latestMs = Math.max(latestMs, performance.now() - began);
  if (login.gone !== "io server disconnect" || login.reasons.join() !== "replaced") {
    complaints.push(`${user} ${login.kind}: ${login.gone}, told ${login.reasons.join()}`);
  }
}

const hangUp = (login) => login.socket.io.engine?.close();

/** Close the connection, and wait until that has been sent. */
async function closed(login) {
  const engine = login.socket.io.engine;
  if (!engine || engine.readyState === "closed") return;
  const end = once(engine, "close").catch((error) => complaints.push(error.message));
  engine.close();
  await end;
}

async function live(user) {
  let old = null;
  let older = null;
  for (let number = 0; number < logins; number++) {
    const how = chance();
    if (old && how < 0.15) {
      old.socket.disconnect();
    } else if (old && how < 0.3) {
      hangUp(old);
    }
    // With an upgrade under way it breaks a moment later.
    const wasIn = old && how >= 0.3 && old.socket.connected;
    const login = create(user, number % 2 ? "2.5" : "4.8");
    try {
      if (!(await connected(login))) ends[HUNG_UP] = (ends[HUNG_UP] ?? 0) + 1;
    } catch (error) {
      complaints.push(`${user} ${login.kind}: ${error.message}`);
    }
    if (wasIn && login.socket.connected) await replaced(old, user);
    if (older) hangUp(older); // long after its user has logged in anew
    [old, older] = [login, old];
  }
  old.socket.disconnect();
  for (const login of [old, older]) if (login) await closed(login);
}

/** One user after the other; there are AT_A_TIME such lanes. */
async function lane() {
  while (next < users) await live(`node${next++}`);
}

let next = 0;
await Promise.all(Array.from({ length: AT_A_TIME }, lane));
report({
  logins: users * logins,
  entered,
  kinds,
  ends,
  latest_s: latestMs / 1000,
  complaints: complaints.slice(0, 20),
});
process.exit(0);
