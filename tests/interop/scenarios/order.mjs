// Nothing lost, nothing twice, nothing out of order: in bursts, and across the upgrade.

import assert from "node:assert/strict";
import { Inbox, once, pause, request } from "../sockets.mjs";

const upTo = (count) => Array.from({ length: count }, (_, index) => [index]);

async function burst(sockets) {
  const socket = await sockets.connect();
  const said = new Inbox(socket, "said");
  const answers = [];
  let last;
  for (let number = 0; number < 1000; number++) {
    socket.emit("say", number);
    last = new Promise((resolve) => {
      socket.emit("echo", number, (...answer) => {
        answers.push(answer);
        resolve();
      });
    });
  }
  await last;
  assert.deepEqual(answers, upTo(1000));
  assert.deepEqual(await said.take(1000), upTo(1000));
}

async function burstFromServer(sockets) {
  const socket = await sockets.connect();
  const received = new Inbox(socket, "burst");
  socket.emit("burst", 1000);
  assert.deepEqual(await received.take(1000), upTo(1000));
}

async function bothWaysWhileUpgrading(sockets) {
  const rounds = sockets.transport === "upgrade" ? 4 : 2; // each second one with binary
  for (let round = 0; round < rounds; round++) await oneUpgrade(sockets, round);
}

/** Both sides send from the first moment on, and until the transport has long changed. */
async function oneUpgrade(sockets, round) {
  const socket = sockets.create();
  const said = new Inbox(socket, "said");
  const ticks = new Inbox(socket, "tick");
  const binary = round % 2 === 1;
  await once(socket, "connect");
  const ticking = request(socket, "ticks", 150, 0.001);
  const settled = sockets.settled(socket);
  let upgraded = false;
  settled.then(() => (upgraded = true), () => {});
  let count = 0;
  const answers = [];
  for (let extra = 0; extra < 20; extra += upgraded ? 1 : 0) {
    for (let several = 0; several < 3; several++) {
      const number = count++;
      socket.emit("say", number, ...(binary ? [Buffer.from([number % 256])] : []));
      socket.emit("echo", number, (answer) => answers.push([answer]));
    }
    await pause(1);
    assert.ok(count < 20_000, "the upgrade never came");
  }
  await settled;
  assert.deepEqual(await ticking, [150]);
  await request(socket, "echo", "fence");
  const received = await said.take(count);
  assert.deepEqual(received.map(([number]) => [number]), upTo(count));
  if (binary) {
    for (const [number, bytes] of received) assert.equal(Buffer.from(bytes)[0], number % 256);
  }
  assert.deepEqual(answers, upTo(count));
  assert.deepEqual(await ticks.take(150), upTo(150));
  socket.disconnect();
}

export const scenarios = {
  order_of_a_burst: burst,
  order_of_a_burst_from_server: burstFromServer,
  order_while_connecting: bothWaysWhileUpgrading,
};
