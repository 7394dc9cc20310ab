// Dynamic namespaces, broadcasts that ask, and middleware of events.

import assert from "node:assert/strict";
import { Inbox, once, request, requestWithin } from "../sockets.mjs";

async function dynamicNamespaces(sockets) {
  const first = await sockets.connect("/room-1");
  const second = await sockets.connect("/room-2");
  assert.deepEqual(await request(first, "where"), ["/room-1"]);
  assert.deepEqual(await request(second, "where"), ["/room-2"]);
  const heard = [first, second].map((socket) => once(socket, "all"));
  assert.deepEqual(await request(first, "to all rooms", "hello"), [true]);
  assert.deepEqual(await Promise.all(heard), [["hello"], ["hello"]]);
  const nowhere = first.io.socket("/room-x");
  sockets.adopt(nowhere);
  const told = ["connect_error", "error"].map((event) => once(nowhere, event)); // "error" before 3.0
  const [error] = await Promise.race(told);
  assert.equal(error.message ?? error, "Invalid namespace");
}

async function gatheredAcks(sockets) {
  const room = `poll ${Math.random()}`;
  const [asker, yes, no] = await Promise.all([1, 2, 3].map(() => sockets.connect()));
  await Promise.all([yes, no].map((socket) => request(socket, "join", room)));
  yes.on("question", (question, answer) => answer({ vote: question, bytes: Buffer.from("y") }));
  const unanswered = new Inbox(no, "question");
  const late = await requestWithin(5000, asker, "poll", room, "late?", 0.2);
  assert.equal(late[0].missing, true);
  assert.deepEqual(late[0].answers.map((answer) => answer.vote), ["late?"]);
  const [[, answerLate]] = await unanswered.take(1);
  answerLate("ignored");
  const poll = request(asker, "poll", room, "now?", 5);
  const [[, answer]] = await unanswered.take(1);
  answer({ vote: "no" });
  const [{ answers, missing }] = await poll;
  assert.equal(missing, false);
  assert.deepEqual(answers.map(({ vote }) => vote).sort(), ["no", "now?"]);
}

async function eventMiddleware(sockets) {
  const socket = await sockets.connect("/guarded");
  assert.deepEqual(await request(socket, "say", "fine"), ["fine, checked"]);
  await assert.rejects(requestWithin(200, socket, "say", "forbidden"), /not acknowledged/);
  assert.deepEqual(await request(socket, "say", "again"), ["again, checked"]);
}

export const scenarios = {
  dynamic_namespaces: dynamicNamespaces,
  gathered_acks: gatheredAcks,
  event_middleware: eventMiddleware,
};
