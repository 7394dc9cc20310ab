// Logs in with a JavaScript client in several ways at once, and prints what each of them saw:
//
//     node identity.mjs CLIENT URL TRANSPORT CASES
//
// CLIENT is a package; CASES an object of {auth, emits, ms} by name: the payload of the CONNECT, the
// events that are emitted at once, and for how long to look on. Prints one object, by name of the case:
// a list of [event, ...arguments].

const [client, url, transport, cases] = process.argv.slice(2);
const package_ = await import(client);
const io = package_.io ?? package_.default;
const EVENTS = ["connect", "connect_error", "error", "disconnect", "auth/reply", "logic/error", "hello"];

function plain(value) {
  return value instanceof Error ? { message: value.message, data: value.data } : value;
}

async function run({ auth, emits = [], ms }) {
  const seen = [];
  const socket = io(url, {
    auth,
    forceNew: true,
    transports: [transport],
    reconnectionDelay: 20,
    reconnectionDelayMax: 50,
  });
  for (const event of EVENTS) {
    // What a client adds to the reason of a disconnect differs from client to client.
    const kept = event === "disconnect" ? 1 : 9;
    socket.on(event, (...args) => seen.push([event, ...args.slice(0, kept).map(plain)]));
  }
  socket.io.on("reconnect", () => seen.push(["reconnect"]));
  for (const args of emits) {
    socket.emit(...args, (...answer) => seen.push(["ack", args[0], ...answer]));
  }
  await new Promise((resolve) => setTimeout(resolve, ms));
  const result = [...seen, [socket.connected ? "is connected" : "is not connected"]];
  socket.close();
  return result;
}

const names = Object.entries(JSON.parse(cases));
const results = await Promise.all(names.map(async ([name, one]) => [name, await run(one)]));
console.log(JSON.stringify(Object.fromEntries(results)));
process.exit(0);
