// What the fake Natter knows: users, sessions, friendships, and the channels' logs and marks, by the
// rules of HTTP.md and WEBSOCKET.md. It emits what happens; HTTP and WebSockets are its two doors.

import { createHash } from "node:crypto";
import { EventEmitter } from "node:events";

import { makeToken, readToken } from "./tokens.js";

/** A refusal, by its code. */
export class Refused extends Error {
  constructor(code) {
    super(code);
    this.code = code;
  }
}

const pairOf = (friendship) => [friendship.from_user, friendship.to_user];

export class Model extends EventEmitter {
  users = new Map();
  sessions = new Map();
  friendships = new Map();
  channels = new Map();
  media = new Map();
  epoch = crypto.randomUUID();
  /** Where it is reached. */
  url = "";
  /** Milliseconds by which the server's clock is ahead of this device's. */
  clockAhead = 0;
  /** Seconds. */
  accessLifetime = 900;
  /** Seconds for which a refresh token that was replaced may be repeated. */
  grace = 10;
  #lastTime = 0;

  constructor() {
    super();
    this.setMaxListeners(0);
  }

  /** The server's time in milliseconds. */
  now() {
    return Date.now() + this.clockAhead;
  }

  /** A time that is later than every one before. */
  #timestamp() {
    this.#lastTime = Math.max(this.#lastTime + 0.001, this.now());
    const micros = Math.round((this.#lastTime % 1) * 1000);
    const whole = new Date(Math.floor(this.#lastTime)).toISOString();
    return whole.replace("Z", `${String(micros % 1000).padStart(3, "0")}Z`);
  }

  // Users and sessions.

  addUser({ username, password, email = `${username}@natter.test`, first_name = "", last_name = "" }) {
    if ([...this.users.values()].some((user) => user.username === username)) {
      throw new Refused("username_taken");
    }
    const id = crypto.randomUUID();
    const user = { id, username, password, email, first_name, last_name, personal_image: null };
    this.users.set(id, user);
    return user;
  }

  userByName(username) {
    return [...this.users.values()].find((user) => user.username === username);
  }

  card(id) {
    const { password: _, ...card } = this.users.get(id);
    return card;
  }

  /** Begins a session; answers its first pair of tokens. */
  beginSession(user, userAgent = "") {
    const sid = crypto.randomUUID();
    const created = this.#timestamp();
    this.sessions.set(sid, {
      sid,
      user,
      userAgent,
      created_at: created,
      last_used_at: created,
      refresh: null,
      replaced: new Map(),
      expiredBefore: 0,
    });
    return this.#pair(sid);
  }

  #token(session, type, lifetime) {
    const now = this.now() / 1000;
    return makeToken({
      token_type: type,
      user_id: session.user,
      sub: session.user,
      sid: session.sid,
      jti: crypto.randomUUID(),
      iat: now,
      exp: now + lifetime,
    });
  }

  #pair(sid) {
    const session = this.sessions.get(sid);
    if (session.refresh) session.replaced.set(session.refresh, this.now());
    session.refresh = this.#token(session, "refresh", 30 * 24 * 3600);
    return { access: this.#token(session, "access", this.accessLifetime), refresh: session.refresh };
  }

  /** Another access token of a session, as after a refresh. */
  accessOf(sid) {
    return this.#token(this.sessions.get(sid), "access", this.accessLifetime);
  }

  /** The claims of an access token of a session that lives; null otherwise. */
  verify(access, { mayHaveExpired = false } = {}) {
    const claims = readToken(access);
    if (claims?.token_type !== "access") return null;
    const session = this.sessions.get(claims.sid);
    if (!session) return null;
    const isExpired = claims.exp * 1000 <= this.now() || claims.iat * 1000 < session.expiredBefore;
    return isExpired && !mayHaveExpired ? null : claims;
  }

  /** Another pair for a refresh token; null where it is not valid. */
  rotate(refresh, sid) {
    const session = this.sessions.get(sid);
    if (!session) return null;
    if (refresh === session.refresh) return this.#pair(sid);
    const replacedAt = session.replaced.get(refresh);
    if (replacedAt === undefined) return null;
    if (this.now() - replacedAt <= this.grace * 1000) {
      return { access: this.accessOf(sid), refresh: session.refresh };
    }
    this.endSession(sid);
    return null;
  }

  /** Every access token that was given out so far is taken for expired. */
  expireTokens() {
    for (const session of this.sessions.values()) session.expiredBefore = this.now();
  }

  endSession(sid) {
    this.sessions.delete(sid);
    this.emit("sessionEnded", sid);
  }

  // Friendships.

  friendshipsOf(user) {
    return [...this.friendships.values()].filter((one) => pairOf(one).includes(user));
  }

  /** As GET with `expand=users` answers it. */
  expanded(friendship) {
    const { from_user, to_user, ...rest } = friendship;
    return {
      ...rest,
      from_user: this.card(from_user),
      to_user: this.card(to_user),
      is_open: this.isOpen(friendship),
    };
  }

  isOpen(friendship) {
    return friendship.status_to_user === "accepted" && friendship.status_from_user !== "rejected";
  }

  ask(from, to, status) {
    if (!["pending", "accepted", "rejected"].includes(status)) throw new Refused("invalid_status");
    if (from === to) throw new Refused("to_yourself");
    if (!this.users.has(to)) throw new Refused("user_not_found");
    if (this.friendshipsOf(from).some((one) => pairOf(one).includes(to))) throw new Refused("already_exists");
    const friendship = {
      id: crypto.randomUUID(),
      from_user: from,
      to_user: to,
      status_from_user: status,
      status_to_user: "pending",
      date_created: this.#timestamp(),
      revision: 1,
    };
    this.friendships.set(friendship.id, friendship);
    this.emit("friendship", friendship);
    return friendship;
  }

  answer(user, id, status) {
    if (!["pending", "accepted", "rejected"].includes(status)) throw new Refused("invalid_status");
    const friendship = this.friendships.get(id);
    if (!friendship) throw new Refused("friendship_not_found");
    if (!pairOf(friendship).includes(user)) throw new Refused("not_authorized");
    friendship[friendship.from_user === user ? "status_from_user" : "status_to_user"] = status;
    friendship.revision += 1;
    if (this.isOpen(friendship) && !this.channels.has(id)) this.#open(friendship);
    this.emit("friendship", friendship);
    return friendship;
  }

  /** Two users who are friends. */
  befriend(from, to) {
    return this.answer(to, this.ask(from, to, "accepted").id, "accepted");
  }

  // Channels.

  #open(friendship) {
    const members = pairOf(friendship);
    this.channels.set(friendship.id, {
      id: friendship.id,
      members,
      created_at: this.#timestamp(),
      entries: [],
      messages: new Map(),
      marks: new Map(members.map((member) => [member, { received_seq: 0, seen_seq: 0 }])),
      known: new Map(),
    });
  }

  channelOf(user, id) {
    const channel = this.channels.get(id);
    if (!channel?.members.includes(user)) throw new Refused("not_a_member");
    return channel;
  }

  openChannels(user) {
    return [...this.channels.values()].filter(
      (channel) => channel.members.includes(user) && this.isOpen(this.friendships.get(channel.id)),
    );
  }

  friendIn(channel, user) {
    return channel.members.find((member) => member !== user);
  }

  /**
   * Appends what a user sends to a channel's log: `{kind: "message", content, media, replyTo}`,
   * `{kind: "edited", message, content}` or `{kind: "deleted", message}`. Answers as an ack.
   */
  send(user, id, clientId, what) {
    const channel = this.channelOf(user, id);
    const digest = this.#digest(what);
    const key = `${user} ${clientId}`;
    const known = clientId === null ? undefined : channel.known.get(key);
    if (known && known.digest !== digest) throw new Refused("client_id_reused");
    if (known) return { ...known.ack, duplicate: true };
    if (!this.isOpen(this.friendships.get(id))) throw new Refused("channel_closed");

    const entry = this.#entry(channel, user, clientId, what);
    channel.entries.push(entry);
    this.#apply(channel, entry);
    const ack = {
      client_id: clientId,
      channel: id,
      message: entry.message,
      seq: entry.seq,
      created_at: entry.at,
      duplicate: false,
    };
    if (clientId !== null) channel.known.set(key, { digest, ack });
    this.emit("log", channel, entry);
    return ack;
  }

  /** Tells a repeat from another use of a client id: files count by name and content, not by id. */
  #digest({ media = [], ...what }) {
    const hash = createHash("sha256").update(JSON.stringify(what));
    for (const id of media) {
      const file = this.media.get(id);
      hash.update(`\0${file?.filename}\0`).update(file?.bytes ?? "");
    }
    return hash.digest("hex");
  }

  #entry(channel, user, clientId, what) {
    const entry = { ...what, sender: user, clientId, seq: channel.entries.length + 1 };
    if (what.kind === "message") {
      if (what.content === "" && what.media.length === 0) throw new Refused("invalid_frame");
      if (what.replyTo !== null && !channel.messages.has(what.replyTo)) throw new Refused("message_not_found");
      for (const media of what.media) {
        const file = this.media.get(media);
        if (file?.owner !== user || file.message) throw new Refused("invalid_frame");
      }
      entry.message = crypto.randomUUID();
    } else {
      const target = channel.messages.get(what.message);
      if (!target || target.deleted) throw new Refused("message_not_found");
      if (target.sender !== user) throw new Refused("not_yours");
      if (what.content === "" && target.media.length === 0) throw new Refused("invalid_frame");
    }
    entry.at = this.#timestamp();
    return entry;
  }

  /** Brings a channel's messages to what they are after an entry. */
  #apply(channel, entry) {
    if (entry.kind === "message") {
      channel.messages.set(entry.message, {
        id: entry.message,
        friendship: channel.id,
        sender: entry.sender,
        content: entry.content,
        media: entry.media.map((id) => this.mediaCard(id)),
        created_at: entry.at,
        client_id: entry.clientId,
        reply_to: entry.replyTo,
        edited_at: null,
        deleted: false,
        seq: entry.seq,
      });
      for (const id of entry.media) this.media.get(id).message = entry.message;
    } else if (entry.kind === "edited") {
      Object.assign(channel.messages.get(entry.message), { content: entry.content, edited_at: entry.at });
    } else {
      Object.assign(channel.messages.get(entry.message), { content: "", media: [], deleted: true });
    }
  }

  /** An entry as the frame of its kind: as it was then, but for what was deleted since. */
  frameOf(channel, entry) {
    const { seq: _, ...message } = channel.messages.get(entry.message);
    const types = { message: "friendship_message", edited: "friendship_message_edited", deleted: "friendship_message_deleted" };
    const editedAt = { message: null, edited: entry.at, deleted: message.edited_at }[entry.kind];
    const content = message.deleted ? "" : entry.content;
    return {
      type: types[entry.kind],
      channel: channel.id,
      seq: entry.seq,
      message: { ...message, content, edited_at: editedAt },
    };
  }

  /** The messages of a channel, oldest first, each in its present state. */
  messagesOf(channel) {
    return [...channel.messages.values()];
  }

  mediaCard(id) {
    const { filename, content_type, bytes } = this.media.get(id);
    return { id, filename, content_type, size: bytes.length, file: `${this.url}/api/messages/media/${id}/` };
  }

  addMedia(owner, filename, contentType, bytes) {
    const id = crypto.randomUUID();
    this.media.set(id, { id, owner, filename, content_type: contentType, bytes, message: null });
    return this.mediaCard(id);
  }

  /** Moves a user's marks forward up to a message. `origin` is the connection that said so. */
  mark(user, id, message, isSeen, origin = null) {
    const channel = this.channelOf(user, id);
    const target = channel.messages.get(message);
    if (!target) throw new Refused("message_not_found");
    const marks = channel.marks.get(user);
    marks.received_seq = Math.max(marks.received_seq, target.seq);
    if (isSeen) marks.seen_seq = Math.max(marks.seen_seq, target.seq);
    this.emit("marks", channel, user, target, origin);
  }

  /** How far both sides of a channel are, as one of them is told it. */
  marksFor(channel, user) {
    const own = channel.marks.get(user);
    const friend = channel.marks.get(this.friendIn(channel, user));
    return { ...own, friend_received_seq: friend.received_seq, friend_seen_seq: friend.seen_seq };
  }

  unread(channel, user) {
    const { seen_seq } = channel.marks.get(user);
    return this.messagesOf(channel).filter(
      (message) => message.sender !== user && message.seq > seen_seq && !message.deleted,
    ).length;
  }

  /** Newest activity first. */
  conversationsOf(user) {
    const activity = (channel) => channel.entries.at(-1)?.at ?? channel.created_at;
    return [...this.channels.values()]
      .filter((channel) => channel.members.includes(user))
      .filter((channel) => channel.messages.size > 0 || this.isOpen(this.friendships.get(channel.id)))
      .sort((one, other) => (activity(one) < activity(other) ? 1 : -1));
  }

  /** Sets a channel's log back: the newest entries are gone, and a new epoch begins. */
  setBack(channel, count) {
    const kept = channel.entries.slice(0, Math.max(0, channel.entries.length - count));
    channel.entries = kept;
    channel.messages = new Map();
    for (const file of this.media.values()) file.message = null;
    for (const one of this.channels.values()) {
      one.messages = new Map();
      for (const entry of one.entries) this.#apply(one, entry);
    }
    for (const [key, { ack }] of channel.known) if (ack.seq > kept.length) channel.known.delete(key);
    for (const marks of channel.marks.values()) {
      marks.received_seq = Math.min(marks.received_seq, kept.length);
      marks.seen_seq = Math.min(marks.seen_seq, kept.length);
    }
    this.epoch = crypto.randomUUID();
    this.emit("setBack");
  }
}
