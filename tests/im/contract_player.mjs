// Plays clients of the original contract, old and new, for tests/im/contract_scene.py.
//
// Each line of standard input is an order {do, name, ...}; each line of standard output is something
// that was seen: {name, saw: [event, ...arguments]}, or the answer to an order, {done, result, error}.

import readline from "node:readline";
import { io as io4 } from "socket.io-client";
import io2 from "socket.io-client-2";
import { ImClient } from "../../spec/guide/im_client.mjs";

const EVENTS = [
  "connect", "connect_error", "error", "disconnect", "auth/reply", "join/reply", "logic/error",
  "chat/rooms", "chat/users", "chat/broadcast", "signal/room", "signal/user", "signal/broadcast",
  "session/replaced", "notice",
];
const ios = { new: io4, old: io2 };
const clients = new Map();
const say = (line) => process.stdout.write(`${JSON.stringify(line)}\n`);
const plain = (value) =>
  value instanceof Error ? { message: value.message, data: value.data } : typeof value === "function" ? "ack" : value;

const orders = {
  /** A bare client: what it is sent is told as it comes. It confirms messages only if asked to. */
  open({ name, kind, url, confirms = false, options = {} }) {
    const socket = ios[kind](url, { forceNew: true, reconnection: false, ...options });
    clients.set(name, { socket });
    for (const event of EVENTS) {
      socket.on(event, (...args) => {
        const last = args[args.length - 1];
        if (confirms && typeof last === "function") last({ id: args[0]?.id });
        const kept = event === "disconnect" ? args.slice(0, 1) : args;
        say({ name, saw: [event, ...kept.map(plain)] });
      });
    }
  },
  emit({ name, args }) {
    clients.get(name).socket.emit(...args);
  },
  /** Emit, and wait for the acknowledgement. */
  ask({ name, args }) {
    const { socket } = clients.get(name);
    return new Promise((resolve) => socket.emit(...args, (...answer) => resolve(answer)));
  },
  /** Break the connection, as a lost network does. */
  cut({ name }) {
    clients.get(name).socket.io.engine.close();
  },
  transport({ name }) {
    return clients.get(name).socket.io.engine.transport.name;
  },
  id({ name }) {
    return clients.get(name).socket.id;
  },
  close({ name }) {
    const { socket } = clients.get(name);
    const manager = socket.io;
    socket.disconnect();
    manager.engine?.close();
    clients.delete(name);
  },
  /** A client with the wrapper of the guide. */
  wrap({ name, kind, url, namespace, options = {} }) {
    const onOut = ({ errmsg }) => say({ name, saw: ["out", errmsg] });
    const im = new ImClient(ios[kind], url, namespace, { forceNew: true, onOut, ...options });
    clients.set(name, { socket: im.socket, im });
    for (const event of ["chat/rooms", "chat/users"]) {
      im.on(event, (message) => say({ name, saw: [event, message] }));
    }
  },
  async wrapped({ name, call, args }) {
    try {
      return { value: (await clients.get(name).im[call](...args)) ?? null };
    } catch (error) {
      return { errcode: error.errcode ?? error.message, errmsg: error.errmsg };
    }
  },
};

readline.createInterface({ input: process.stdin }).on("line", async (line) => {
  const order = JSON.parse(line);
  try {
    say({ done: order.number, result: (await orders[order.do](order)) ?? null });
  } catch (error) {
    say({ done: order.number, error: String(error?.stack ?? error) });
  }
}).on("close", () => process.exit(0));
