// A server of Node on a Redis, with version 8 or 7 of the adapter, or an emitter:
//   node redis_node.mjs REDIS KEY 8|7|emitter
// It does what each line on its standard input says, and answers with a line. The first line that
// it prints has its port. Whatever it does not expect ends it: an exception in the adapter, too.
import { createServer } from "node:http";
import { createInterface } from "node:readline";

import { createAdapter as createAdapter8 } from "@socket.io/redis-adapter";
import { Emitter } from "@socket.io/redis-emitter";
import Redis from "ioredis";
import { createAdapter as createAdapter7 } from "redis-adapter-7";
import { Server } from "socket.io";

const [redis, key, role] = process.argv.slice(2);
const publisher = new Redis(redis);
const heard = [];

const revive = (_, value) => (value?.$binary !== undefined ? Buffer.from(value.$binary, "base64") : value);
const say = (value) =>
  console.log(
    JSON.stringify(value, (_, inner) =>
      inner?.type === "Buffer" ? { $binary: Buffer.from(inner.data).toString("base64") } : inner
    )
  );

// What is asked of a whole server or of an emitter, narrowed down to a selection.
function select(target, { rooms = [], except = [], volatile, compress, local }) {
  for (const room of rooms) target = target.to(room);
  for (const room of except) target = target.except(room);
  if (volatile) target = target.volatile;
  if (compress === false) target = target.compress(false);
  if (local) target = target.local;
  return target;
}

async function perform(all, request) {
  const target = select(all.of(request.namespace), request);
  switch (request.do) {
    case "emit":
      return target.emit(...request.arguments);
    case "ask":
      return target.timeout(request.timeout).emitWithAck(...request.arguments);
    case "fetch":
      return (await target.fetchSockets()).map(({ id, handshake, rooms, data }) => ({
        id, handshake, rooms: [...rooms], data,
      }));
    case "join":
      return target.socketsJoin(request.to);
    case "leave":
      return target.socketsLeave(request.to);
    case "disconnect":
      return target.disconnectSockets(request.close);
    case "tell":
      return all.of(request.namespace).serverSideEmit(...request.arguments);
    case "ask servers":
      return all.of(request.namespace).serverSideEmitWithAck(...request.arguments);
    case "rooms":
      return [...(await all.of(request.namespace).adapter.allRooms())];
    case "count":
      return all.of(request.namespace).adapter.serverCount();
    case "call adapter": {
      const [method, ...values] = request.arguments;
      const result = await all.of(request.namespace).adapter[method](...values);
      return result instanceof Set ? [...result] : null;
    }
    case "heard":
      return heard.splice(0);
  }
  throw new Error(`cannot ${request.do}`);
}

let all;
if (role === "emitter") {
  const emitter = new Emitter(publisher, { key });
  all = { of: (namespace) => (namespace === "/" ? emitter : emitter.of(namespace)) };
  say(0);
} else {
  const http = createServer();
  const createAdapter = role === "7" ? createAdapter7 : createAdapter8;
  all = new Server(http, { adapter: createAdapter(publisher, publisher.duplicate(), { key }) });
  for (const namespace of ["/", "/chat"]) {
    all.of(namespace).on("connection", (socket) => {
      socket.data.from = "node";
    });
    all.of(namespace).on("hello", (...values) => {
      const answer = typeof values.at(-1) === "function" ? values.pop() : () => {};
      heard.push([namespace, ...values]);
      answer({ from: "node", values });
    });
  }
  http.listen(0, "127.0.0.1", () => say(http.address().port));
}

for await (const line of createInterface({ input: process.stdin })) {
  const request = JSON.parse(line, revive);
  try {
    const result = await perform(all, request);
    say({ result: ["emit", "join", "leave", "disconnect", "tell"].includes(request.do) ? null : result });
  } catch (error) {
    say({ error: error.message, responses: error.responses });
  }
}
process.exit();
