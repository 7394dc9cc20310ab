// The reference server, for the client of this package: node node_server.mjs; prints its port.
import { createServer } from "node:http";

import { Server } from "socket.io";

const http = createServer();
const io = new Server(http, {
  pingInterval: 300,
  pingTimeout: 300,
  connectionStateRecovery: { maxDisconnectionDuration: 10000 },
});

io.on("connection", (socket) => {
  socket.emit("welcome", socket.handshake.auth, socket.recovered);
  socket.on("echo", (...values) => {
    const answer = typeof values.at(-1) === "function" ? values.pop() : () => {};
    socket.emit("echo", ...values);
    answer(...values);
  });
  socket.on("ask me", (value, answer) => {
    socket.timeout(5000).emit("question", value, (error, ...values) => answer(error, ...values));
  });
  socket.on("count", (number) => {
    for (let at = 0; at < number; at++) socket.emit("number", at);
  });
  socket.on("drop me", () => {
    socket.conn.close();
    io.emit("missed", 1, Buffer.from([1]));
    io.emit("missed", 2);
  });
  socket.on("put me out", () => socket.disconnect());
});

io.of("/guarded").use((socket, next) => {
  if (socket.handshake.auth.token === "right") return next();
  const error = new Error("wrong token");
  error.data = { hint: [1, 2] };
  next(error);
});
io.of("/guarded").on("connection", (socket) => {
  socket.on("who", (answer) => answer(socket.id, socket.nsp.name));
});

http.listen(0, "127.0.0.1", () => console.log(http.address().port));
