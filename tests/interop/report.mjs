// The lines that the caller reads, one JSON text each.

import { writeSync } from "node:fs";

export function report(line) {
  writeSync(1, `${JSON.stringify(line)}\n`); // at once: process.exit() drops what is queued
}
