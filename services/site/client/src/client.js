// The client as apps see it, and what its parts share.

import { Connection } from "./connection.js";
import { Conversation, marksOf } from "./conversation.js";
import { Conversations } from "./conversations.js";
import { NatterError, call, isPassing } from "./errors.js";
import { Friends } from "./friends.js";
import { Http } from "./http.js";
import { Logs } from "./logs.js";
import { Outbox } from "./outbox.js";
import { PresenceList } from "./presence.js";
import { Receipts } from "./receipts.js";
import { Session } from "./session.js";
import { IndexedDbStore, MemoryStore } from "./store.js";
import { Tabs } from "./tabs.js";

/** Milliseconds. `heartbeat` is the server's word where it is not given. */
const TIMING = {
  backoffMin: 500,
  backoffMax: 20_000,
  requestTimeout: 15_000,
  answerTimeout: 10_000,
  receiptDelay: 50,
  refreshDelay: 200,
  /** While a user types, the friend is told so this often at most. */
  typingEvery: 3_000,
  /** Who stops typing without saying so has stopped after this. */
  typingEnds: 6_000,
  /** After a new connection the server names who is online; who is not named by then is not. */
  presenceNamed: 3_000,
};

/** Whether this is a browser; one that keeps nothing for the page may throw at the very name. */
function hasIndexedDb() {
  try {
    return typeof indexedDB !== "undefined";
  } catch {
    return true;
  }
}

/** What the parts of a client know of each other. */
class Core {
  #listeners = new Map();
  #conversations = new Map();
  /** The friend's newest message in each conversation. */
  #ofFriend = new Map();
  /** How often it was closed: a `connect` from before is given up. */
  #closes = 0;
  #ready = null;
  /** What begins or ends a session, one after the other: there is one user. */
  #beginning = Promise.resolve();
  state = "closed";
  /** From `connect` to `close`: what fails is tried again. */
  isJoined = false;

  constructor(options) {
    this.options = options;
    this.timing = { ...TIMING, ...options.timing };
    this.store = options.store ?? (hasIndexedDb() ? new IndexedDbStore() : new MemoryStore());
    this.tabs = new Tabs(this);
    this.session = new Session(this);
    this.http = new Http(this);
    this.connection = new Connection(this);
    this.logs = new Logs(this);
    this.outbox = new Outbox(this);
    this.receipts = new Receipts(this);
    this.friends = new Friends(this);
    this.conversations = new Conversations(this);
    this.presence = new PresenceList(this);
    if (typeof document !== "undefined") {
      const wake = () => this.isJoined && this.session.user && this.#wake();
      addEventListener("online", wake);
      document.addEventListener("visibilitychange", () => document.visibilityState === "visible" && wake());
    }
  }

  // ---- What everything needs

  now() {
    return Date.now() + this.session.skew;
  }

  sleep(milliseconds) {
    return new Promise((resolve) => setTimeout(resolve, milliseconds));
  }

  on(event, fn) {
    if (!this.#listeners.has(event)) this.#listeners.set(event, new Set());
    this.#listeners.get(event).add(fn);
    return () => this.#listeners.get(event).delete(fn);
  }

  emit(event, value) {
    for (const fn of [...(this.#listeners.get(event) ?? [])]) call(fn, value);
  }

  /** Where the browser keeps nothing for this page, the memory is the store. */
  async ready() {
    if (this.options.store) return;
    this.#ready ??= this.store.get("session").catch((error) => {
      this.store = new MemoryStore();
      this.#storeFailed(error);
    });
    await this.#ready;
  }

  /** Stores it. A failure is told beside the rejection: whoever holds the promise may not be the app. */
  async keep(key, value) {
    try {
      await this.store.set(key, value);
    } catch (error) {
      throw this.#storeFailed(error);
    }
  }

  async forget(key) {
    await this.store.delete(key).catch((error) => this.#storeFailed(error));
  }

  #storeFailed(error) {
    const failure = new NatterError("store", `The store failed: ${error?.message ?? error}`);
    this.emit("error", failure);
    return failure;
  }

  /** Repeats what may be repeated until the server answers, or nobody waits for it any more. */
  async persist(work) {
    const { user } = this.session;
    for (let tries = 0; ; tries++) {
      try {
        const answer = await work();
        if (user && this.session.user !== user) throw new NatterError("logged_out", "The session has ended.");
        return answer;
      } catch (error) {
        // As long as there is a session, there will be a token that is valid.
        const isTried = isPassing(error) || error.code === "token_not_valid";
        if (!isTried || this.session.user !== user || !this.isJoined) throw error;
        await this.sleep(error.retryAfter ?? Math.min(5_000, this.timing.backoffMin * 2 ** tries));
      }
    }
  }

  // ---- Beginning and end

  /** Begins a session with the tokens that `ask` gets; not over another, whose messages would stay. */
  begin(ask) {
    return this.#inTurn(async () => {
      if (this.session.user) throw new NatterError("logged_in", "There is a session already: log out first.");
      await this.ready();
      await this.#drop();
      const tokens = await ask();
      await this.tabs.exclusively("session", () => this.session.begin(tokens));
      this.emit("session", { user: this.session.user });
    });
  }

  restore() {
    return this.#inTurn(async () => {
      await this.ready();
      const isThere = await this.session.restore();
      if (isThere) this.emit("session", { user: this.session.user });
      return isThere;
    });
  }

  #inTurn(work) {
    const done = this.#beginning.then(() => this.session.ending).then(work);
    this.#beginning = done.catch(() => {});
    return done;
  }

  async connect() {
    const closes = this.#closes;
    if (!this.session.user && !(await this.restore())) {
      throw new NatterError("logged_out", "There is no session.");
    }
    if (!this.isJoined && !this.tabs.areShared) await this.outbox.restore();
    if (closes !== this.#closes) throw new NatterError("closed", "There is no connection.");
    if (this.state === "connected") return;
    const connected = new Promise((resolve, reject) => {
      const off = this.on("state", (state) => {
        if (state === "connecting" || state === "offline") return;
        off();
        if (state === "connected") resolve();
        else reject(new NatterError(this.session.user ? "closed" : "logged_out", "There is no connection."));
      });
    });
    // So that a `close` changes the state, and ends the waiting.
    this.setState("connecting");
    if (!this.isJoined) {
      this.isJoined = true;
      for (const conversation of this.#conversations.values()) conversation.reload();
      this.tabs.join({ onLead: () => this.#lead(), onTold: (what) => this.#told(what) });
      // Not before other tabs are heard, which say what they settle.
      this.#restoreShared();
    } else this.#wake();
    return connected;
  }

  /** Connects, but first reads what is to be sent, also what a tab that crashed told nobody of. */
  async #lead() {
    await this.#restoreShared();
    if (this.tabs.isLeader) this.connection.start();
  }

  async #restoreShared() {
    if (this.tabs.areShared) await this.outbox.restore().catch((error) => this.#storeFailed(error));
  }

  /** Tries at once to have a connection, or to know whether it still lives. */
  #wake() {
    if (this.tabs.isLeader) this.#lead();
    else this.tabs.tell({ wake: true });
  }

  close() {
    this.#closes++;
    this.isJoined = false;
    this.logs.isLive = false;
    this.connection.stop();
    this.tabs.leave();
    this.outbox.halt();
    this.setState("closed");
  }

  logOut() {
    return this.quit(async () => {
      const { refresh } = this.session.tokens ?? {};
      if (!refresh) return;
      await this.http.post("/api/users/logout/", { json: { refresh } }).catch((error) => {
        if (error.status !== 401 && error.code !== "logged_out") throw error;
      });
    });
  }

  /** Ends the session with a request, of which the connection may tell first. */
  quit(request) {
    return this.#inTurn(async () => {
      const { prefix } = this.outbox;
      await request();
      await this.#drop(prefix);
      await this.session.end();
    });
  }

  /** Forgets what was not sent, also in the store; without a session, what is nobody's. */
  async #drop(prefix = this.outbox.prefix) {
    this.outbox.clear();
    for (const [key] of await this.store.entries(prefix).catch(() => [])) await this.forget(key);
  }

  /** This session has ended, here or elsewhere. What was not sent stays in the store until the user is back. */
  ended(sid) {
    this.tabs.tell({ ended: sid });
    this.close();
    this.outbox.clear();
    this.receipts.clear();
    this.friends.clear();
    this.conversations.clear();
    this.presence.clear();
    this.#ofFriend.clear();
    for (const conversation of this.#conversations.values()) conversation.clear();
    this.logs = new Logs(this);
    this.emit("session", null);
  }

  // ---- What comes

  setState(state) {
    if (state === this.state) return;
    this.state = state;
    if (this.tabs.isLeader) this.tabs.tell({ state });
    this.emit("state", state);
  }

  /** A frame of this tab's own connection. */
  received(frame) {
    this.tabs.tell({ frame });
    this.#handle(frame);
    if (frame.type === "resumed") this.setState("connected");
  }

  disconnected(code) {
    if (code === 1009) this.outbox.tooBig();
    this.outbox.interrupted();
  }

  #told(what) {
    if (what.frame) this.#handle(what.frame);
    else if (what.item) this.outbox.told(what.item);
    else if (what.added) this.outbox.added(what.added);
    else if (what.uploading) this.outbox.uploading(what.uploading);
    else if (what.seen) this.receipts.told(what.seen);
    else if (what.ended) {
      // Unless the user is back already.
      if (what.ended === this.session.tokens?.sid) this.session.end();
    } else if (this.tabs.isLeader) {
      if (what.transmit) this.connection.send(what.transmit);
      if (what.wake) this.#lead();
      if (what.hello) {
        const welcome = this.logs.isLive && { logs: this.logs.snapshot(), presence: this.presence.snapshot() };
        this.tabs.tell({ welcome, state: this.state });
      }
    } else {
      if (what.welcome && !this.logs.isLive) {
        this.logs.take(what.welcome.logs);
        for (const one of what.welcome.presence) this.presence.update(one);
      }
      if (what.state) this.setState(what.state);
    }
  }

  #handle(frame) {
    switch (frame.type) {
      case "ready":
        return this.logs.ready(frame);
      case "resync":
        return this.logs.resync(frame);
      case "resumed":
        return this.#resumed(frame);
      case "friendship_message":
      case "friendship_message_edited":
      case "friendship_message_deleted":
        return this.logs.entry(frame);
      case "ack":
        return this.outbox.acked(frame);
      case "chat_friendship_notification":
        if (frame.user === this.session.user) this.receipts.confirmed(frame.channel, frame);
        return this.conversations.notified(frame);
      case "friendship_update":
        this.friends.update(frame.friendship);
        if (frame.friendship.is_open) {
          this.logs.opened(frame.friendship.id, frame.friendship.revision).catch(() => {});
          this.receipts.opened(frame.friendship.id);
        }
        return;
      case "typing":
        return this.conversations.typing(frame);
      case "presence":
        return this.presence.update(frame);
      case "token":
        return void this.session.begin(frame).catch(() => {});
      case "error":
        if (this.outbox.refused(frame) || this.receipts.refused(frame)) return;
        this.emit("error", new NatterError(frame.code, frame.detail));
    }
  }

  #resumed(frame) {
    this.logs.resumed(frame);
    for (const [channel, marks] of Object.entries(frame.marks)) {
      this.conversations.setMarks(channel, marks);
      this.receipts.confirmed(channel, marks);
    }
    for (const channel in frame.channels) this.receipts.opened(channel);
    this.presence.resumed();
    this.outbox.pump();
    if (this.friends.isUsed || this.conversations.isUsed) this.friends.reload().catch(() => {});
    this.conversations.resumed();
    for (const conversation of this.#conversations.values()) conversation.resumed();
  }

  /** The next entry of a log. */
  logged(frame) {
    const message = this.message(frame.message, frame.seq);
    this.outbox.based(frame.channel, frame.seq);
    if (frame.type === "friendship_message") this.outbox.found(frame.message, frame.channel, frame.seq);
    this.conversations.entry(frame);
    this.#conversations.get(frame.channel)?.entry(frame);
    if (frame.type !== "friendship_message") return;
    this.noteOfFriend(message);
    if (!message.mine) this.receipts.received(frame.channel, message.id, frame.seq);
    this.emit("message", this.withStatus(message));
  }

  /** Where a log stands is known anew: what was loaded before may lack something. */
  based(channel) {
    this.outbox.based(channel, this.logs.have(channel));
    this.#conversations.get(channel)?.reload();
    this.conversations.refresh();
  }

  /** The logs were set back. */
  reset() {
    this.#ofFriend.clear();
    this.receipts.clear();
    this.outbox.reset();
    this.conversations.reset();
    for (const conversation of this.#conversations.values()) conversation.reload();
  }

  changed(channel) {
    this.#conversations.get(channel)?.changed();
  }

  // ---- What goes

  /** A frame that is lost where there is no connection. */
  transmit(frame) {
    if (this.tabs.isLeader) this.connection.send(frame);
    else this.tabs.tell({ transmit: frame });
  }

  upload(file, { filename, onProgress, signal } = {}) {
    const form = new FormData();
    form.append("file", file, filename ?? file.name ?? "file");
    return this.http.post("/api/messages/media/", { form, onProgress, signal });
  }

  // ---- Messages

  conversation(id) {
    let conversation = this.#conversations.get(id);
    if (!conversation) this.#conversations.set(id, (conversation = new Conversation(this, id)));
    return conversation;
  }

  /** A message of the server, with its place in the log. */
  message({ id, friendship, sender, content, media, created_at, client_id, reply_to, edited_at, deleted }, seq) {
    return {
      id,
      friendship,
      sender,
      content,
      media,
      created_at,
      client_id: client_id ?? null,
      reply_to: reply_to ?? null,
      edited_at: edited_at ?? null,
      deleted,
      seq,
      mine: sender === this.session.user,
    };
  }

  /** With how far it has come, and with a change that is under way or was refused. */
  withStatus(message, change) {
    const marks = this.conversations.marks(message.friendship);
    const side = message.mine ? "friend_" : "";
    const reached = (mark) => message.seq <= marks[`${side}${mark}_seq`];
    const status = reached("seen") ? "seen" : reached("received") ? "received" : "sent";
    const shown = { ...message, status, error: null, edit: null };
    if (change?.kind === "delete") Object.assign(shown, { content: "", media: [], deleted: true, status: "pending" });
    else if (change) {
      const isFailed = change.state === "failed";
      const { clientId: client_id, payload: content } = change;
      if (!isFailed) Object.assign(shown, { content, status: "pending" });
      shown.edit = { client_id, content, status: isFailed ? "failed" : "pending", error: errorOf(change) };
    }
    return shown;
  }

  /** A message of the outbox. */
  pending(item) {
    const message = {
      id: item.id ?? null,
      friendship: item.channel,
      sender: this.session.user,
      content: item.payload,
      media: item.media,
      created_at: item.created,
      client_id: item.clientId,
      reply_to: item.replyTo ?? null,
      edited_at: null,
      deleted: false,
      seq: item.seq ?? null,
      mine: true,
    };
    if (item.state === "sent") return this.withStatus(message);
    return { ...message, status: item.state, error: errorOf(item), edit: null };
  }

  noteOfFriend({ id, friendship, seq, mine }) {
    if (!mine && seq > (this.#ofFriend.get(friendship)?.seq ?? 0)) this.#ofFriend.set(friendship, { id, seq });
  }

  lastOfFriend(channel) {
    const last = this.conversations.get(channel)?.last_message;
    if (last) this.noteOfFriend(last);
    return this.#ofFriend.get(channel);
  }
}

export class NatterClient {
  #core;

  constructor(options) {
    const core = new Core(options);
    this.#core = core;
    const { http } = core;
    const page = async (path, query, map = (one) => one) => {
      const { count, next, results } = await http.get(path, { query });
      return { count, results: results.map(map), hasNext: Boolean(next) };
    };

    this.profile = {
      get: () => http.get("/api/users/profile/"),
      update: (change) => http.request("PATCH", "/api/users/profile/", body(change)),
      changePassword: async ({ current, new: next }) => {
        await http.post("/api/users/password/", { json: { current, new: next } });
      },
      delete: async ({ password }) => {
        await core.quit(() => http.request("DELETE", "/api/users/profile/", { json: { password } }));
      },
      sessions: () => http.get("/api/users/sessions/"),
      endSession: async (sid) => {
        await http.request("DELETE", `/api/users/sessions/${encodeURIComponent(sid)}/`);
      },
    };
    this.users = {
      search: ({ username, page: number = 1, pageSize = 20 } = {}) =>
        page("/api/users/", { username: username || undefined, page: number, page_size: pageSize }),
    };
    const { friends, conversations, presence } = core;
    this.friends = {
      list: () => friends.list(),
      ask: (user) => friends.ask(user),
      accept: (friendship) => friends.accept(friendship),
      reject: (friendship) => friends.reject(friendship),
      watch: (fn) => friends.watch(fn),
    };
    this.conversations = { list: () => conversations.list(), watch: (fn) => conversations.watch(fn) };
    this.presence = { get: (user) => presence.get(user), watch: (fn) => presence.watch(fn) };
    this.search = (text, { page: number = 1, pageSize = 20 } = {}) =>
      page("/api/messages/search/", { q: text, page: number, page_size: pageSize }, (item) => {
        const message = core.message(item.message, item.message.seq);
        // To be found, unlike to be listed, is not to be received.
        core.conversations.setMarks(message.friendship, marksOf(item, message.mine));
        return core.withStatus(message);
      });
  }

  get state() {
    return this.#core.state;
  }

  get user() {
    return this.#core.session.user;
  }

  get unsent() {
    return this.#core.outbox.unsent;
  }

  get persistent() {
    return !(this.#core.store instanceof MemoryStore);
  }

  now() {
    return this.#core.now();
  }

  async signUp(user) {
    await this.#core.begin(() => this.#core.http.post("/api/users/signup/", { ...body(user), token: false }));
  }

  async logIn({ username, password }) {
    const json = { username, password };
    await this.#core.begin(() => this.#core.http.post("/api/users/login/", { json, token: false }));
  }

  logOut() {
    return this.#core.logOut();
  }

  restore() {
    return this.#core.restore();
  }

  connect() {
    return this.#core.connect();
  }

  close() {
    this.#core.close();
  }

  on(event, fn) {
    return this.#core.on(event, fn);
  }

  conversation(id) {
    return this.#core.conversation(id);
  }

  upload(file, options) {
    return this.#core.upload(file, options);
  }

  download({ id }) {
    return this.#core.http.get(`/api/messages/media/${encodeURIComponent(id)}/`, { as: "blob" });
  }
}

/** Why an item of the outbox failed. */
function errorOf({ error }) {
  return error ? new NatterError(error.code, error.message) : null;
}

/** As JSON, or with a picture as a form. */
function body(fields) {
  if (!(fields.personal_image instanceof Blob)) return { json: fields };
  const form = new FormData();
  for (const [name, value] of Object.entries(fields)) {
    if (value !== undefined && value !== null) form.append(name, value);
  }
  return { form };
}
