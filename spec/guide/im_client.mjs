// A client of the IM events: auth, join, leave, sendInRoom, sendToUser, with timeouts.
//
// It works on socket.io-client 4.x and 2.x, in browsers and in Node. Copy it into your app.
//
//     import { io } from "socket.io-client";
//     const im = new ImClient(io, "https://im.example", "/demo");
//     im.on("chat/rooms", ({ from, meta }) => show(from, meta));
//     await im.auth({ token });
//     await im.join("r1");
//     await im.sendInRoom("r1", { text: "hello" });
//
// Every call ends: it resolves, or rejects with an ImError, within `timeoutMs`. After a reconnection
// the client authenticates and joins its rooms again by itself. A call whose connection was lost is
// made again, with the same id, so whoever hears messages by `on` hears each of them once.

const KEPT_IDS = 1000;
const LOST = Symbol("the connection was lost");

/** What the server has refused, or has not done in time: errcode is the contract's, or "timeout". */
export class ImError extends Error {
  constructor(errcode, errmsg) {
    super(`${errmsg} (${errcode})`);
    this.errcode = errcode;
    this.errmsg = errmsg;
  }
}

function defer() {
  const deferred = {};
  deferred.promise = new Promise((resolve, reject) => Object.assign(deferred, { resolve, reject }));
  deferred.promise.catch(() => {}); // whoever waits for it is told
  return deferred;
}

export class ImClient {
  #timeoutMs;
  #credentials = null;
  #entered = defer(); // resolves when the server knows who we are
  #lost = defer(); // resolves when the connection is lost
  #refusal = null; // what logic/error said since the last answer
  #rooms = new Set();
  #listeners = new Map(); // by event: a list of { listener, heard }, the ids that it has heard

  /** `io` is the function of socket.io-client; options are its own, and timeoutMs. */
  constructor(io, url, namespace, { timeoutMs = 5000, ...options } = {}) {
    this.#timeoutMs = timeoutMs;
    this.namespace = namespace.startsWith("/") ? namespace : `/${namespace}`;
    this.socket = io(url + this.namespace, options);
    this.socket.on("connect", () => this.#authenticate());
    this.socket.on("auth/reply", (reply) => this.#receiveReply(reply));
    this.socket.on("logic/error", (error) => (this.#refusal = error));
    this.socket.on("disconnect", (reason) => this.#lose(reason));
    this.socket.on("connect_error", (error) => {
      if (this.socket.active === false) this.#refuse(error.data, error.message); // else it tries again
    });
    this.socket.on("error", (error) => this.#refuse(error, String(error))); // that of 2.x
  }

  /** Say who we are: `{ token }`, or `{ userId, meta, token }` for DES tokens; again to renew it. */
  auth(credentials) {
    this.#credentials = credentials;
    if (this.socket.connected) this.#authenticate();
    return this.#within("auth", () => this.#entered.promise);
  }

  /** Join rooms; they are joined again after a reconnection. */
  async join(...rooms) {
    await this.#request("join", { rooms: rooms.map((roomId) => ({ roomId })) });
    for (const room of rooms) this.#rooms.add(room);
  }

  async leave(...rooms) {
    for (const room of rooms) this.#rooms.delete(room);
    await this.#request("leave", { rooms: rooms.map((roomId) => ({ roomId })) });
  }

  /** Send to a room that we are in. Returns the id; after a timeout, send again with the same one. */
  sendInRoom(roomId, meta, id) {
    return this.#send("chat/rooms", { roomId }, meta, id);
  }

  sendToUser(userId, meta, id) {
    return this.#send("chat/users", { userId }, meta, id);
  }

  /**
   * Hear messages, each once: a message is confirmed once all listeners of its event have returned.
   * If one throws, the message is not confirmed, and that listener hears it again.
   */
  on(event, listener) {
    const own = { listener, heard: new Set() };
    if (this.#listeners.has(event)) return void this.#listeners.get(event).push(own);
    const all = [own];
    this.#listeners.set(event, all);
    this.socket.on(event, (message, ...rest) => {
      const confirm = rest.find((argument) => typeof argument === "function");
      const failures = all.map((one) => show(one, message)).filter((failure) => failure !== null);
      if (failures.length > 0) throw failures[0].error;
      confirm?.({ errcode: 0, id: message?.id });
    });
  }

  close() {
    this.#credentials = null;
    this.socket.disconnect();
  }

  #authenticate() {
    if (this.#credentials === null) return;
    const before = this.#entered;
    this.#entered = defer();
    before.resolve(this.#entered.promise); // whoever waited goes on waiting
    this.#refusal = null;
    this.socket.emit("auth", this.#credentials);
  }

  #receiveReply({ errcode, errmsg }) {
    if (errcode !== 0) return this.#entered.reject(new ImError(errcode, errmsg));
    const rooms = [...this.#rooms].map((roomId) => ({ roomId }));
    if (rooms.length > 0) this.socket.emit("join", { rooms }); // before anything that waits
    this.#entered.resolve();
  }

  #refuse(told, message) {
    this.#entered.reject(new ImError(told?.errcode ?? -1, told?.errmsg ?? message));
  }

  #lose(reason) {
    const isFinal = reason === "io server disconnect" || reason === "io client disconnect";
    const { errcode, errmsg } = this.#refusal ?? { errcode: -1, errmsg: reason };
    this.#refusal = null;
    this.#entered.reject(new ImError(errcode, errmsg));
    this.#entered = defer(); // for the next connection
    this.#lost.resolve(LOST);
    this.#lost = defer();
    if (isFinal) this.#entered.reject(new ImError(errcode, errmsg));
  }

  async #send(event, target, meta, id = makeId()) {
    const msg = { ver: "1.0.0", meta: JSON.stringify(meta), evt: event, id };
    const answer = await this.#request(event, [{ nspName: this.namespace, ...target, msg }]);
    return answer.ids?.[0] ?? id;
  }

  #request(event, payload) {
    return this.#within(event, async (isOver) => {
      let answer = LOST;
      while (answer === LOST) {
        await this.#entered.promise;
        if (isOver()) return undefined; // it was given up while it waited, so it is not sent
        const acknowledged = new Promise((resolve) => this.socket.emit(event, payload, resolve));
        answer = await Promise.race([acknowledged, this.#lost.promise]);
      }
      this.#refusal = null; // it was about this event, or is older
      const { errcode, errmsg } = answer ?? {};
      if (errcode !== 0) throw new ImError(errcode ?? -1, errmsg ?? JSON.stringify(answer));
      return answer;
    });
  }

  #within(what, work) {
    const { promise, resolve, reject } = defer();
    let isOver = false;
    const timer = setTimeout(() => {
      isOver = true;
      reject(new ImError("timeout", `${what}: no answer within ${this.#timeoutMs} ms`));
    }, this.#timeoutMs);
    work(() => isOver).then(resolve, reject);
    return promise.finally(() => clearTimeout(timer));
  }
}

/** Show a message to a listener that has not heard it. Returns null, or { error } if it throws. */
function show({ listener, heard }, message) {
  const id = message?.id;
  if (id && heard.has(id)) return null;
  try {
    listener(readMeta(message));
  } catch (error) {
    return { error };
  }
  if (id) heard.add(id);
  if (heard.size > KEPT_IDS) heard.delete(heard.values().next().value);
  return null;
}

const makeId = () => globalThis.crypto?.randomUUID?.() ?? `${Date.now()}-${Math.random()}`;

/** Old clients send meta as the text of a JSON value. */
function readMeta(message) {
  if (typeof message?.meta !== "string") return message;
  try {
    return { ...message, meta: JSON.parse(message.meta) };
  } catch {
    return message;
  }
}
