// Compression that the client offers by itself: of WebSocket messages, and of polling answers.

import assert from "node:assert/strict";
import { Fetch } from "engine.io-client";
import { request } from "../sockets.mjs";

const LARGE = "0123456789 \u20ac ".repeat(20_000);
const BINARY = Buffer.from(LARGE);

async function assertEchoed(socket, value) {
  const [answer] = await request(socket, "echo", value);
  assert.deepEqual(answer, value);
}

async function websocket(sockets) {
  const socket = await sockets.connect("/", { perMessageDeflate: { threshold: 0 } });
  const { ws } = socket.io.engine.transport;
  assert.match(ws.extensions, /^permessage-deflate/);
  const wire = ws._socket;
  const [read, written] = [wire.bytesRead, wire.bytesWritten];
  await assertEchoed(socket, LARGE);
  await assertEchoed(socket, BINARY);
  await assertEchoed(socket, "small");
  await assertEchoed(socket, { text: LARGE, binary: BINARY });
  assert.ok(wire.bytesRead - read < LARGE.length / 10, `${wire.bytesRead - read} bytes read`);
  assert.ok(wire.bytesWritten - written < LARGE.length / 10, "sent as it is");
  for (let size = 1000; size < 1050; size++) await assertEchoed(socket, "x".repeat(size));
}

async function polling(sockets) {
  const original = globalThis.fetch;
  const codings = new Set();
  globalThis.fetch = async (...args) => {
    const response = await original(...args);
    codings.add(response.headers.get("content-encoding"));
    return response;
  };
  try {
    const socket = await sockets.connect("/", { transports: [Fetch] });
    await assertEchoed(socket, "small");
    assert.deepEqual(codings, new Set([null]));
    await assertEchoed(socket, LARGE);
    await assertEchoed(socket, "y".repeat(2000));
    assert.deepEqual(codings, new Set([null, "gzip"]));
  } finally {
    globalThis.fetch = original;
  }
}

export const scenarios = { compressed_websocket: websocket, compressed_polling: polling };
