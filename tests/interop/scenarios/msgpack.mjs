// Values as socket.io-msgpack-parser carries them; needs a server with --parser msgpack.

import assert from "node:assert/strict";
import { request } from "../sockets.mjs";

const bytes = (...values) => Uint8Array.from(values).buffer;
const long = (size) => Uint8Array.from({ length: size }, (_, at) => at % 256).buffer;

async function msgpack_values(sockets) {
  const socket = await sockets.connect();
  const same = [
    0, -1, 127, 128, 255, 256, 65535, 65536, 2 ** 32, 2 ** 53 - 1, -32, -33, -129, -32769,
    -(2 ** 31) - 1, -(2 ** 53) + 1, 0.5, -1e-300, NaN, Infinity, -Infinity, null, true, false,
    "", "é".repeat(20), "😀", "x".repeat(70000), [], {}, { a: [{ b: null }] }, [[[]]],
    Array.from({ length: 70000 }, (_, at) => at % 3), Buffer.from([0xc7, 1, 0, 9]),
    Object.fromEntries(Array.from({ length: 300 }, (_, at) => [`key ${at}`, at])),
  ];
  for (const value of same) assert.deepEqual(await request(socket, "echo", value), [value]);
  const date = new Date(1577934245678);
  const changed = [
    [undefined, null],
    [{ a: undefined }, { a: null }],
    [date, date.toJSON()],
    [new Date(-1), new Date(-1).toJSON()],
    ...[bytes(), bytes(0), bytes(7), long(8), long(300), long(70000)].map((buffer) => [
      buffer,
      Buffer.from(buffer),
    ]),
  ];
  for (const [value, answer] of changed) {
    assert.deepEqual(await request(socket, "echo", value), [answer]);
    assert.deepEqual(await request(socket, "echo", [value, [1]]), [[answer, [1]]]);
  }
}

export const scenarios = { msgpack_values };
