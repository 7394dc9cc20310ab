// What arrives in JavaScript: reads lines of JSON, each a packet as {"parser", "text", "attachments"},
// decodes them with the reference's parsers, and prints what the event's first argument is:
// {"type", "json"}. Binary shows in json as {"$bytes": base64}.

import { createInterface } from "node:readline";
import * as msgpackParser from "socket.io-msgpack-parser";
import * as jsonParser from "socket.io-parser";

const PARSERS = { json: jsonParser, msgpack: msgpackParser.default ?? msgpackParser };

function nameOf(value) {
  if (value === null) return "null";
  return typeof value === "object" ? value.constructor.name : typeof value;
}

function show(value) {
  if (Buffer.isBuffer(value)) return { $bytes: value.toString("base64") };
  if (Array.isArray(value)) return value.map(show);
  if (Number.isNaN(value) || value === Infinity || value === -Infinity) return `${value}`;
  if (value === null || typeof value !== "object") return value;
  return Object.fromEntries(Object.entries(value).map(([key, inner]) => [key, show(inner)]));
}

for await (const line of createInterface({ input: process.stdin })) {
  const { parser, text, attachments } = JSON.parse(line);
  const decoder = new PARSERS[parser].Decoder();
  const packets = [];
  decoder.on("decoded", (packet) => packets.push(packet));
  if (text) decoder.add(text);
  for (const attachment of attachments) decoder.add(Buffer.from(attachment, "base64"));
  const [packet] = packets;
  const value = packet.data.at(-1);
  console.log(JSON.stringify({ type: nameOf(value), json: show(value) }));
}
