// The conformance of natter-client: after any schedule of actions and faults, what it shows is what the
// server has. A schedule follows from its seed alone: `NATTER_SEED=17` runs that one again, `NATTER_SEED=1001-2000`
// others than those that are always run.

import assert from "node:assert/strict";
import { test } from "node:test";
import { inspect } from "node:util";

import { compareConversations, compareFriends, compareWindow } from "./conformance/compare.js";
import { Device, PASSWORD } from "./conformance/device.js";
import { Schedule } from "./conformance/schedule.js";
import { eventually } from "./conformance/wait.js";
import { FakeNatter } from "./fake/server.js";

const [FIRST, LAST = FIRST] = (process.env.NATTER_SEED ?? "1-1000").split("-").map(Number);
const SEEDS = Array.from({ length: LAST - FIRST + 1 }, (_, index) => FIRST + index);
const MAX_FAILURES = 5;

test(`after each of ${SEEDS.length} random schedules the client's state equals the server's`, async (t) => {
  assert.ok(SEEDS.length, `NATTER_SEED=${process.env.NATTER_SEED} says no seeds`);
  const failures = [];
  const began = performance.now();
  for (const seed of SEEDS) {
    if (failures.length >= MAX_FAILURES) break;
    const schedule = new Schedule(seed);
    try {
      await schedule.run();
    } catch (error) {
      failures.push(seed);
      t.diagnostic(`NATTER_SEED=${seed}\n${schedule.trace.join("\n")}\n${inspect(error)}`);
    }
  }
  t.diagnostic(`${((performance.now() - began) / SEEDS.length).toFixed(1)} ms a schedule`);
  assert.deepEqual(failures, [], "the seeds of the schedules that failed");
});

test("a schedule that is run again is the same, step for step", async () => {
  for (let seed = 1; seed <= 3; seed++) {
    const [one, other] = [new Schedule(seed), new Schedule(seed)];
    await one.run();
    await other.run();
    assert.ok(one.trace.length > 10);
    assert.deepEqual(other.trace, one.trace);
  }
});

test("the comparison notices whatever is wrong with what is shown", async (t) => {
  const natter = await FakeNatter.start();
  t.after(() => natter.stop());
  const { model } = natter;
  const [ada, ben] = ["ada", "ben"].map((username) => model.addUser({ username, password: PASSWORD }).id);
  const channel = model.channels.get(model.befriend(ada, ben).id);
  const device = await Device.open(natter, "ada", [channel.id]);
  t.after(() => device.client.close());
  for (const content of ["one", "two", "three"]) {
    model.send(ben, channel.id, null, { kind: "message", content, media: [], replyTo: null });
  }
  const window = await eventually(() => {
    const shown = device.windows.get(channel.id);
    compareWindow(model, channel, ada, shown);
    compareConversations(model, ada, device.conversations);
    compareFriends(model, ada, device.friends);
    return shown;
  });

  const [one, two, three] = window.messages;
  const wrongs = {
    "a message is missing": [one, three],
    "a message is shown twice": [one, two, two, three],
    "two messages are in the wrong order": [one, three, two],
    "a message has another's text": [one, { ...two, content: "three" }, three],
    "a message is shown as deleted": [one, { ...two, deleted: true }, three],
    "a status is wrong": [one, { ...two, status: "seen" }, three],
    "a message is still pending": [one, two, three, { ...three, id: null, seq: null, status: "pending" }],
    "a failed message is not at the end": [one, { ...two, id: null, seq: null, status: "failed" }, two, three],
  };
  for (const [wrong, messages] of Object.entries(wrongs)) {
    assert.throws(() => compareWindow(model, channel, ada, { ...window, messages }), assert.AssertionError, wrong);
  }
  const [info] = device.conversations.conversations;
  assert.throws(() => compareConversations(model, ada, { ...device.conversations, conversations: [] }));
  assert.throws(() =>
    compareConversations(model, ada, { ...device.conversations, conversations: [{ ...info, unread: info.unread + 1 }] }),
  );
  assert.throws(() => compareFriends(model, ada, []));
});
