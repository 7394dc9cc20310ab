// weapp.socket.io as it runs in a mini program: no XMLHttpRequest, no WebSocket, only a global `wx`
// that makes socket tasks. Here the tasks are made of ws.
//
//     import("./mini_program.mjs?PACKAGE")

import { createRequire } from "node:module";
import WebSocket from "ws";

class SocketTask {
  constructor({ url, header, protocols }) {
    this.socket = new WebSocket(url, protocols ?? [], { headers: header, perMessageDeflate: false });
    this.socket.binaryType = "arraybuffer";
  }

  onOpen(listener) {
    this.socket.on("open", () => listener({ header: {} }));
  }

  onMessage(listener) {
    this.socket.on("message", (data, isBinary) => listener({ data: isBinary ? data : String(data) }));
  }

  onClose(listener) {
    this.socket.on("close", (code, reason) => listener({ code, reason: String(reason) }));
  }

  onError(listener) {
    this.socket.on("error", ({ message }) => {
      try {
        listener({ errMsg: message });
      } catch {
        // the runtime logs it and goes on: the package closes what never opened, and that throws
      }
    });
  }

  send({ data, success, fail }) {
    if (ArrayBuffer.isView(data)) throw new TypeError("data is neither a string nor an ArrayBuffer");
    this.socket.send(data, (error) => (error ? fail?.({ errMsg: error.message }) : success?.({})));
  }

  close({ code = 1000, reason = "", success } = {}) {
    this.socket.close(code, reason);
    success?.({});
  }
}

globalThis.wx = { connectSocket: (options) => new SocketTask(options) };
globalThis.window = globalThis; // what the package is bundled for

/** The bytes of programs there are ArrayBuffers, those of the scenarios Buffers and other views. */
function native(value) {
  if (ArrayBuffer.isView(value)) {
    return value.buffer.slice(value.byteOffset, value.byteOffset + value.byteLength);
  }
  if (Array.isArray(value)) return value.map(native);
  if (Object.prototype.toString.call(value) !== "[object Object]") return value;
  return Object.fromEntries(Object.entries(value).map(([key, item]) => [key, native(item)]));
}

const name = new URL(import.meta.url).search.slice(1);
const connect = createRequire(import.meta.url)(name);
const { prototype } = connect("http://127.0.0.1", { autoConnect: false }).constructor;
const { emit, ack } = prototype;
prototype.emit = function (event, ...args) {
  return emit.call(this, event, ...args.map(native));
};
prototype.ack = function (id) {
  const answer = ack.call(this, id);
  return (...args) => answer(...args.map(native));
};

export const io = connect;
