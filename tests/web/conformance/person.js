// A user of a real Natter: a client with all that it shows, and a session of its own for plain requests.

import assert from "node:assert/strict";
import { randomBytes } from "node:crypto";

import { MemoryStore, NatterClient } from "../../../services/site/client/index.js";

export const PASSWORD = "Correct-horse-1";
/** More than any test sends, so that nothing is dropped at an end. */
const EVERYTHING = 10_000;

export class Person {
  typing = [];

  /** `url` is Natter itself; `through` is where the client reaches it. */
  constructor(url, { through = url, timing = {} } = {}) {
    this.url = url;
    this.through = through;
    this.timing = timing;
  }

  newClient() {
    return new NatterClient({ url: this.through, store: new MemoryStore(), timing: this.timing });
  }

  async signUp(name) {
    this.username = `${name}-${randomBytes(6).toString("hex")}`;
    this.client = this.newClient();
    this.client.on("typing", (typing) => this.typing.push(typing));
    await this.client.signUp({ username: this.username, email: `${this.username}@natter.test`, password: PASSWORD });
    await this.client.connect();
    const answer = await fetch(new URL("/api/users/login/", this.url), {
      method: "POST",
      headers: { "Content-Type": "application/json" },
      body: JSON.stringify({ username: this.username, password: PASSWORD }),
    });
    this.access = (await answer.json()).access;
  }

  async get(path) {
    const answer = await fetch(new URL(path, this.url), { headers: { Authorization: `Bearer ${this.access}` } });
    assert.equal(answer.status, 200, path);
    return answer.json();
  }

  watch(conversation) {
    this.conversation = this.client.conversation(conversation);
    this.subscription = this.conversation.subscribe((window) => (this.window = window), { limit: EVERYTHING });
    this.client.conversations.watch((list) => (this.list = list));
  }

  /** All messages of the conversation as the server has them, oldest first. */
  async history() {
    const items = [];
    for (let query = "?page_size=100"; query; ) {
      const { next, results } = await this.get(`/api/messages/status/friendship/${this.conversation.id}/messages/${query}`);
      items.push(...results);
      query = next && new URL(next).search;
    }
    return items;
  }

  /** What the client shows is what the server has, from the first message to the last. */
  async isRight() {
    while (this.window.hasBefore) assert.ok((await this.subscription.before(100)) > 0, "older messages come");
    const shown = this.window.messages.map(({ id, content, deleted, edited_at, reply_to, seq, mine, status, edit }) => ({
      id,
      content,
      deleted,
      edited_at,
      reply_to,
      seq,
      mine,
      status,
      edit,
    }));
    const stored = (await this.history()).map(({ message, is_received, is_seen }) => ({
      id: message.id,
      content: message.content,
      deleted: message.deleted,
      edited_at: message.edited_at,
      reply_to: message.reply_to,
      seq: message.seq,
      mine: message.sender === this.client.user,
      status: is_seen ? "seen" : is_received ? "received" : "sent",
      edit: null,
    }));
    assert.deepEqual(shown, stored);
    const { results } = await this.get("/api/messages/conversations/?page_size=100");
    const asServer = results.map(({ friendship, unread, last_message }) => [friendship.id, unread, last_message?.id]);
    const asShown = this.list.conversations.map(({ id, unread, last_message }) => [id, unread, last_message?.id]);
    assert.deepEqual(asShown, asServer);
  }
}
