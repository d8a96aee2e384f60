// The story of two friends with natter-client against a real Natter (the one at `NATTER_URL`, if that is
// set): after each part the state is read back over plain HTTP and compared with what the clients show.

import assert from "node:assert/strict";
import { after, before, test } from "node:test";

import { Person } from "./conformance/person.js";
import { RealSchedule } from "./conformance/real-schedule.js";
import { eventually, within } from "./conformance/wait.js";
import { Natter } from "./support/natter.js";

let natter = null;
let url = process.env.NATTER_URL;
before(async () => {
  natter = url ? null : await Natter.start();
  url ??= natter.url;
});
after(() => natter?.stop());
/** `NATTER_SEED` runs a single schedule again. */
const SEEDS = process.env.NATTER_SEED
  ? [Number(process.env.NATTER_SEED)]
  : Array.from({ length: 5 }, () => Math.floor(Math.random() * 1e9));
const STEPS = 200;

const soon = (check) => eventually(check, 15_000);
const acked = (message) => within(message.acked, 15_000, "an ack");

test("two friends, against a real Natter", async (t) => {
  const [ada, ben] = [new Person(url), new Person(url)];
  t.after(() => {
    ada.client?.close();
    ben.client?.close();
  });

  await t.test("sign up and become friends", async () => {
    await ada.signUp("ada");
    await ben.signUp("ben");
    const found = await ada.client.users.search({ username: ben.username });
    assert.deepEqual(found.results.map((user) => user.id), [ben.client.user]);
    const asked = await ada.client.friends.ask(ben.client.user);
    await soon(async () => assert.equal((await ben.client.friends.list())[0]?.relation, "asking"));
    await ben.client.friends.accept(asked.id);
    await soon(async () => assert.equal((await ada.client.friends.list())[0]?.relation, "friends"));
    ada.watch(asked.id);
    ben.watch(asked.id);
    await soon(() => assert.equal(ada.client.presence.get(ben.client.user)?.online, true));
  });

  await t.test("send both ways, in order", async () => {
    const texts = Array.from({ length: 10 }, (_, number) => `from ada ${number}`);
    const sends = texts.map((text) => ada.conversation.send({ text }));
    for (const send of sends) assert.equal((await acked(send)).client_id, send.client_id);
    await acked(ben.conversation.send({ text: "from ben", replyTo: (await acked(sends[0])).message }));
    await soon(() => assert.deepEqual(ben.window.messages.map((one) => one.content), [...texts, "from ben"]));
    await soon(() => ada.isRight());
    await soon(() => ben.isRight());
  });

  await t.test("edit and delete", async () => {
    const [first, second] = ada.window.messages;
    await ada.conversation.edit(first.id, "edited");
    await ada.conversation.delete(second.id);
    await soon(() => assert.deepEqual(ben.window.messages.slice(0, 2).map((one) => [one.content, one.deleted]), [["edited", false], ["", true]]));
    const edit = ben.conversation.edit(first.id, "not mine");
    await assert.rejects(edit, { code: "not_yours" });
    await soon(() => assert.deepEqual([ben.window.messages[0].edit.content, ben.window.messages[0].content], ["not mine", "edited"]));
    ben.conversation.discard(edit.client_id);
    await soon(() => ada.isRight());
    await soon(() => ben.isRight());
  });

  await t.test("see", async () => {
    assert.ok(ben.list.unread > 0);
    ben.conversation.markSeen();
    await soon(() => assert.equal(ben.list.unread, 0));
    await soon(() => assert.deepEqual([...new Set(ada.window.messages.filter((one) => one.mine).map((one) => one.status))], ["seen"]));
    await soon(() => ben.isRight());
  });

  await t.test("type", async () => {
    ada.conversation.typing.keystroke();
    await soon(() => assert.equal(ben.conversation.info.typing, true));
    ada.conversation.typing.stop();
    await soon(() => assert.equal(ben.conversation.info.typing, false));
    assert.deepEqual(ben.typing.map((one) => one.active), [true, false]);
  });

  await t.test("send a file", async () => {
    const file = new File(["the content"], "note.txt", { type: "text/plain" });
    const send = ada.conversation.send({ text: "a file", media: [file] });
    await acked(send);
    await soon(() => assert.equal(ben.window.messages.at(-1).media[0]?.filename, "note.txt"));
    const [media] = ben.window.messages.at(-1).media;
    assert.equal(await (await ben.client.download(media)).text(), "the content");
  });

  await t.test("search", async () => {
    const { message } = await acked(ada.conversation.send({ text: "a needle in a haystack" }));
    const found = await ben.client.search("needle");
    assert.deepEqual(found.results.map((one) => one.id), [message]);
  });

  await t.test("be away and come back", async () => {
    ben.client.close();
    await soon(() => assert.equal(ada.client.presence.get(ben.client.user).online, false));
    for (const text of ["while away", "still away"]) await acked(ada.conversation.send({ text }));
    const kept = ben.conversation.send({ text: "written away" });
    await ben.client.connect();
    await acked(kept);
    await soon(() => assert.equal(ada.window.messages.at(-1).content, "written away"));
    await soon(() => ada.isRight());
    await soon(() => ben.isRight());
  });

  await t.test("log out", async () => {
    const sessions = await ben.get("/api/users/sessions/");
    assert.equal(sessions.length, 2);
    await ben.client.logOut();
    assert.equal(ben.client.user, null);
    assert.equal(ben.client.state, "closed");
    assert.equal((await ben.get("/api/users/sessions/")).length, 1);
    await assert.rejects(ben.client.profile.get(), { code: "logged_out" });
  });
});

for (const seed of SEEDS) {
  test(`after a random schedule over links that break, both sides show what the server has: NATTER_SEED=${seed}`, async (t) => {
    const restart = natter && (async () => {
      await natter.down();
      await natter.up();
    });
    const schedule = new RealSchedule(url, seed, restart);
    t.after(() => schedule.end());
    await schedule.run(STEPS);
  });
}
