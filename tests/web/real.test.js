// The story of two friends with natter-client against a real Natter (the one at `NATTER_URL`, if that is
// set): after each part the state is read back over plain HTTP and compared with what the clients show.

import assert from "node:assert/strict";
import { randomBytes } from "node:crypto";
import { after, before, test } from "node:test";

import { MemoryStore, NatterClient } from "../../services/site/client/index.js";
import { eventually, within } from "./conformance/wait.js";
import { Random } from "./fake/random.js";
import { Link } from "./support/link.js";
import { Natter } from "./support/natter.js";

let natter = null;
let url = process.env.NATTER_URL;
before(async () => {
  natter = url ? null : await Natter.start();
  url ??= natter.url;
});
after(() => natter?.stop());
const PASSWORD = "Correct-horse-1";

/** A user with a client, and with a session of its own for plain requests. */
class Person {
  typing = [];

  async signUp(name, through = url, timing = {}) {
    this.username = `${name}-${randomBytes(6).toString("hex")}`;
    this.client = new NatterClient({ url: through, store: new MemoryStore(), timing });
    this.client.on("typing", (typing) => this.typing.push(typing));
    await this.client.signUp({ username: this.username, email: `${this.username}@natter.test`, password: PASSWORD });
    await this.client.connect();
    const answer = await fetch(new URL("/api/users/login/", url), {
      method: "POST",
      headers: { "Content-Type": "application/json" },
      body: JSON.stringify({ username: this.username, password: PASSWORD }),
    });
    this.access = (await answer.json()).access;
  }

  async get(path) {
    const answer = await fetch(new URL(path, url), { headers: { Authorization: `Bearer ${this.access}` } });
    assert.equal(answer.status, 200, path);
    return answer.json();
  }

  watch(conversation) {
    this.conversation = this.client.conversation(conversation);
    this.conversation.subscribe((window) => (this.window = window));
    this.client.conversations.watch((list) => (this.list = list));
  }

  get shown() {
    return this.window.messages.map(({ id, content, deleted, edited_at, seq, mine }) => ({ id, content, deleted, isEdited: edited_at !== null, seq, mine }));
  }

  /** What the client shows is what the server has. */
  async isRight() {
    const { id } = this.conversation;
    const history = await this.get(`/api/messages/status/friendship/${id}/messages/?page_size=100`);
    const stored = history.results.map(({ message }) => ({
      id: message.id,
      content: message.content,
      deleted: message.deleted,
      isEdited: (message.edited_at ?? null) !== null,
      seq: message.seq,
      mine: message.sender === this.client.user,
    }));
    assert.deepEqual(this.shown, stored);
    const { results } = await this.get("/api/messages/conversations/?page_size=100");
    const asServer = results.map(({ friendship, unread, last_message }) => [friendship.id, unread, last_message?.id]);
    const asShown = this.list.conversations.map(({ id: of, unread, last_message }) => [of, unread, last_message?.id]);
    assert.deepEqual(asShown, asServer);
  }
}

const soon = (check) => eventually(check, 15_000);
const acked = (message) => within(message.acked, 15_000, "an ack");

test("two friends, against a real Natter", async (t) => {
  const [ada, ben] = [new Person(), new Person()];
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
    await soon(() => assert.deepEqual(ben.shown.map((one) => one.content), [...texts, "from ben"]));
    await soon(() => ada.isRight());
    await soon(() => ben.isRight());
  });

  await t.test("edit and delete", async () => {
    const [first, second] = ada.window.messages;
    await ada.conversation.edit(first.id, "edited");
    await ada.conversation.delete(second.id);
    await soon(() => assert.deepEqual(ben.shown.slice(0, 2).map((one) => [one.content, one.deleted]), [["edited", false], ["", true]]));
    await assert.rejects(ben.conversation.edit(first.id, "not mine"), { code: "not_yours" });
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
    await soon(() => assert.equal(ada.shown.at(-1).content, "written away"));
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

test("after random schedules over links that break, both sides show what the server has", async (t) => {
  const seed = Number(process.env.NATTER_SEED ?? Math.floor(Math.random() * 1e9));
  t.diagnostic(`NATTER_SEED=${seed}`);
  const random = new Random(seed);
  const timing = { backoffMin: 20, backoffMax: 200, answerTimeout: 1_500, requestTimeout: 3_000, heartbeat: 700 };
  const people = [new Person(), new Person()];
  const links = [await Link.to(url), await Link.to(url)];
  t.after(() => {
    for (const { client } of people) client?.close();
    for (const link of links) link.close();
  });
  for (const [index, person] of people.entries()) await person.signUp(`person${index}`, links[index].url, timing);
  const [ada, ben] = people;
  const { id } = await ada.client.friends.ask(ben.client.user);
  await ben.client.friends.accept(id);
  for (const person of people) person.watch(id);
  await soon(() => assert.equal(ada.client.conversation(id).info?.friendship.is_open, true));

  const written = new Map(people.map((person) => [person, []]));
  for (let step = 0; step < 300; step++) {
    const person = random.pick(people);
    const link = random.pick(links);
    const own = person.window?.messages.filter((one) => one.mine && one.id && !one.deleted) ?? [];
    const action = random.pick([
      ...Array(6).fill(() => written.get(person).push(person.conversation.send({ text: `${step}` }))),
      () => own.length && person.conversation.edit(random.pick(own).id, `${step}, edited`).catch(() => {}),
      () => own.length && person.conversation.delete(random.pick(own).id).catch(() => {}),
      () => person.conversation.markSeen(),
      () => link.cut(),
      () => link.reset(),
      () => link.silence(),
    ]);
    action();
    await new Promise((resolve) => setTimeout(resolve, random.between(0, 30)));
  }
  for (const sent of written.values()) {
    const acks = await Promise.all(sent.map((one) => within(one.acked, 120_000, "an ack")));
    const places = acks.map(({ seq }) => seq);
    assert.deepEqual(places, [...places].sort((a, b) => a - b), "in the order of writing");
    assert.equal(new Set(places).size, places.length, "each once");
  }
  for (const person of people) {
    await eventually(async () => {
      // `isRight` compares with one page of the history.
      const { results } = await person.get(`/api/messages/status/friendship/${id}/messages/?before=true&page_size=100`);
      const shown = person.shown.slice(-results.length);
      assert.deepEqual(
        shown.map((one) => [one.id, one.content, one.deleted, one.seq]),
        results.reverse().map(({ message }) => [message.id, message.content, message.deleted, message.seq]),
      );
    }, 60_000);
  }
});
