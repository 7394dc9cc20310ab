// What is sent is what arrives: text, every kind of JSON, binary, large messages.

import assert from "node:assert/strict";
import { createHash } from "node:crypto";
import { Inbox, once, request } from "../sockets.mjs";

const TEXTS = [
  "",
  "hello",
  'quotes " and \\ backslashes, /slashes/',
  "tab\tnewline\nreturn\r nul\u0000 escape\u001b del\u007f",
  "separators of the polling payload: \u001e and again \u001e\u001e",
  "\u2028 and \u2029 end a line in old JavaScript",
  "Grüße, Привет, שלום, नमस्ते, 你好, こんにちは, 안녕",
  "😀 👩‍👩‍👧‍👦 🏳️‍🌈 🇺🇳 e\u0301 \u202eright to left\u202c",
  "\ufeffbyte order mark, \uffff and \ufffd",
  '42["echo","a packet in a string"]',
  "b64",
];

const VALUES = [
  0, -0.5, 1.5e-7, 2 ** 53 - 1, -(2 ** 53 - 1), true, false, null, [], {}, [[[[]]]],
  { a: { b: { c: [1, "2", null, { d: [] }] } }, "": "empty key", "ключ 🔑": "unicode key" },
  { _placeholder: false, num: 0 },
];

/** The same value with every kind of binary shown alike. */
function plain(value) {
  if (value instanceof ArrayBuffer) return { binary: Buffer.from(value).toString("hex") };
  if (ArrayBuffer.isView(value)) {
    const { buffer, byteOffset, byteLength } = value;
    return { binary: Buffer.from(buffer, byteOffset, byteLength).toString("hex") };
  }
  if (Array.isArray(value)) return value.map(plain);
  if (value === null || typeof value !== "object") return value;
  return Object.fromEntries(Object.entries(value).map(([key, item]) => [key, plain(item)]));
}

/** What the server says it received (it adds the length) in the form of plain(). */
function described(value) {
  if (Array.isArray(value)) return value.map(described);
  if (value === null || typeof value !== "object") return value;
  if (typeof value.binary === "string" && typeof value.length === "number") {
    assert.equal(value.length, value.binary.length / 2);
    return { binary: value.binary };
  }
  return Object.fromEntries(Object.entries(value).map(([key, item]) => [key, described(item)]));
}

async function assertEchoed(socket, ...args) {
  const acknowledged = await request(socket, "echo", ...args);
  assert.deepEqual(plain(acknowledged), plain(args), "acknowledgement");
  const said = once(socket, "said");
  socket.emit("say", ...args);
  assert.deepEqual(plain(await said), plain(args), "event");
}

const counting = (length) => Buffer.from(Array.from({ length }, (_, index) => index % 256));
const digest = (bytes) => createHash("sha256").update(bytes).digest("hex");

async function text(sockets) {
  const socket = await sockets.connect();
  await assertEchoed(socket);
  await assertEchoed(socket, "one");
  await assertEchoed(socket, "one", 2, ["three"], { four: 4 }, null);
  for (const value of VALUES) await assertEchoed(socket, value);
  await assertEchoed(socket, VALUES, ...VALUES);
}

async function hugeNumbers(sockets) {
  const socket = await sockets.connect();
  for (const value of [2 ** 53, 2 ** 63, 2 ** 64, 1e21, -1e21, 1.7e308]) await assertEchoed(socket, value);
}

async function unicode(sockets) {
  const socket = await sockets.connect();
  for (const value of TEXTS) await assertEchoed(socket, value);
  await assertEchoed(socket, TEXTS, Object.fromEntries(TEXTS.map((value) => [value, value])));
}

async function unicodeTogether(sockets) {
  // Many packets of several bytes a character in one polling payload, and in one read.
  const socket = await sockets.connect();
  const said = new Inbox(socket, "said");
  for (const value of TEXTS) socket.emit("say", value);
  const received = await said.take(TEXTS.length);
  assert.deepEqual(received, TEXTS.map((value) => [value]));
}

async function loneSurrogates(sockets) {
  // JSON.stringify writes them as escapes; they are JSON, but no Unicode.
  const socket = await sockets.connect();
  const bystander = await sockets.connect();
  for (const value of ["\ud83d", "\ude00", "a\udc00z", ["\udfff"], { "\ud800": "key" }]) {
    const [answer] = await request(socket, "echo", value);
    const [sent, received] = [JSON.stringify(value), JSON.stringify(answer)];
    const replaced = sent.replace(/\\ud[89a-f]../g, "\ufffd");
    assert.ok(received === sent || received === replaced, `${sent} came back as ${received}`);
  }
  await assertEchoed(socket, "still 😀 here");
  await assertEchoed(bystander, "still here");
}

async function binary(sockets) {
  const socket = await sockets.connect();
  await assertEchoed(socket, counting(256));
  await assertEchoed(socket, Buffer.alloc(0));
  await assertEchoed(socket, counting(3), "text between", counting(1), counting(2));
  await assertEchoed(socket, { one: counting(5), list: [counting(4), { deep: [[counting(6)]] }], text: "t" });
  const ten = Array.from({ length: 10 }, (_, index) => counting(index));
  await assertEchoed(socket, { ten });
  await assertEchoed(socket, "and text after binary");
}

async function binaryKinds(sockets) {
  const socket = await sockets.connect();
  const value = {
    buffer: counting(7),
    uint8: Uint8Array.from([1, 2, 3, 255]),
    view: new Uint8Array(Uint8Array.from([9, 8, 7, 6]).buffer, 1, 2),
    words: Uint16Array.from([0x0102, 0xfffe]),
    whole: Uint8Array.from([4, 5, 6]).buffer,
    list: [new ArrayBuffer(2), "text", [Uint8Array.of(0)]],
  };
  await assertEchoed(socket, value);
}

async function binarySeenByServer(sockets) {
  const socket = await sockets.connect();
  const value = { a: [counting(16), { b: Uint8Array.of(1, 2) }], c: "text", d: Buffer.alloc(0) };
  const [seen] = await request(socket, "describe", value, counting(2));
  assert.deepEqual(described(seen), plain([value, counting(2)]));
}

async function binaryFromServer(sockets) {
  const socket = await sockets.connect();
  const sizes = [0, 1, 255, 256, 70_000, 3];
  const arrived = once(socket, "binary");
  socket.emit("make_binary", sizes);
  const [tree, last] = await arrived;
  const parts = sizes.map(counting);
  assert.ok(tree.parts.every((part) => Buffer.isBuffer(part) || part instanceof ArrayBuffer));
  const expected = [{ parts, deep: [{ first: parts[0] }, null] }, parts.at(-1)];
  assert.deepEqual(plain([tree, last]), plain(expected));
}

async function binaryMixed(sockets) {
  // Text and binary events in turns: an attachment must never meet the wrong event.
  const socket = await sockets.connect();
  const said = new Inbox(socket, "said");
  const sent = [];
  for (let number = 0; number < 60; number++) {
    const args = number % 3 === 0 ? [number] : [number, counting(number), { b: counting(2) }];
    sent.push(args.slice(0, 1 + (number % 3)));
    socket.emit("say", ...sent.at(-1));
  }
  assert.deepEqual(plain(await said.take(60)), plain(sent));
}

async function largeText(sockets) {
  const socket = await sockets.connect();
  const value = "0123456789abcdef".repeat(56_250); // 900,000 bytes
  const [answer] = await request(socket, "echo", value);
  assert.equal(digest(answer), digest(value));
  await assertEchoed(socket, "small again");
}

async function largeWideText(sockets) {
  const socket = await sockets.connect();
  const wide = "é€😀".repeat(100_000); // 900,000 bytes in UTF-8, 400,000 code units
  const [wideAnswer] = await request(socket, "echo", wide);
  assert.equal(digest(wideAnswer), digest(wide));
  await assertEchoed(socket, "small again");
}

async function largeBinary(sockets) {
  const socket = await sockets.connect();
  const value = counting(700_000); // 933,336 bytes as base64
  const [answer] = await request(socket, "echo", value);
  assert.equal(digest(Buffer.from(answer)), digest(value));
  await assertEchoed(socket, "small again");
}

async function tooLarge(sockets) {
  // Over the limit of the server: that connection ends, and nobody else's.
  const socket = await sockets.connect();
  const bystander = await sockets.connect();
  const gone = once(socket, "disconnect");
  socket.emit("echo", "x".repeat(1_100_000));
  const [reason] = await gone;
  assert.ok(["transport error", "transport close"].includes(reason), reason);
  await assertEchoed(bystander, "still here");
}

export const scenarios = {
  text,
  huge_numbers: hugeNumbers,
  unicode,
  unicode_together: unicodeTogether,
  lone_surrogates: loneSurrogates,
  binary,
  binary_kinds: binaryKinds,
  binary_seen_by_server: binarySeenByServer,
  binary_from_server: binaryFromServer,
  binary_mixed: binaryMixed,
  large_text: largeText,
  large_wide_text: largeWideText,
  large_binary: largeBinary,
  too_large: tooLarge,
};
