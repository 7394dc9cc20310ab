// The transport layer alone: what Socket.IO never shows. The server echoes at /engine/.

import assert from "node:assert/strict";
import { Inbox, once } from "../sockets.mjs";

// Without U+001E: it ends a packet of revision 4 wherever it stands (Socket.IO's JSON escapes it).
const TEXTS = ["", "hello", "é€😀", "no length: 1:2", "\u2028\u2029", "x".repeat(70_000)];
const BYTES = [[], [0], [4, 0, 255], Array.from({ length: 1000 }, (_, index) => index % 256)];

function plain(value = "") { // an empty message has no data
  return typeof value === "string" ? value : Buffer.from(value).toString("hex");
}

async function assertEchoed(engine, messages) {
  const received = new Inbox(engine, "message");
  for (const message of messages) engine.send(message);
  const answers = await received.take(messages.length);
  assert.deepEqual(answers.map(([value]) => plain(value)), messages.map(plain));
}

async function handshake(sockets) {
  const engine = sockets.openEngine();
  const shaken = once(engine, "handshake");
  const opened = once(engine, "open");
  const upgraded = sockets.transport === "upgrade" ? once(engine, "upgrade") : null;
  const [answer] = await shaken;
  await opened;
  assert.match(answer.sid, /^[A-Za-z0-9_-]{20}$/);
  assert.equal(answer.sid, engine.id);
  assert.deepEqual(answer.upgrades, sockets.transport === "websocket" ? [] : ["websocket"]);
  assert.deepEqual([answer.pingInterval, answer.pingTimeout], [300, 20_000]);
  if (sockets.Engine.protocol > 3) assert.equal(answer.maxPayload, 1_000_000);
  await upgraded;
  assert.equal(engine.transport.name, sockets.finalTransport());
}

async function text(sockets) {
  const engine = await sockets.connectEngine();
  await assertEchoed(engine, TEXTS);
  await assertEchoed(engine, Array.from({ length: 500 }, (_, index) => `number ${index}`));
}

async function binary(sockets) {
  for (const forceBase64 of [false, true]) {
    const engine = await sockets.connectEngine({ forceBase64 });
    await assertEchoed(engine, BYTES.map((bytes) => Buffer.from(bytes)));
    await assertEchoed(engine, BYTES.flatMap((bytes, index) => [`text ${index}`, Buffer.from(bytes)]));
  }
}

async function whileUpgrading(sockets) {
  const engine = sockets.openEngine();
  const received = new Inbox(engine, "message");
  await once(engine, "open");
  const upgraded = sockets.transport === "upgrade" ? once(engine, "upgrade") : null;
  let settled = upgraded === null;
  upgraded?.then(() => (settled = true));
  let count = 0;
  for (let extra = 0; extra < 20; extra += settled ? 1 : 0) {
    engine.send(String(count++));
    await new Promise((resolve) => setTimeout(resolve, 1));
    assert.ok(count < 20_000, "the upgrade never came");
  }
  const numbers = (await received.take(count)).map(([number]) => Number(number));
  assert.deepEqual(numbers, Array.from({ length: count }, (_, index) => index));
  assert.equal(engine.transport.name, sockets.finalTransport());
}

async function heartbeat(sockets) {
  const engine = await sockets.connectEngine();
  for (let beat = 0; beat < 2; beat++) await once(engine, "pong"); // whoever sent the ping
  await assertEchoed(engine, ["still here"]);
}

async function closedByClient(sockets) {
  const [engine, watcher] = [await sockets.connectEngine(), await sockets.connectEngine()];
  const { id } = engine;
  await assertEchoed(watcher, [`watch ${id}`]);
  const told = once(watcher, "message");
  const closed = once(engine, "close");
  engine.close();
  assert.equal((await closed)[0], "forced close");
  assert.deepEqual(await told, [`${id} transport close`]);
}

async function closedByServer(sockets) {
  const engine = await sockets.connectEngine();
  const received = new Inbox(engine, "message");
  const closed = once(engine, "close");
  engine.send("close");
  assert.equal((await closed)[0], "transport close");
  await received.take(1); // what was sent before arrives first
}

async function brokenPacket(sockets) {
  // No Socket.IO packet at all: the reference ends such a connection, and only that one.
  const [engine, bystander] = [
    await sockets.connectEngine({ path: "/socket.io/" }),
    await sockets.connectEngine(),
  ];
  const closed = once(engine, "close");
  engine.send("no packet starts like this");
  await closed;
  await assertEchoed(bystander, ["still here"]);
}

async function tooLarge(sockets) {
  const [engine, bystander] = [await sockets.connectEngine(), await sockets.connectEngine()];
  const closed = once(engine, "close");
  engine.on("error", () => {});
  engine.send("x".repeat(1_100_000));
  const [reason] = await closed;
  assert.ok(["transport error", "transport close"].includes(reason), reason);
  await assertEchoed(bystander, ["still here"]);
}

export const scenarios = {
  engine_handshake: handshake,
  engine_text: text,
  engine_binary: binary,
  engine_while_upgrading: whileUpgrading,
  engine_heartbeat: heartbeat,
  engine_closed_by_client: closedByClient,
  engine_closed_by_server: closedByServer,
  engine_broken_packet: brokenPacket,
  engine_too_large: tooLarge,
};
