// Acknowledgements and their timeouts, in both directions.

import assert from "node:assert/strict";
import { Inbox, once, pause, request, requestWithin } from "../sockets.mjs";

async function fromServer(sockets) {
  const socket = await sockets.connect();
  assert.deepEqual(await request(socket, "echo"), []);
  assert.deepEqual(await request(socket, "echo", "one"), ["one"]);
  assert.deepEqual(await request(socket, "echo", 1, [2], { three: 3 }), [1, [2], { three: 3 }]);
  assert.deepEqual(await request(socket, "echo", null), [null]);
  assert.deepEqual(await request(socket, "say", "nothing is returned"), []);
  const [bytes] = await request(socket, "echo", { bytes: Buffer.from("abc") });
  assert.equal(Buffer.from(bytes.bytes).toString(), "abc");
}

async function manyAtOnce(sockets) {
  const socket = await sockets.connect();
  const numbers = Array.from({ length: 300 }, (_, index) => index);
  const answers = await Promise.all(numbers.map((number) => request(socket, "echo", number)));
  assert.deepEqual(answers, numbers.map((number) => [number]));
}

async function fromClient(sockets) {
  const socket = await sockets.connect();
  socket.on("question", (question, answer) => answer({ question, answer: 42 }));
  const [outcome] = await request(socket, "ask", "why?", 5);
  assert.deepEqual(outcome, { answer: { question: "why?", answer: 42 } });
}

async function fromClientBinary(sockets) {
  const socket = await sockets.connect();
  socket.on("question", (question, answer) => {
    const bytes = Buffer.from(question);
    answer({ twice: Buffer.concat([bytes, bytes]) });
  });
  const [outcome] = await request(socket, "ask", Buffer.from("ab"), 5);
  assert.equal(Buffer.from(outcome.answer.twice).toString(), "abab");
}

async function fromClientLate(sockets) {
  // An answer after the timeout is dropped, and the next question gets its own answer.
  const socket = await sockets.connect();
  const questions = new Inbox(socket, "question");
  const [outcome] = await request(socket, "ask", "first", 0.15);
  assert.deepEqual(outcome, { error: "timeout" });
  const [[first, answerFirst]] = await questions.take(1);
  assert.equal(first, "first");
  const second = request(socket, "ask", "second", 5);
  const [[question, answerSecond]] = await questions.take(1);
  assert.equal(question, "second");
  answerFirst("too late");
  answerSecond("in time");
  assert.deepEqual(await second, [{ answer: "in time" }]);
}

async function fromServerLate(sockets) {
  const socket = await sockets.connect();
  if (typeof socket.timeout === "function") {
    const error = await new Promise((resolve) => socket.timeout(100).emit("slow", 0.25, resolve));
    assert.match(String(error), /timed out/);
  } else {
    await assert.rejects(requestWithin(100, socket, "slow", 0.25), /not acknowledged/);
  }
  assert.deepEqual(await request(socket, "echo", "next"), ["next"]);
  await pause(200); // the late answer arrives meanwhile and must do no harm
  assert.deepEqual(await request(socket, "echo", "after"), ["after"]);
}

async function neverAcknowledged(sockets) {
  const socket = await sockets.connect();
  const unheard = requestWithin(200, socket, "nobody listens to this event", 1);
  await assert.rejects(unheard, /not acknowledged/);
  assert.deepEqual(await request(socket, "echo", "next"), ["next"]);
}

async function clientLeavesInstead(sockets) {
  // The server waits for an answer of a client that goes: the wait ends, and at once.
  const watcher = await sockets.connect();
  const socket = await sockets.connect();
  await request(watcher, "watch", socket.id);
  const ended = new Inbox(watcher, "ask_ended");
  const asked = once(socket, "question");
  socket.emit("ask_and_announce", "are you there?", 3);
  await asked;
  socket.disconnect();
  assert.deepEqual(await ended.take(1), [["closed"]]);
}

export const scenarios = {
  ack_from_server: fromServer,
  ack_many_at_once: manyAtOnce,
  ack_from_client: fromClient,
  ack_from_client_binary: fromClientBinary,
  ack_from_client_late: fromClientLate,
  ack_from_server_late: fromServerLate,
  ack_never: neverAcknowledged,
  ack_client_leaves: clientLeavesInstead,
};
