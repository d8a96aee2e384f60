// The list of conversations: last messages, marks, unread counts and who is typing.

import { call } from "./errors.js";

const NO_MARKS = { received_seq: 0, seen_seq: 0, friend_received_seq: 0, friend_seen_seq: 0 };

export class Conversations {
  #core;
  #all = new Map();
  #marks = new Map();
  #typing = new Map();
  #watchers = new Set();
  #loading = null;
  #wasLoaded = false;
  /** Whether the last load has not come to its end. */
  #hasFailed = false;
  /** Entries that came while a load was under way: its answer may be older. */
  #during = null;
  #refresh = null;
  #told = false;

  constructor(core) {
    this.#core = core;
  }

  get(id) {
    return this.#all.get(id) ?? null;
  }

  async list() {
    if (!this.#wasLoaded) await this.load();
    return this.#list().conversations;
  }

  watch(fn) {
    this.#watchers.add(fn);
    call(fn, this.#list());
    if (!this.#wasLoaded) this.load().catch(() => {});
    return () => this.#watchers.delete(fn);
  }

  get isUsed() {
    return this.#wasLoaded || this.#loading !== null || this.#watchers.size > 0;
  }

  /** A connection is there again: loads what could not be loaded. */
  resumed() {
    if (this.isUsed && (this.#hasFailed || !this.#wasLoaded)) this.load().catch(() => {});
  }

  /** Loads all of them; concurrent calls share one load. */
  load() {
    if (!this.#loading) {
      const loading = this.#load().finally(() => {
        if (this.#loading === loading) this.#loading = this.#during = null;
      });
      this.#loading = loading;
      this.#hasFailed = true;
    }
    return this.#loading;
  }

  async #load() {
    const { generation } = this.#core.logs;
    this.#during = [];
    const found = new Map();
    for (let page = 1, more = true; more; page++) {
      const answer = await this.#core.persist(() => this.#page(page)).catch((error) => {
        // The last page has gone since.
        if (page > 1 && error.status === 404) return { results: [] };
        throw error;
      });
      for (const one of answer.results) found.set(one.friendship.id, one);
      more = Boolean(answer.next);
    }
    if (generation !== this.#core.logs.generation) return this.#load();
    // The newest comes first: what an edit has moved up is later than what follows it.
    let activity = "";
    for (const one of [...found.values()].reverse()) activity = this.#put(one, activity);
    for (const id of this.#all.keys()) {
      if (found.has(id)) continue;
      // Opened since the server answered.
      if (this.#core.friends.get(id)?.is_open) this.refresh();
      else this.#all.delete(id);
    }
    this.#wasLoaded = true;
    this.#hasFailed = false;
    this.#replay();
  }

  #page(page) {
    return this.#core.http.get("/api/messages/conversations/", { query: { page, page_size: 100 } });
  }

  /** Soon loads them again, where what is here does not say what has become of them. */
  refresh() {
    if (!this.isUsed) return;
    this.#refresh ??= setTimeout(async () => {
      await this.#loading?.catch(() => {});
      this.#refresh = null;
      if (this.#core.isJoined) this.load().catch(() => {});
    }, this.#core.timing.refreshDelay);
  }

  #replay() {
    const frames = this.#during;
    this.#during = null;
    for (const frame of frames ?? []) this.#apply(frame);
    this.#tell();
  }

  #put({ friendship, last_message, unread, ...marks }, activity) {
    const friend = this.#core.friends.update(friendship);
    const last = last_message && this.#core.message(last_message.message, last_message.message.seq);
    this.setMarks(friendship.id, marks);
    this.#all.set(friendship.id, {
      id: friendship.id,
      friendship: friend,
      last_message: last,
      activity: after(activity, last?.created_at ?? friendship.date_created),
      // The unread ones at the time of the answer, and those that came since.
      counted: { unread, upTo: last?.seq ?? 0, since: new Map() },
    });
    const seen = this.marks(friendship.id).seen_seq;
    if (seen > marks.seen_seq) {
      // Seen since the server counted.
      if (seen >= (last?.seq ?? 0)) this.#all.get(friendship.id).counted.unread = 0;
      else this.refresh();
    }
    if (last && !last.mine) this.#core.receipts.received(friendship.id, last.id, last.seq);
    return this.#all.get(friendship.id).activity;
  }

  /** A friendship was made or changed. */
  befriended(friend) {
    const info = this.#all.get(friend.id);
    if (info) info.friendship = friend;
    else if (friend.is_open) this.refresh();
    this.#tell();
  }

  /** An entry of a log, in its order. */
  entry(frame) {
    this.#during?.push(frame);
    this.#apply(frame);
    this.#tell();
  }

  #apply({ type, channel, seq, message }) {
    const info = this.#all.get(channel);
    if (!info) return this.refresh();
    const { counted, last_message: last } = info;
    info.activity = latest(info.activity, message.edited_at ?? message.created_at);
    if (type === "friendship_message") {
      this.typing({ channel, user: message.sender, active: false });
      if (seq <= (last?.seq ?? 0)) return;
      info.last_message = this.#core.message(message, seq);
      const isUnread = !info.last_message.mine && seq > Math.max(counted.upTo, this.marks(channel).seen_seq);
      if (isUnread) counted.since.set(message.id, seq);
    } else {
      if (last?.id === message.id) info.last_message = newer(last, this.#core.message(message, last.seq));
      // When it was deleted, and whether it was counted as unread, only the server knows.
      if (type === "friendship_message_deleted") {
        counted.since.delete(message.id);
        this.refresh();
      }
    }
  }

  marks(id) {
    return this.#marks.get(id) ?? NO_MARKS;
  }

  /** Marks only go forward. */
  setMarks(id, marks) {
    const known = { ...this.marks(id) };
    let changed = false;
    for (const name in NO_MARKS) {
      if (marks[name] > known[name]) [known[name], changed] = [marks[name], true];
    }
    if (!changed) return;
    this.#marks.set(id, known);
    const info = this.#all.get(id);
    if (info) {
      const { counted } = info;
      for (const [message, seq] of counted.since) if (seq <= known.seen_seq) counted.since.delete(message);
      if (known.seen_seq >= counted.upTo) counted.unread = 0;
      // Seen on another device, in the middle of what was counted.
      else if (marks.seen_seq && counted.unread && this.#loading === null) this.refresh();
    }
    this.#core.changed(id);
    this.#tell();
  }

  notified({ channel, user, received_seq, seen_seq }) {
    const own = user === this.#core.session.user;
    this.setMarks(
      channel,
      own ? { received_seq, seen_seq } : { friend_received_seq: received_seq, friend_seen_seq: seen_seq },
    );
  }

  typing({ channel, user, active }) {
    if (user === this.#core.session.user) return;
    const timer = this.#typing.get(channel);
    clearTimeout(timer);
    if (!active && timer === undefined) return;
    if (active) {
      const ends = setTimeout(() => this.typing({ channel, user, active: false }), this.#core.timing.typingEnds);
      ends.unref?.();
      this.#typing.set(channel, ends);
    } else this.#typing.delete(channel);
    this.#core.emit("typing", { conversation: channel, user, active });
    this.#tell();
  }

  info(id) {
    const info = this.#all.get(id);
    if (!info) return null;
    const { counted, activity, ...shown } = info;
    return {
      ...shown,
      ...this.marks(id),
      friend: info.friendship.friend,
      last_message: info.last_message && this.#core.withStatus(info.last_message),
      unread: this.#unread(info),
      typing: this.#typing.has(id),
    };
  }

  /** The logs were set back: what was here counts no more, and until it is loaded anew nothing is told. */
  reset() {
    const { isUsed } = this;
    this.#marks.clear();
    for (const info of this.#all.values()) Object.assign(info, { last_message: null, counted: { unread: 0, upTo: 0, since: new Map() } });
    this.#wasLoaded = false;
    if (isUsed) this.load().catch(() => {});
  }

  clear() {
    for (const timer of this.#typing.values()) clearTimeout(timer);
    this.#typing.clear();
    this.#all.clear();
    this.#marks.clear();
    this.#wasLoaded = false;
    this.#loading = null;
    this.#tell();
  }

  #unread({ counted }) {
    return counted.unread + counted.since.size;
  }

  #list() {
    const conversations = [...this.#all.keys()].map((id) => this.info(id));
    const at = ({ id }) => this.#all.get(id).activity;
    conversations.sort((a, b) => (at(a) < at(b) ? 1 : at(a) > at(b) ? -1 : a.id < b.id ? -1 : 1));
    const unread = conversations.reduce((sum, one) => sum + one.unread, 0);
    return { conversations, unread, loading: !this.#wasLoaded };
  }

  /** Once for all that happens in a turn. */
  #tell() {
    if (this.#told || !this.#watchers.size) return;
    this.#told = true;
    queueMicrotask(() => {
      this.#told = false;
      if (this.#all.size && !this.#wasLoaded) return;
      const list = this.#list();
      for (const fn of [...this.#watchers]) call(fn, list);
    });
  }
}

function latest(a, b) {
  return a > b ? a : b;
}

/** The time, or if that is not later, the next moment after the other one, as text that sorts behind it. */
function after(other, time) {
  return time > other ? time : `${other}+`;
}

/** Of two states of a message the later one: deleted is for ever, and each edit is later than the last. */
export function newer(a, b) {
  if (a.deleted !== b.deleted) return a.deleted ? a : b;
  return (b.edited_at ?? "") >= (a.edited_at ?? "") ? b : a;
}
