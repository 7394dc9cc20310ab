// Has two sockets on one connection: one in an open namespace, and one that is refused in another.
//
//     node two_sockets.mjs CLIENT URL TRANSPORT TOKEN
//
// A client 2.x sends its token as the event auth, a client 4.x in the payload of its CONNECT. Prints
// [socket, event, ...arguments] as they come, for as long as a client would need that connects again.

const [client, url, transport, token] = process.argv.slice(2);
const package_ = await import(client);
const Manager = package_.Manager ?? package_.default.Manager;
const seen = [];
const manager = new Manager(url, {
  path: "/socket.io",
  transports: [transport],
  reconnectionDelay: 20,
  reconnectionDelayMax: 50,
});
for (const event of ["reconnect_attempt", "reconnect"]) {
  manager.on(event, () => seen.push(["manager", event]));
}
const open = manager.socket("/");
const closed = manager.socket("/chat", { auth: { token } });
for (const [name, socket] of [["open", open], ["closed", closed]]) {
  socket.on("connect", () => seen.push([name, "connect"]));
  socket.on("connect_error", (error) => seen.push([name, "connect_error", error.data.errcode]));
  socket.on("error", (error) => seen.push([name, "error", error]));
  socket.on("logic/error", (error) => seen.push([name, "logic/error", error.errcode]));
  socket.on("disconnect", (reason) => seen.push([name, "disconnect", reason]));
}
if (client !== "socket.io-client") {
  closed.on("connect", () => closed.emit("auth", { token }));
}
await new Promise((resolve) => setTimeout(resolve, 2500));
console.log(JSON.stringify(seen));
process.exit(0);
