// The sockets that one scenario opens: on its transport, with bounded waits, closed at its end.

import assert from "node:assert/strict";

export const TRANSPORTS = {
  polling: ["polling"],
  websocket: ["websocket"],
  upgrade: ["polling", "websocket"],
};
const WAIT_MS = 8_000;

/** Wait for one event of an emitter; resolves with the array of its arguments. */
export function once(emitter, event, ms = WAIT_MS) {
  return new Promise((resolve, reject) => {
    const expire = () => {
      emitter.off(event, arrived);
      reject(new Error(`no "${event}" within ${ms} ms`));
    };
    const timer = setTimeout(expire, ms);
    const arrived = (...args) => {
      clearTimeout(timer);
      resolve(args);
    };
    emitter.once(event, arrived);
  });
}

/** Emit and wait for the acknowledgement; resolves with the array of its arguments. */
export function request(socket, event, ...args) {
  return requestWithin(WAIT_MS, socket, event, ...args);
}

/** The same with a wait of our own: the oldest client has no socket.timeout(). */
export function requestWithin(ms, socket, event, ...args) {
  return new Promise((resolve, reject) => {
    const expire = () => reject(new Error(`"${event}" not acknowledged within ${ms} ms`));
    const timer = setTimeout(expire, ms);
    socket.emit(event, ...args, (...answer) => {
      clearTimeout(timer);
      resolve(answer);
    });
  });
}

export const pause = (ms) => new Promise((resolve) => setTimeout(resolve, ms));

/** Gathers the arguments of every event of one name, from the moment it is made. */
export class Inbox {
  constructor(socket, event) {
    this.event = event;
    this.received = [];
    this.wake = () => {};
    socket.on(event, (...args) => {
      this.received.push(args);
      this.wake();
    });
  }

  /** The first `count` events, as soon as they are here; fails if there are more by then. */
  async take(count, ms = WAIT_MS) {
    const until = Date.now() + ms;
    while (this.received.length < count) {
      const left = until - Date.now();
      const have = `${this.received.length} of ${count}`;
      if (left <= 0) throw new Error(`${have} "${this.event}" within ${ms} ms`);
      await Promise.race([new Promise((resolve) => (this.wake = resolve)), pause(left)]);
    }
    assert.equal(this.received.length, count, `too many "${this.event}"`);
    return this.received.splice(0);
  }
}

export class Sockets {
  constructor(client, url, transport) {
    this.io = client.io ?? client.default; // 1.x and 2.x export a function
    this.Engine = client.Socket ?? client.default?.Socket; // engine.io-client
    this.url = url;
    this.transport = transport;
    this.opened = [];
    this.managers = new Set();
    this.engines = [];
  }

  /** Open the transport layer alone: by engine.io-client, with a path of its own. */
  openEngine(options = {}) {
    const url = this.url.replace(/^http/, "ws");
    const transports = TRANSPORTS[this.transport];
    const engine = new this.Engine(url, { path: "/engine/", transports, ...options });
    this.engines.push(engine);
    return engine;
  }

  /** The same, and with TRANSPORT upgrade be on WebSocket before going on. */
  async connectEngine(options = {}) {
    const engine = this.openEngine(options);
    await once(engine, "open");
    if (this.transport === "upgrade") await once(engine, "upgrade");
    assert.equal(engine.transport.name, this.finalTransport());
    return engine;
  }

  /** Create a socket without waiting: for scenarios in which connecting is the question. */
  create(namespace = "/", options = {}) {
    const socket = this.io(this.url + namespace, {
      transports: TRANSPORTS[this.transport],
      forceNew: true,
      reconnection: false,
      timeout: WAIT_MS,
      ...options,
    });
    this.adopt(socket);
    return socket;
  }

  adopt(socket) {
    this.opened.push(socket);
    this.managers.add(socket.io);
  }

  /** Connect, and with TRANSPORT upgrade be on WebSocket before going on. */
  async connect(namespace = "/", options = {}) {
    const socket = this.create(namespace, options);
    await this.connected(socket);
    return socket;
  }

  async connected(socket) {
    await new Promise((resolve, reject) => {
      once(socket, "connect").then(resolve, reject);
      socket.once("connect_error", reject);
    });
    await this.settled(socket);
  }

  async settled(socket) {
    const engine = socket.io.engine;
    if (this.transport === "upgrade" && engine.transport.name !== "websocket") {
      await once(engine, "upgrade");
    }
    assert.equal(engine.transport.name, this.finalTransport());
  }

  finalTransport() {
    return this.transport === "polling" ? "polling" : "websocket";
  }

  /** Nobody left the transport that the scenario is about. */
  check() {
    for (const { engine } of this.managers) {
      if (engine?.readyState === "open") {
        assert.equal(engine.transport.name, this.finalTransport(), "transport at the end");
      }
    }
  }

  close() {
    for (const socket of this.opened) socket.disconnect();
    for (const manager of this.managers) manager.engine?.close();
    for (const engine of this.engines) engine.close();
  }
}
