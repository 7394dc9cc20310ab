// Logs one user in several times, one after the other, and prints what each client saw:
//
//     node policies.mjs CLIENT URL NAMESPACE TRANSPORT TOKEN WAY COUNT
//
// WAY is "payload" or "event". A client logs in when the one before it is in or was refused. Prints a
// list with one list of [event, ...arguments] for each client, whose last item says whether it is
// connected when nothing has happened for a while.

const [client, url, namespace, transport, token, way, count] = process.argv.slice(2);
const package_ = await import(client);
const io = package_.io ?? package_.default;
// Far longer than the clients wait before they connect again, if they do.
const STAYS_AWAY_MS = 700;
const EVENTS = ["connect", "connect_error", "disconnect", "auth/reply", "logic/error", "session/replaced"];

function plain(value) {
  return value instanceof Error ? { message: value.message, data: value.data } : value;
}

function logIn() {
  const seen = [];
  const socket = io(url + namespace, {
    auth: way === "payload" ? { token } : {},
    forceNew: true,
    transports: transport === "upgrade" ? ["polling", "websocket"] : [transport],
    reconnectionDelay: 50,
    reconnectionDelayMax: 50,
  });
  const decided = new Promise((resolve) => {
    const deciding = way === "payload" ? ["connect", "connect_error"] : ["auth/reply"];
    for (const event of EVENTS) {
      const kept = event === "disconnect" ? 1 : 9; // further details differ from client to client
      socket.on(event, (...args) => {
        seen.push([event, ...args.slice(0, kept).map(plain)]);
        if (deciding.includes(event)) resolve();
      });
    }
  });
  if (way === "event") socket.emit("auth", { userId: 7, meta: {}, token });
  return { seen, socket, decided };
}

const logins = [];
for (let number = 0; number < Number(count); number += 1) {
  const login = logIn();
  logins.push(login);
  await login.decided;
}
await new Promise((resolve) => setTimeout(resolve, STAYS_AWAY_MS));
console.log(
  JSON.stringify(logins.map(({ seen, socket }) => [...seen, [socket.connected ? "is connected" : "is not connected"]])),
);
process.exit(0);
