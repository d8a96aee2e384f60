// What was written and is not acknowledged yet: kept in the store before the first try, sent in order
// in each conversation, and again with the same `client_id` until there is an answer.

import { NatterError, isPassing } from "./errors.js";
import { historyOf } from "./http.js";

const FRAMES = { send: "friendship", edit: "friendship_edit", delete: "friendship_delete" };
/** So many are remembered to have ended. */
const ENDED = 1_000;

export class Outbox {
  #core;
  /** By `client_id`, in the order in which they were written. */
  #items = new Map();
  #promises = new Map();
  /** Conversations whose first item is under way. */
  #busy = new Map();
  /** Whether conversations wait for each other: one of several items was too big. */
  #isOneAtATime = false;
  #order = 0;
  /** The reading of the store that is under way. */
  #reading = null;
  /** Known to have ended: a reading of the store, or another tab, may be behind. */
  #ended = new Set();
  #restoring = Promise.resolve();

  constructor(core) {
    this.#core = core;
  }

  get prefix() {
    return `outbox ${this.#core.session.user} `;
  }

  /** Takes what an earlier page or another tab left. */
  restore() {
    const restored = this.#restoring.then(async () => {
      const reading = (this.#reading = {});
      const entries = await this.#core.store.entries(this.prefix);
      // Logged out meanwhile.
      if (this.#reading !== reading) return;
      this.#reading = null;
      for (const [, item] of entries) {
        if (this.#ended.has(item.clientId)) this.#core.forget(item.key);
        else if (!this.#items.has(item.clientId)) this.#take(item);
      }
      this.#sort();
      // A page that has crashed may have told nobody; nor has this one before it was connected.
      for (const item of this.#items.values()) {
        if (!item.stored && item.state !== "sent") this.#core.tabs.tell({ added: plain(item) });
      }
      this.pump();
    });
    this.#restoring = restored.catch(() => {});
    return restored;
  }

  /** An item of another tab. */
  added(item) {
    if (this.#items.has(item.clientId) || this.#ended.has(item.clientId)) return;
    this.#take(item);
    this.#sort();
    this.pump();
  }

  add(kind, channel, content) {
    const now = this.#core.now();
    // In microseconds: an earlier page may have written much in this millisecond.
    this.#order = Math.max(this.#order + 1, 1_000 * now);
    const clientId = uuid();
    const key = `${this.prefix}${String(Math.floor(this.#order)).padStart(16, "0")} ${clientId}`;
    const created = new Date(now).toISOString();
    const item = { key, order: this.#order, clientId, kind, channel, created, state: "pending", ...content };
    this.#take(item);
    const acked = new Promise((resolve, reject) => this.#promises.set(clientId, { resolve, reject }));
    // Whoever does not look at the answer sees the message's status.
    acked.catch(() => {});
    const kept = this.#core.keep(key, plain(item));
    item.stored = this.#stored(item, kept);
    for (const other of this.of(channel)) {
      // Whoever changes the message again wants this and not what was refused.
      if (isRefusedEdit(other) && other.message === item.message) this.discard(other.clientId);
    }
    return { item, kept, acked };
  }

  async #stored(item, kept) {
    // What the store does not take is sent all the same.
    await kept.catch(() => {});
    // What an earlier page left is told first.
    await this.#restoring;
    delete item.stored;
    if (this.#items.get(item.clientId) !== item) return;
    this.#core.tabs.tell({ added: plain(item) });
    this.pump();
  }

  /** What has become of an item in another tab. Each that had it tells its end on, to those that came since. */
  told(item) {
    const known = this.#items.get(item.clientId);
    // What the server has stays, also where a tab changed it before it heard of that.
    if (known?.state === "sent") return;
    if (item.gone && item.how === "resolve") this.acked(item.value);
    else if (item.gone && known) this.#settle(known, "reject", new NatterError(item.value.code, item.value.message));
    else if (item.gone) this.#over(item.clientId);
    else if (known) {
      if (item.state === "failed") this.#end(known, "reject", new NatterError(item.error.code, item.error.message));
      Object.assign(known, item);
      this.#core.changed(item.channel);
    }
    this.pump();
  }

  /** How far another tab has come with the files of an item. */
  uploading({ clientId, media }) {
    const item = this.#items.get(clientId);
    if (!item) return;
    item.media = media;
    this.#core.changed(item.channel);
  }

  of(channel) {
    return [...this.#items.values()].filter((item) => item.channel === channel);
  }

  /** How many the server does not have yet. */
  get unsent() {
    return [...this.#items.values()].filter(({ state }) => state !== "sent").length;
  }

  retry(clientId) {
    const item = this.#items.get(clientId);
    if (item?.state !== "failed") return;
    // The server has let go of them after a day.
    for (const media of item.media ?? []) if (media.blob) media.id = null;
    this.#change(item, { state: "pending", error: null });
    this.pump();
  }

  discard(clientId) {
    const item = this.#items.get(clientId);
    if (!item || item.state === "sent") return;
    this.#settle(item, "reject", new NatterError("discarded", "It was taken back."));
  }

  /** The connection went: what was under way is sent again on the next one. */
  interrupted() {
    for (const [channel, busy] of this.#busy) {
      if (busy.uploading || busy.isWaiting) continue;
      clearTimeout(busy.timer);
      this.#busy.delete(channel);
    }
  }

  /** A frame was too big: the only one that was sent, or one of several. */
  tooBig() {
    const sent = [...this.#busy.values()].filter(({ isSent }) => isSent);
    this.#isOneAtATime = sent.length > 1;
    if (sent.length === 1) this.#fail(sent[0].item, new NatterError("too_large", "The message is too large."));
  }

  /** An `ack`: its `client_id` says of which item. */
  acked({ type, ...ack }) {
    this.#over(ack.client_id);
    const item = this.#items.get(ack.client_id);
    if (!item || item.channel !== ack.channel) return;
    this.#free(item);
    if (this.#core.logs.have(item.channel) < ack.seq) {
      // Shown until its entry of the log comes.
      this.#core.forget(item.key);
      this.#end(item, "resolve", ack);
      this.#tellEnd(item, "resolve", ack);
      this.#core.changed(item.channel);
    } else this.#settle(item, "resolve", ack);
    this.pump();
  }

  /** A message of a log or of the history: one's own is as good as its `ack`. */
  found({ id, client_id, sender, created_at }, channel, seq) {
    if (sender !== this.#core.session.user) return;
    this.#over(client_id);
    const item = this.#items.get(client_id);
    if (item?.channel !== channel || item.kind !== "send") return;
    this.#settle(item, "resolve", { client_id, channel, message: id, seq, created_at, duplicate: false });
  }

  /** The log is here up to `seq`. */
  based(channel, seq) {
    for (const item of this.#items.values()) {
      if (item.channel === channel && item.state === "sent" && item.seq <= seq) this.#forget(item);
    }
  }

  /** The logs were set back: whether what was acknowledged is still there, loading shows. */
  reset() {
    for (const item of this.#items.values()) {
      if (item.state === "sent") this.#forget(item);
      else if (isRefusedEdit(item)) this.#letGo(item);
    }
  }

  /** Nothing shows a refused edit whose message has gone, with the end of a log that was set back. */
  async #letGo(item) {
    if (!this.#core.tabs.isLeader) return;
    const query = { after: true, message_id: item.message, page_size: 1 };
    const { status } = await this.#core.persist(() => this.#core.http.get(historyOf(item.channel), { query })).catch((error) => error);
    if (status === 400 && isRefusedEdit(item)) this.discard(item.clientId);
  }

  refused(frame) {
    const item = this.#items.get(frame.client_id);
    if (!item) return false;
    const busy = this.#busy.get(item.channel);
    if (isPassing(frame)) {
      if (busy?.item !== item) return true;
      clearTimeout(busy.timer);
      const { backoffMin, backoffMax } = this.#core.timing;
      busy.tries = (busy.tries ?? 0) + 1;
      const wait = frame.retry_after_ms ?? Math.min(backoffMax, backoffMin * 2 ** busy.tries);
      busy.isWaiting = true;
      busy.isSent = false;
      busy.timer = setTimeout(() => this.#transmit(item, busy), wait);
    } else this.#fail(item, new NatterError(frame.code, frame.detail));
    return true;
  }

  /** Nothing is under way any more, and nothing is tried again. */
  halt() {
    for (const { timer, uploading } of this.#busy.values()) {
      clearTimeout(timer);
      uploading?.abort();
    }
    this.#busy.clear();
  }

  /** Forgets them here; they stay in the store. */
  clear() {
    this.halt();
    this.#reading = null;
    for (const item of [...this.#items.values()]) {
      this.#items.delete(item.clientId);
      if (item.state !== "sent") this.#end(item, "reject", new NatterError("logged_out", "The session has ended."));
    }
  }

  /** Sends the first item of each conversation that has none under way. Only the leader sends. */
  pump() {
    if (!this.#core.connection.isLive || !this.#core.tabs.isLeader) return;
    for (const item of this.#items.values()) {
      if (this.#isOneAtATime && this.#busy.size) return;
      if (item.state !== "pending" || this.#busy.has(item.channel)) continue;
      const busy = { item };
      this.#busy.set(item.channel, busy);
      this.#begin(item, busy);
    }
    if (!this.#busy.size) this.#isOneAtATime = false;
  }

  async #begin(item, busy) {
    await item.stored;
    if (this.#busy.get(item.channel) !== busy) return;
    if (item.media?.some(({ id }) => !id)) {
      busy.uploading = new AbortController();
      try {
        await this.#upload(item, busy.uploading.signal);
      } catch (error) {
        // Not where it was halted or discarded.
        if (this.#busy.get(item.channel) === busy) this.#fail(item, error);
        return;
      } finally {
        busy.uploading = null;
      }
      // The connection may have gone meanwhile.
      if (!this.#core.connection.isLive) return this.#free(item);
    }
    if (this.#busy.get(item.channel) === busy) this.#transmit(item, busy);
  }

  async #upload(item, signal) {
    // The tab that led before may have told how far it was: then they are others.
    for (let media; (media = item.media.find(({ id }) => !id)); ) {
      const onProgress = (progress) => {
        media.progress = progress;
        this.#core.changed(item.channel);
        this.#core.tabs.tell({ uploading: { clientId: item.clientId, media: item.media } });
      };
      // Files may have changed on the disk since.
      const kept = await this.#core.store.get(item.key).catch(() => {});
      for (const at in kept?.media) item.media[at].blob = kept.media[at].blob;
      const { blob, filename } = media;
      const uploaded = await this.#core.persist(() => this.#core.upload(blob, { filename, onProgress, signal }));
      Object.assign(media, uploaded);
      await this.#change(item, {});
    }
  }

  #transmit(item, busy) {
    const { kind, channel, payload, media, replyTo, message, clientId } = item;
    const frame = { type: FRAMES[kind], channel, client_id: clientId };
    if (kind !== "delete") frame.payload = payload;
    if (kind !== "send") frame.message = message;
    if (media?.length) frame.media = media.map(({ id }) => ({ id }));
    if (replyTo) frame.reply_to = replyTo;
    const { answerTimeout } = this.#core.timing;
    busy.isWaiting = busy.isSent = false;
    if (!this.#core.connection.isLive) this.#free(item);
    else if (this.#core.connection.send(frame)) {
      busy.isSent = true;
      busy.timer = setTimeout(() => this.#core.connection.drop(), answerTimeout);
    } else busy.timer = setTimeout(() => this.#transmit(item, busy), 100);
  }

  #free(item) {
    const busy = this.#busy.get(item.channel);
    if (busy?.item !== item) return;
    clearTimeout(busy.timer);
    busy.uploading?.abort();
    this.#busy.delete(item.channel);
  }

  /** It stays, to be tried again or discarded; but not a deletion, nor an edit with a later change of the message. */
  #fail(item, error) {
    this.#free(item);
    const { kind, channel, message, order } = item;
    const isReplaced = kind === "edit" && this.of(channel).some((other) => other.message === message && other.order > order);
    if (kind === "delete" || isReplaced) {
      if (!this.#promises.has(item.clientId)) this.#core.emit("error", error);
      this.#settle(item, "reject", error);
    } else {
      this.#end(item, "reject", error);
      this.#change(item, {});
      if (kind === "edit" && error.code === "message_not_found") this.#letGo(item);
    }
    this.pump();
  }

  #take(item) {
    this.#items.set(item.clientId, item);
    this.#order = Math.max(this.#order, item.order);
    this.#core.changed(item.channel);
  }

  #sort() {
    const items = [...this.#items.values()].sort((a, b) => (a.key < b.key ? -1 : 1));
    this.#items = new Map(items.map((item) => [item.clientId, item]));
  }

  #change(item, patch) {
    Object.assign(item, patch);
    this.#core.changed(item.channel);
    this.#core.tabs.tell({ item: plain(item) });
    return this.#core.keep(item.key, plain(item)).catch(() => {});
  }

  #settle(item, how, value) {
    this.#free(item);
    this.#over(item.clientId);
    this.#core.forget(item.key);
    this.#end(item, how, value);
    this.#forget(item);
    this.#tellEnd(item, how, value);
    this.pump();
  }

  #tellEnd({ clientId }, how, value) {
    const told = how === "reject" ? { code: value.code, message: value.message } : value;
    this.#core.tabs.tell({ item: { clientId, gone: true, how, value: told } });
  }

  #over(clientId) {
    this.#ended.add(clientId);
    if (this.#ended.size > ENDED) this.#ended.delete(this.#ended.values().next().value);
  }

  #forget(item) {
    this.#free(item);
    this.#items.delete(item.clientId);
    this.#core.changed(item.channel);
  }

  /** Says what has become of it, also in the item. */
  #end(item, how, value) {
    if (how === "resolve") Object.assign(item, { state: "sent", id: value.message, seq: value.seq, created: value.created_at });
    else Object.assign(item, { state: "failed", error: { code: value.code, message: value.message } });
    this.#promises.get(item.clientId)?.[how](value);
    this.#promises.delete(item.clientId);
  }
}

function isRefusedEdit({ kind, state }) {
  return kind === "edit" && state === "failed";
}

/** As it is stored and told to other tabs. */
function plain({ stored, ...item }) {
  return item;
}

/** `randomUUID` is missing where a page is not served over HTTPS. */
function uuid() {
  if (crypto.randomUUID) return crypto.randomUUID();
  return Array.from(crypto.getRandomValues(new Uint8Array(16)), (byte) => byte.toString(16).padStart(2, "0")).join("");
}
