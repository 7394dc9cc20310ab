// The transport layer alone, by the official engine.io-client: what Socket.IO never shows.

import assert from "node:assert/strict";
import { Socket } from "engine.io-client";
import { TRANSPORTS, once } from "../sockets.mjs";

function open(sockets) {
  const url = sockets.url.replace(/^http/, "ws");
  return new Socket(url, { path: "/socket.io/", transports: TRANSPORTS[sockets.transport] });
}

async function handshake(sockets) {
  const engine = open(sockets);
  try {
    const shaken = once(engine, "handshake");
    const opened = once(engine, "open");
    const upgraded = sockets.transport === "upgrade" ? once(engine, "upgrade") : null;
    const [answer] = await shaken;
    await opened;
    assert.match(answer.sid, /^[A-Za-z0-9_-]{20}$/);
    assert.equal(answer.sid, engine.id);
    assert.deepEqual(answer.upgrades, sockets.transport === "websocket" ? [] : ["websocket"]);
    assert.deepEqual(
      [answer.pingInterval, answer.pingTimeout, answer.maxPayload],
      [25_000, 20_000, 1_000_000],
    );
    await upgraded;
    assert.equal(engine.transport.name, sockets.finalTransport());
    const connected = once(engine, "message");
    engine.send("0");
    const [text] = await connected;
    assert.match(text, /^0\{"sid":"[^"]+"\}$/);
    assert.notEqual(JSON.parse(text.slice(1)).sid, engine.id);
  } finally {
    engine.close();
  }
}

async function brokenPacket(sockets) {
  // No Socket.IO packet at all: the reference ends such a connection, and only that one.
  const engine = open(sockets);
  try {
    await once(engine, "open");
    if (sockets.transport === "upgrade") await once(engine, "upgrade");
    const closed = once(engine, "close");
    engine.send("no packet starts like this");
    await closed;
  } finally {
    engine.close();
  }
  await sockets.connect();
}

export const scenarios = { engine_handshake: handshake, engine_broken_packet: brokenPacket };
