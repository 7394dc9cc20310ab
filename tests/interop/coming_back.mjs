// An official client with its defaults that stays until its input ends:
// node coming_back.mjs URL [TRANSPORT,TRANSPORT [PACKAGE]]
//
// It answers "roll call", and prints a line of JSON whenever it is connected, or no longer.

import { report } from "./report.mjs";

const transports = process.argv[3]?.split(",") ?? ["polling", "websocket"];
const { default: io } = await import(process.argv[4] ?? "socket.io-client");
const socket = io(process.argv[2], { transports, auth: { user: "ann" }, query: { user: "ann" } });
socket.on("connect", () => report({ connected: socket.id }));
socket.on("disconnect", (reason) => report({ lost: reason }));
socket.on("roll call", (answer) => answer());
process.stdin.on("end", () => process.exit(0)).resume();
