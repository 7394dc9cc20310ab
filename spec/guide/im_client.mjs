// A client of the IM events: auth, join, leave, sendInRoom, sendToUser, with timeouts.
//
// It works on socket.io-client 4.x and 2.x, in browsers and in Node. Copy it into your app.
//
//     import { io } from "socket.io-client";
//     const im = new ImClient(io, "https://im.example", "/demo", { onOut: (error) => showLogin(error) });
//     im.on("chat/rooms", ({ from, meta }) => show(from, meta));
//     await im.auth({ token });
//     await im.join("r1");
//     await im.sendInRoom("r1", { text: "hello" });
//
// Every call ends: it resolves, or rejects with an ImError, within `timeoutMs`. After a reconnection
// the client logs in and joins its rooms again by itself, and so it does when the server has put it
// out, or refused it, for a while (a namespace was changed, or there were too many logins). A call
// whose connection was lost is made again, with the same id, so whoever hears messages by `on` hears
// each of them once.
//
// The client is out for good if its token has expired or was refused, if somebody has replaced or
// kicked it, or if the namespace is gone. Then `onOut` is called, and every call rejects until `auth`
// is called again, which connects again.

const KEPT_IDS = 1000;
const ROOMS_AT_ONCE = 50; // the server takes no more in one event
const SPREAD_MS = 1000; // within this time clients come back that were all put out at once
const LOST = Symbol("the connection was lost");
const LATE = Symbol("there was no answer in time");

/**
 * What the server has refused, or has not done in time: errcode is the contract's, or "timeout".
 * A call that was refused for a while may be made again after `retryAfterS` seconds.
 */
export class ImError extends Error {
  constructor(errcode, errmsg, { reason, retry_after_s } = {}) {
    super(`${errmsg} (${errcode})`);
    this.errcode = errcode;
    this.errmsg = errmsg;
    this.reason = reason;
    this.retryAfterS = retry_after_s;
  }
}

function defer() {
  const deferred = {};
  deferred.promise = new Promise((resolve, reject) => Object.assign(deferred, { resolve, reject }));
  deferred.promise.catch(() => {}); // whoever waits for it is told
  return deferred;
}

/** Wait for one of some promises, or for a time; then it is `late`. */
async function either(ms, late, ...promises) {
  let timer;
  const expired = new Promise((resolve) => (timer = setTimeout(resolve, ms, late)));
  try {
    return await Promise.race([...promises, expired]);
  } finally {
    clearTimeout(timer);
  }
}

export class ImClient {
  #timeoutMs;
  #onOut;
  #onRoomLost;
  #credentials = null; // the last that were accepted; the next connection begins with them
  #wanted = null; // what auth was called with that has not been answered yet: { credentials, answer }
  #asked = null; // the question to which an answer is on its way
  #isIn = false; // whether the server knows who we are
  #isOut = false; // whether nothing happens until auth is called
  #entered = defer(); // resolves when we are in, rejects when we are out for good
  #lost = defer(); // resolves when the connection is lost
  #refusal = null; // what logic/error said since the last answer
  #rooms = new Map(); // those that we are in; each has a deferred that resolves when we are back in it
  #listeners = new Map(); // by event: a list of { listener, heard }, the ids that it has heard

  /**
   * `io` is the function of socket.io-client. The options are its own, and these:
   * timeoutMs: within this time every call ends;
   * onOut(error): we are out for good, until auth is called;
   * onRoomLost(roomId, error): a room cannot be joined again after a reconnection.
   */
  constructor(io, url, namespace, { timeoutMs = 5000, onOut, onRoomLost, ...options } = {}) {
    this.#timeoutMs = timeoutMs;
    this.#onOut = onOut;
    this.#onRoomLost = onRoomLost;
    this.namespace = namespace.startsWith("/") ? namespace : `/${namespace}`;
    this.socket = io(url + this.namespace, options);
    this.socket.on("connect", () => this.#ask());
    this.socket.on("logic/error", (error) => (this.#refusal = error));
    this.socket.on("session/replaced", ({ reason }) => {
      this.#refusal = { errcode: -1, errmsg: `the session was ended: ${reason}`, reason };
    });
    this.socket.on("disconnect", (reason) => this.#lose(reason));
    this.socket.on("connect_error", (error) => {
      if (this.socket.active === false) this.#end({ errmsg: error.message, ...error.data }); // else it tries again
    });
    this.socket.on("error", (error) => this.#end(error?.errmsg ? error : { errmsg: String(error) })); // that of 2.x
  }

  /**
   * Say who we are: `{ token }`, or `{ userId, meta, token }` for DES tokens; again to renew it, or to
   * come back. If another token is refused while we are in, we stay in, with the one that we had.
   */
  auth(credentials) {
    const wanted = { credentials, answer: defer() };
    this.#wanted?.answer.resolve(wanted.answer.promise); // whoever waited for an earlier one goes on waiting
    this.#wanted = wanted;
    if (this.socket.connected) this.#ask();
    else if (this.#isOut) this.#connect(0);
    return this.#within("auth", () => wanted.answer.promise);
  }

  /** Join rooms; they are joined again after a reconnection. */
  async join(...rooms) {
    for (const some of split(rooms)) {
      await this.#request("join", { rooms: some.map((roomId) => ({ roomId })) });
      for (const room of some) if (!this.#rooms.has(room)) this.#rooms.set(room, arrived());
    }
  }

  async leave(...rooms) {
    for (const room of rooms) this.#forget(room);
    for (const some of split(rooms)) {
      await this.#request("leave", { rooms: some.map((roomId) => ({ roomId })) });
    }
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
    this.#refusal = { errmsg: "the client was closed" };
    this.socket.disconnect();
    this.#end({ errmsg: "the client was closed" }, { isTold: false }); // if it was not connected
  }

  /** Connect again, unless something else happens first. */
  #connect(afterMs) {
    this.#comeIn();
    const entered = this.#entered;
    setTimeout(() => {
      if (this.#entered === entered && !this.#isOut && !this.socket.connected) this.socket.connect();
    }, afterMs);
  }

  /** We are not out for good any more: calls wait until we are in. */
  #comeIn() {
    if (this.#isOut) this.#entered = defer();
    this.#isOut = false;
  }

  /** Tell the server who we are, or who we want to be, unless it is judging that already. */
  #ask() {
    if (this.#asked !== null) return;
    const asked = this.#wanted ?? { credentials: this.#credentials, answer: defer() };
    if (asked.credentials === null || (this.#isIn && this.#wanted === null)) return;
    this.#comeIn(); // the app may have connected by itself
    this.#asked = asked;
    this.#refusal = null;
    this.socket.emit("auth", asked.credentials, (reply) => {
      if (this.#asked === asked) this.#receiveReply(asked, reply);
    });
  }

  #receiveReply(asked, reply) {
    if (reply.errcode !== 0 && !this.#isIn) {
      this.#refusal = reply; // and the server disconnects us
      return;
    }
    this.#asked = null;
    if (this.#wanted === asked) this.#wanted = null;
    if (reply.errcode !== 0) {
      asked.answer.reject(toError(reply));
    } else {
      this.#credentials = asked.credentials;
      if (!this.#isIn) this.#enter();
      asked.answer.resolve();
    }
    if (this.#wanted !== null) this.#ask();
  }

  #enter() {
    this.#isIn = true;
    for (const room of this.#rooms.keys()) this.#rooms.set(room, defer());
    this.#joinAgain([...this.#rooms.keys()]); // before anything that waits
    this.#entered.resolve();
  }

  /** Join our rooms again: those that are refused for good are lost, and all others joined in the end. */
  async #joinAgain(rooms) {
    const lost = this.#lost.promise;
    const waiting = split(rooms);
    while (waiting.length > 0) {
      const some = waiting.shift().filter((room) => this.#rooms.has(room)); // we may have left
      if (some.length === 0) continue;
      const asked = this.#emit("join", { rooms: some.map((roomId) => ({ roomId })) });
      const answer = await either(this.#timeoutMs, LATE, asked, lost);
      if (answer === LOST) return; // the next connection begins anew
      if (answer?.errcode === 0) {
        for (const room of some) this.#rooms.get(room)?.resolve();
      } else if (answer === LATE || answer?.retry_after_s !== undefined) {
        waiting.unshift(some);
        if ((await either((answer.retry_after_s ?? 0) * 1000, LATE, lost)) === LOST) return;
      } else if (some.length > 1) {
        waiting.unshift(...split(some, Math.ceil(some.length / 2))); // to find which of them it is
      } else {
        this.#forget(some[0]);
        this.#onRoomLost?.(some[0], toError(answer));
      }
    }
  }

  #forget(room) {
    this.#rooms.get(room)?.resolve(); // whoever waits sends, and is told that we are not in it
    this.#rooms.delete(room);
  }

  #lose(reason) {
    const refusal = this.#refusal ?? { errmsg: reason };
    const [asked, wanted] = [this.#asked, this.#wanted];
    const isRefused = !this.#isIn && asked !== null && asked === wanted; // what auth was called with
    this.#asked = this.#refusal = null;
    if (this.#isIn) this.#entered = defer(); // for the next connection
    this.#isIn = false;
    this.#lost.resolve(LOST);
    this.#lost = defer();
    if (reason !== "io server disconnect") {
      // socket.io-client connects again by itself, unless it was told to disconnect
      if (reason === "io client disconnect") this.#end(refusal, { isTold: false });
    } else if (wanted !== null && wanted !== asked) {
      this.#connect(0); // with what auth was called with meanwhile
    } else if (isRefused && this.#credentials !== null) {
      wanted.answer.reject(toError(refusal));
      this.#wanted = null;
      this.#connect(0); // with what was accepted before
    } else if (refusal.retry_after_s !== undefined && !isRefused) {
      this.#connect(refusal.retry_after_s * 1000 + Math.random() * SPREAD_MS);
    } else {
      this.#end(refusal);
    }
  }

  /** We are out for good. */
  #end(told, { isTold = true } = {}) {
    if (this.#isOut) return;
    const error = toError(told);
    this.#isOut = true;
    this.#credentials = null;
    this.#wanted?.answer.reject(error);
    this.#wanted = null;
    this.#entered.reject(error);
    if (isTold) this.#onOut?.(error);
  }

  async #send(event, target, meta, id = makeId()) {
    const msg = { ver: "1.0.0", meta: JSON.stringify(meta), evt: event, id };
    const payload = [{ nspName: this.namespace, ...target, msg }];
    const answer = await this.#request(event, payload, target.roomId);
    return answer.ids?.[0] ?? id;
  }

  /** Emit an event, and wait for its answer; once we are in, and in its room again if it has one. */
  #request(event, payload, room) {
    return this.#within(event, async (isOver) => {
      let answer = LOST;
      while (answer === LOST) {
        await this.#entered.promise;
        const lost = this.#lost.promise;
        if ((await Promise.race([this.#rooms.get(room)?.promise, lost])) === LOST) continue;
        if (isOver()) return undefined; // it was given up while it waited, so it is not sent
        answer = await Promise.race([this.#emit(event, payload), lost]);
      }
      if (answer?.errcode !== 0) throw toError(answer ?? {});
      return answer;
    });
  }

  #emit(event, payload) {
    return new Promise((resolve) => {
      this.socket.emit(event, payload, (answer) => {
        this.#refusal = null; // it was about this event, or is older
        resolve(answer);
      });
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

const toError = (told) => new ImError(told.errcode ?? -1, told.errmsg ?? JSON.stringify(told), told);

const makeId = () => globalThis.crypto?.randomUUID?.() ?? `${Date.now()}-${Math.random()}`;

/** Split a list into lists that are not longer than `most`. */
function split(all, most = ROOMS_AT_ONCE) {
  const parts = [];
  for (let at = 0; at < all.length; at += most) parts.push(all.slice(at, at + most));
  return parts;
}

function arrived() {
  const deferred = defer();
  deferred.resolve();
  return deferred;
}

/** Old clients send meta as the text of a JSON value. */
function readMeta(message) {
  if (typeof message?.meta !== "string") return message;
  try {
    return { ...message, meta: JSON.parse(message.meta) };
  } catch {
    return message;
  }
}
