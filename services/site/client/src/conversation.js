// One conversation: writing in it, and the windows through which its messages are seen.

import { NatterError, call } from "./errors.js";
import { newer } from "./conversations.js";
import { historyOf } from "./http.js";

export class Conversation {
  #core;
  #windows = new Set();
  #typing = { told: -Infinity, stops: null };

  constructor(core, id) {
    this.#core = core;
    this.id = id;
    this.typing = { keystroke: () => this.#keystroke(), stop: () => this.#stop() };
  }

  get info() {
    return this.#core.conversations.info(this.id);
  }

  send({ text = "", media = [], replyTo } = {}) {
    this.#stop();
    const files = media.map((one) => (one instanceof Blob ? fileOf(one) : one));
    const { item, kept, acked } = this.#core.outbox.add("send", this.id, { payload: text, media: files, replyTo });
    const message = { ...this.#core.pending(item), kept, acked };
    for (const name of ["id", "seq", "created_at", "media", "status", "error"]) {
      Object.defineProperty(message, name, { enumerable: true, get: () => this.#core.pending(item)[name] });
    }
    return message;
  }

  edit(message, text) {
    return this.#change("edit", { message, payload: text });
  }

  delete(message) {
    return this.#change("delete", { message });
  }

  #change(kind, content) {
    const { item, kept, acked } = this.#core.outbox.add(kind, this.id, content);
    return Object.assign(acked, { client_id: item.clientId, kept });
  }

  retry(clientId) {
    this.#core.outbox.retry(clientId);
  }

  discard(clientId) {
    this.#core.outbox.discard(clientId);
  }

  markSeen() {
    const last = this.#core.lastOfFriend(this.id);
    if (last) this.#core.receipts.seen(this.id, last.id, last.seq);
  }

  subscribe(fn, { limit = 200, around } = {}) {
    const window = new Window(this.#core, this.id, fn, limit);
    this.#windows.add(window);
    window.load(around);
    return {
      unsubscribe: () => {
        window.end();
        this.#windows.delete(window);
      },
      before: (n = 50) => window.before(n),
      after: (n = 50) => window.after(n),
      latest: () => window.load(),
      around: (message) => window.load(message),
    };
  }

  /** An entry of the log, in its order. */
  entry(frame) {
    for (const window of this.#windows) window.entry(frame);
  }

  /** Marks or what is not sent have changed. */
  changed() {
    for (const window of this.#windows) window.tell();
  }

  /** What is shown may lack something. */
  reload() {
    for (const window of this.#windows) window.reload();
  }

  /** The user whose messages these were is logged out. */
  clear() {
    for (const window of this.#windows) window.clear();
  }

  /** A connection is there again: loads what could not be loaded. */
  resumed() {
    for (const window of this.#windows) if (window.hasFailed) window.reload();
  }

  #keystroke() {
    const { told, stops } = this.#typing;
    const { typingEvery } = this.#core.timing;
    const now = performance.now();
    clearTimeout(stops);
    if (now - told >= typingEvery) {
      this.#typing.told = now;
      this.#core.transmit({ type: "typing", channel: this.id, active: true });
    }
    this.#typing.stops = setTimeout(() => this.#stop(), (4 / 3) * typingEvery);
    this.#typing.stops.unref?.();
  }

  #stop() {
    clearTimeout(this.#typing.stops);
    if (this.#typing.told === -Infinity) return;
    this.#typing.told = -Infinity;
    this.#core.transmit({ type: "typing", channel: this.id, active: false });
  }
}

/** A part of the conversation that follows its end, or stays where it was put. */
class Window {
  #core;
  #channel;
  #fn;
  #limit;
  /** Oldest first: {message, view}. */
  #messages = [];
  #hasBefore = false;
  #hasAfter = false;
  #loading = true;
  #error = null;
  /** Loads follow each other; entries that come meanwhile are put in after the last. */
  #last = Promise.resolve();
  #meanwhile = [];
  #loads = 0;
  /** A load that has not begun: another one would show the same. */
  #next = null;
  /** The message that it was put around. */
  #place;
  #told = false;
  #ended = false;

  constructor(core, channel, fn, limit) {
    this.#core = core;
    this.#channel = channel;
    this.#fn = fn;
    this.#limit = limit;
  }

  end() {
    this.#ended = true;
  }

  get hasFailed() {
    return this.#error !== null;
  }

  /** The end of the conversation, or what is around a message. */
  load(around) {
    this.#loading = true;
    this.#place = around;
    this.#next ??= this.#then(async () => {
      this.#next = null;
      const around = this.#place;
      const size = Math.min(around ? Math.max(1, Math.floor(this.#limit / 2)) : this.#limit, 50);
      let older = { results: [], next: null };
      let newest = { results: [], next: null };
      if (around) {
        newest = await this.#page({ after: true, message_id: around, page_size: size });
        const from = newest.results[0].message.seq;
        older = await this.#page({ before_seq: from, page_size: size });
      } else older = await this.#page({ before: true, page_size: size });
      this.#messages = [...older.results.reverse(), ...newest.results].map((item) => this.#of(item));
      this.#hasBefore = Boolean(older.next);
      this.#hasAfter = Boolean(newest.next);
      return this.#messages.length;
    });
    return this.#next;
  }

  /** Loads the same place again. The answer has what came meanwhile, unless that is of a log that was set back. */
  reload() {
    this.#meanwhile = [];
    const middle = this.#messages[this.#messages.length >> 1]?.message.id;
    return this.load(this.#hasAfter ? middle : this.#loading ? this.#place : undefined);
  }

  /** As before the first load. */
  clear() {
    this.#messages = [];
    this.#meanwhile = [];
    this.#hasBefore = this.#hasAfter = false;
    this.#loading = true;
    this.#place = undefined;
    this.#error = null;
    this.tell();
  }

  before(n) {
    return this.#then(async () => {
      if (!this.#hasBefore) return 0;
      const page = await this.#page({ before_seq: this.#messages[0].message.seq, page_size: Math.min(n, 100) });
      this.#hasBefore = Boolean(page.next);
      this.#messages.unshift(...page.results.reverse().map((item) => this.#of(item)));
      if (this.#messages.length > this.#limit) {
        this.#messages.length = this.#limit;
        this.#hasAfter = true;
      }
      return page.results.length;
    });
  }

  after(n) {
    return this.#then(async () => {
      if (!this.#hasAfter) return 0;
      const page = await this.#page({ after_seq: this.#messages.at(-1).message.seq, page_size: Math.min(n, 100) });
      this.#hasAfter = Boolean(page.next);
      this.#messages.push(...page.results.map((item) => this.#of(item)));
      this.#trimStart();
      return page.results.length;
    });
  }

  #trimStart() {
    const over = this.#messages.length - this.#limit;
    if (over <= 0) return;
    this.#messages.splice(0, over);
    this.#hasBefore = true;
  }

  #then(work) {
    this.#loads++;
    const done = this.#last.then(async () => {
      if (this.#ended) return 0;
      try {
        const count = await work();
        this.#error = null;
        return count;
      } catch (error) {
        // The place has gone, with the end of a log that was set back.
        if (this.#place && error.status === 400) {
          this.load();
          return 0;
        }
        this.#error = error;
        if (!(error instanceof NatterError)) throw error;
        return 0;
      } finally {
        if (--this.#loads === 0) this.#catchUp();
        this.#loading = false;
        this.tell();
      }
    });
    this.#last = done.catch(() => {});
    return done;
  }

  /** An answer from before the logs were set back does not count. */
  async #page(query) {
    for (;;) {
      const { generation } = this.#core.logs;
      const page = await this.#core.persist(() => this.#core.http.get(historyOf(this.#channel), { query }));
      if (generation === this.#core.logs.generation) return page;
    }
  }

  #of(item) {
    const message = this.#core.message(item.message, item.message.seq);
    this.#core.noteOfFriend(message);
    // Listing the friend's messages is receiving them.
    this.#core.conversations.setMarks(this.#channel, marksOf({ ...item, is_received: item.is_received || !message.mine }, message.mine));
    this.#core.outbox.found(item.message, this.#channel, message.seq);
    return { message, view: null };
  }

  entry(frame) {
    if (this.#loads) this.#meanwhile.push(frame);
    else {
      this.#apply(frame);
      this.tell();
    }
  }

  #catchUp() {
    for (const frame of this.#meanwhile.splice(0)) this.#apply(frame);
  }

  #apply({ type, seq, message }) {
    const known = this.#messages.find((one) => one.message.id === message.id);
    if (known) known.message = newer(known.message, this.#core.message(message, known.message.seq));
    else if (type === "friendship_message" && !this.#hasAfter && seq > (this.#messages.at(-1)?.message.seq ?? 0)) {
      this.#messages.push({ message: this.#core.message(message, seq), view: null });
      this.#trimStart();
    }
  }

  /** Once for all that happens in a turn. */
  tell() {
    if (this.#told || this.#ended) return;
    this.#told = true;
    queueMicrotask(() => {
      this.#told = false;
      if (this.#ended) return;
      call(this.#fn, {
        messages: this.#views(),
        hasBefore: this.#hasBefore,
        hasAfter: this.#hasAfter,
        loading: this.#loading,
        error: this.#error,
      });
    });
  }

  /** What does not change stays the same object. */
  #views() {
    const unsent = this.#core.outbox.of(this.#channel);
    const changes = new Map();
    for (const item of unsent) if (item.kind !== "send") changes.set(item.message, item);
    const views = this.#messages.map((one) => {
      const next = this.#core.withStatus(one.message, changes.get(one.message.id));
      if (!one.view || !same(one.view, next)) one.view = next;
      return one.view;
    });
    if (this.#hasAfter) return views;
    const shown = new Set(this.#messages.map(({ message }) => message.id));
    const waiting = unsent.filter((item) => item.kind === "send" && !(item.id && shown.has(item.id)));
    return [...views, ...waiting.map((item) => this.#core.pending(item))];
  }
}

function same({ edit: a, ...one }, { edit: b, ...other }) {
  for (const name in other) if (one[name] !== other[name]) return false;
  return JSON.stringify(a) === JSON.stringify(b);
}

/** What an item of the history says of the marks. */
export function marksOf({ message: { seq }, is_received, is_seen }, mine) {
  const [received, seen] = [is_received && seq, is_seen && seq];
  return mine ? { friend_received_seq: received, friend_seen_seq: seen } : { received_seq: received, seen_seq: seen };
}

function fileOf(blob) {
  return {
    id: null,
    filename: blob.name ?? "file",
    content_type: blob.type || "application/octet-stream",
    size: blob.size,
    blob,
    progress: 0,
  };
}
