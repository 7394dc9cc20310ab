// What the tests have a page do, with the `io` that it loaded. Functions give what they saw; binary
// is shown as hexadecimal text.

const WAIT_MS = 10_000;

const within = (what, promise, ms = WAIT_MS) =>
  Promise.race([
    promise,
    new Promise((_, reject) => setTimeout(() => reject(new Error(`no ${what} in ${ms} ms`)), ms)),
  ]);

/** Wait for an event; resolves with the array of its arguments. */
const once = (emitter, event) =>
  within(`"${event}"`, new Promise((resolve) => emitter.once(event, (...args) => resolve(args))));

/** Emit and wait for the answer; resolves with the array of its arguments. */
const request = (socket, event, ...args) =>
  within(
    `answer to "${event}"`,
    new Promise((resolve) => socket.emit(event, ...args, (...answer) => resolve(answer))),
  );

const hex = (buffer) =>
  Array.from(new Uint8Array(buffer), (byte) => byte.toString(16).padStart(2, "0")).join("");

function show(value) {
  if (value instanceof ArrayBuffer) return { binary: hex(value), length: value.byteLength };
  if (Array.isArray(value)) return value.map(show);
  if (value === null || typeof value !== "object") return value;
  return Object.fromEntries(Object.entries(value).map(([key, item]) => [key, show(item)]));
}

/** Put a script into the page, as its author would; it is there when this resolves. */
function loadScript(url) {
  const script = document.createElement("script");
  script.src = url;
  const loaded = new Promise((resolve, reject) => {
    script.onload = () => resolve();
    script.onerror = () => reject(new Error(`${url} was not loaded`));
  });
  document.head.append(script);
  return within(url, loaded);
}

async function loadModule(url) {
  globalThis.io = (await within(url, import(url))).io;
}

/** Connect; an upgrade is waited for. Resolves with the socket, which knows its `transports`. */
async function connect(url, options = {}) {
  const socket = io(url, { forceNew: true, reconnection: false, ...options });
  const { transports = ["polling", "websocket"] } = options;
  socket.transports = [];
  socket.io.on("open", () => {
    const { engine } = socket.io;
    socket.transports.push(engine.transport.name);
    engine.on("upgrade", (transport) => socket.transports.push(transport.name));
  });
  const connected = once(socket, "connect");
  const refused = new Promise((_, reject) => socket.once("connect_error", reject));
  await Promise.race([connected, refused]);
  if (transports.length > 1) await settled(socket);
  return socket;
}

async function settled(socket) {
  if (socket.io.engine.transport.name !== "websocket") await once(socket.io.engine, "upgrade");
}

/** How a connection is refused; fails if it is not. */
async function refusal(url, options) {
  const socket = io(url, { forceNew: true, reconnection: false, ...options });
  socket.on("connect", () => console.error("connected"));
  const [error] = await once(socket, "connect_error");
  return error.message;
}

/** Text, binary and answers, in both directions. */
async function exchange(url, options) {
  const socket = await connect(url, options);
  const bytes = new Uint8Array([0, 1, 254, 255]); // clients 2.x see binary in its buffer only
  socket.on("question", (question, answer) => answer(show(question), bytes.buffer));
  const made = once(socket, "binary");
  socket.emit("make_binary", [2, 3]);
  const seen = {
    echo: await request(socket, "echo", "é€😀", { deep: [1, null, true] }),
    large: (await request(socket, "echo", "x".repeat(200_000)))[0].length,
    binary: show(await request(socket, "echo", bytes, { buffer: bytes.buffer, after: "text" })),
    kinds: (
      await request(socket, "describe", bytes.subarray(2), new Blob(["blob"]), new File(["f"], "f"))
    )[0],
    asked: show(await request(socket, "ask", { from: ["page", bytes.buffer] }, 5)),
    made: show(await made),
    transports: socket.transports,
    deflate: Boolean(socket.io.engine.transport.ws?.extensions.startsWith("permessage-deflate")),
  };
  socket.disconnect();
  return seen;
}

/** The server drops the connection; the socket is back by itself, with what was emitted meanwhile. */
async function reconnect(url, options) {
  const socket = await connect(url, { reconnection: true, reconnectionDelay: 50, ...options });
  const first = socket.id;
  const gone = once(socket, "disconnect");
  socket.emit("drop_me");
  const [reason] = await gone;
  const back = once(socket, "connect");
  const late = request(socket, "echo", "while away");
  await back;
  await settled(socket);
  const seen = {
    reason,
    late: await late,
    another: socket.id !== first,
    transports: socket.transports,
  };
  socket.disconnect();
  return seen;
}

/** The server drops the connection; the socket is restored, with what its room was told meanwhile. */
async function recover(url) {
  const other = await connect(url);
  const socket = await connect(url);
  const { id } = socket;
  await request(socket, "join", "recovering");
  const gone = once(socket, "disconnect");
  socket.emit("drop_me");
  await gone;
  await request(other, "to_room", "recovering", "missed", new Uint8Array([7]));
  const missed = once(socket, "room");
  socket.connect();
  await once(socket, "connect");
  const [what, bytes] = await missed; // and an offset, which the client keeps
  const next = once(socket, "room");
  await request(other, "to_room", "recovering", "next");
  const seen = {
    recovered: socket.recovered,
    same: socket.id === id,
    missed: show([what, bytes]),
    next: (await next)[0],
  };
  for (const each of [socket, other]) each.disconnect();
  return seen;
}


/** Two visits, one after the other: what the second one brings. */
async function visitTwice(url, options) {
  const first = await connect(url, options);
  const sid = first.io.engine.id;
  first.disconnect();
  const second = await connect(url, options);
  const seen = {
    sid,
    cookie: (await request(second, "header", "cookie"))[0] ?? null,
    origin: (await request(second, "header", "origin"))[0],
    transports: second.transports,
  };
  second.disconnect();
  return seen;
}

/** A header of our own makes the browser ask first whether it may be sent. */
async function sendHeader(url, name, value) {
  const socket = await connect(url, {
    transports: ["polling"],
    withCredentials: true,
    extraHeaders: { [name]: value },
  });
  const [seen] = await request(socket, "header", name);
  socket.disconnect();
  return seen;
}
