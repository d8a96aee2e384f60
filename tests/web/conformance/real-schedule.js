// A random schedule against a real Natter, over links that break: two friends, one with a second device,
// do what users do, and the server is restarted once. Then what both show must be what the server has.

import assert from "node:assert/strict";
import { setTimeout as sleep } from "node:timers/promises";

import { Random } from "../fake/random.js";
import { Link } from "../support/link.js";
import { PASSWORD, Person } from "./person.js";
import { eventually } from "./wait.js";

const TIMING = { backoffMin: 20, backoffMax: 200, answerTimeout: 1_500, requestTimeout: 3_000, heartbeat: 700 };
/** For all that is to come about once nothing breaks any more. */
const DEADLINE = 60_000;

export class RealSchedule {
  #natter;
  #random;
  #links = [];
  #people = [];
  #laptop = null;
  /** `{person, device, conversation, clientId, text, replyTo, outcome}`, in the order of writing. */
  #sends = [];
  /** Edits and deletions: `{kind, message, clientId, text, outcome}`. */
  #changes = [];
  #discarded = new Set();
  #retried = new Set();
  #steps = 0;
  #restarting = null;

  /** `restart` ends the server and starts it again; null where it is not the test's own. */
  constructor(url, seed, restart) {
    this.#natter = { url, restart };
    this.#random = new Random(seed);
  }

  async run(steps) {
    await this.#begin();
    const restartAt = this.#random.between(0, steps - 1);
    for (; this.#steps < steps; this.#steps++) {
      if (this.#steps === restartAt) this.#restarting = this.#natter.restart?.();
      this.#step()();
      await sleep(this.#random.between(0, 30));
    }
    await this.#restarting;
    await this.#settle();
    await this.#compare();
  }

  end() {
    for (const { client } of this.#people) client?.close();
    this.#laptop?.client.close();
    for (const link of this.#links) link.close();
  }

  async #begin() {
    for (const name of ["ada", "ben"]) {
      const link = await Link.to(this.#natter.url);
      this.#links.push(link);
      const person = new Person(this.#natter.url, { through: link.url, timing: TIMING });
      this.#people.push(person);
      await person.signUp(name);
    }
    const [ada, ben] = this.#people;
    this.id = (await ada.client.friends.ask(ben.client.user)).id;
    await ben.client.friends.accept(this.id);
    for (const person of this.#people) person.watch(this.id);
    await eventually(() => assert.equal(ada.client.conversation(this.id).info?.friendship.is_open, true), DEADLINE);
  }

  #step() {
    const random = this.#random;
    const person = random.pick(this.#people);
    const link = random.pick(this.#links);
    const { conversation } = person;
    const messages = person.window?.messages ?? [];
    const own = messages.filter((one) => one.mine && one.id && !one.deleted);
    return random.weighted([
      [12, () => this.#send(person, conversation, messages)],
      [2, () => own.length && this.#change("edit", conversation, random.pick(own).id)],
      [2, () => own.length && this.#change("delete", conversation, random.pick(own).id)],
      [1, () => this.#retry(conversation, random.pick(failed(messages)))],
      [0.5, () => this.#discard(conversation, random.pick(messages.filter(({ id, edit }) => id === null || edit)))],
      [2, () => conversation.markSeen()],
      [1, () => conversation.typing.keystroke()],
      [0.5, () => this.#turnFriendship(random.pick(["accept", "reject"])).catch(() => {})],
      [1, () => (this.#laptop ? this.#useLaptop() : this.#openLaptop())],
      [2, () => link.cut()],
      [2, () => link.reset()],
      [2, () => link.silence()],
    ]);
  }

  #send(person, conversation, messages, device = person.client) {
    const answered = this.#random.chance(0.2) ? this.#random.pick(messages.filter(({ id }) => id)) : undefined;
    const text = `${this.#steps} of ${person.username}`;
    const message = conversation.send({ text, replyTo: answered?.id });
    const send = { person, device, clientId: message.client_id, text, replyTo: answered?.id ?? null };
    this.#sends.push(send);
    follow(send, message.acked);
  }

  #change(kind, conversation, message) {
    const text = `${this.#steps}, edited`;
    const acked = kind === "edit" ? conversation.edit(message, text) : conversation.delete(message);
    const change = { kind, message, clientId: acked.client_id, text };
    this.#changes.push(change);
    follow(change, acked);
  }

  #retry(conversation, message) {
    if (!message) return;
    const clientId = message.edit?.client_id ?? message.client_id;
    this.#retried.add(clientId);
    conversation.retry(clientId);
  }

  #discard(conversation, message) {
    if (!message) return;
    const clientId = message.edit?.client_id ?? message.client_id;
    this.#discarded.add(clientId);
    conversation.discard(clientId);
  }

  /** Ben's side alone, so that it can be taken back. */
  #turnFriendship(how) {
    return this.#people[1].client.friends[how](this.id);
  }

  /** Ada's second device. */
  #openLaptop() {
    const [ada] = this.#people;
    const client = ada.newClient();
    this.#laptop = { client, opened: client.logIn({ username: ada.username, password: PASSWORD }).then(() => client.connect()) };
    this.#laptop.opened.catch(() => {});
  }

  #useLaptop() {
    const [ada] = this.#people;
    const { client } = this.#laptop;
    if (this.#random.chance(0.5) && client.state === "connected") {
      this.#send(ada, client.conversation(this.id), [], client);
    } else if (client.user) {
      this.#laptop = null;
      // Where it fails nothing has ended; the device is put away all the same.
      client.logOut().catch(() => client.close());
    }
  }

  /** Nothing breaks any more: what has failed is tried again. */
  async #settle() {
    for (const link of this.#links) link.cut();
    await eventually(() => this.#turnFriendship("accept"), DEADLINE);
    await eventually(() => {
      for (const { conversation, window, client } of this.#people) {
        assert.equal(client.state, "connected");
        for (const message of failed(window.messages)) this.#retry(conversation, message);
        // A change of what is deleted has nothing left to change.
        for (const { deleted, edit } of window.messages) if (deleted && edit) this.#discard(conversation, { edit });
        assert.equal(client.unsent, 0);
        assert.equal(failed(window.messages).length, 0);
      }
    }, DEADLINE);
  }

  async #compare() {
    for (const person of this.#people) await eventually(() => person.isRight(), DEADLINE);
    const history = (await this.#people[0].history()).map(({ message }) => message);
    const byClientId = new Map(history.map((message) => [message.client_id, message]));
    assert.equal(byClientId.size, history.length, "each once");
    this.#compareSends(byClientId);
    this.#compareChanges(new Map(history.map((message) => [message.id, message])));
  }

  #compareSends(byClientId) {
    const last = new Map();
    for (const { person, device, clientId, text, replyTo, outcome } of this.#sends) {
      const what = `"${text}"`;
      const stored = byClientId.get(clientId);
      const isDiscarded = this.#discarded.has(clientId);
      if (outcome?.error) {
        const expected = ["channel_closed", ...(isDiscarded ? ["discarded"] : []), ...(device === person.client ? [] : ["logged_out"])];
        assert.ok(expected.includes(outcome.error.code), `${what} was refused with ${outcome.error.code}`);
      }
      // A device that is put away takes with it what it has not sent.
      if (device === person.client && !isDiscarded) assert.ok(stored, `${what} is stored`);
      if (outcome?.ack) assert.deepEqual([outcome.ack.message, outcome.ack.seq], [stored?.id, stored?.seq], what);
      if (!stored) continue;
      assert.deepEqual([stored.sender, stored.reply_to], [person.client.user, stored.deleted ? stored.reply_to : replyTo], what);
      if (this.#retried.has(clientId)) continue;
      assert.ok(stored.seq > (last.get(device) ?? 0), `${what} comes after what was written before it`);
      last.set(device, stored.seq);
    }
  }

  #compareChanges(byId) {
    const acked = new Map();
    for (const { kind, message, clientId, text, outcome } of this.#changes) {
      const isDeleted = this.#changes.some((one) => one.kind === "delete" && one.message === message);
      if (outcome?.error) {
        const expected = ["channel_closed", ...(isDeleted ? ["message_not_found"] : []), ...(this.#discarded.has(clientId) ? ["discarded"] : [])];
        assert.ok(expected.includes(outcome.error.code), `${kind} to "${text}" was refused with ${outcome.error.code}`);
      }
      if (!outcome?.ack) continue;
      if (kind === "delete") assert.equal(byId.get(message).deleted, true);
      else if (outcome.ack.seq > (acked.get(message)?.seq ?? 0)) acked.set(message, { text, seq: outcome.ack.seq });
    }
    for (const [message, { text }] of acked) {
      const isRetried = this.#changes.some((one) => one.message === message && this.#retried.has(one.clientId));
      if (!byId.get(message).deleted && !isRetried) assert.equal(byId.get(message).content, text);
    }
  }
}

function failed(messages) {
  return messages.filter(({ status, edit, deleted }) => status === "failed" || (edit?.status === "failed" && !deleted));
}

function follow(one, acked) {
  acked.then(
    (ack) => (one.outcome = { ack }),
    (error) => (one.outcome = { error }),
  );
}
