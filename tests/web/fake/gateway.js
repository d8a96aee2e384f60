// The WebSocket door of the fake Natter: connections by the rules of WEBSOCKET.md, and on each of
// them the faults that a network or a gateway may have.

import { WebSocketServer } from "ws";

import { assertDocumented } from "./frames.js";
import { Refused } from "./log.js";

const REASONS = {
  1001: "No answer to pings",
  1002: "Reserved bits are set",
  1007: "Not UTF-8",
  1008: "No resume in time",
  1009: "Too large",
  1011: "Failed",
  1012: "Restarting",
  1013: "Overloaded",
  4001: "Unauthorized access",
  4008: "Too slow",
  4009: "Too many connections",
};
/** Frames that an `ack` answers; the faults of sends strike these. */
const SENDS = ["friendship", "friendship_edit", "friendship_delete"];
const RECEIPTS = ["friendship_notification_received", "friendship_notification_seen"];

export class Gateway {
  #model;
  #server = new WebSocketServer({ noServer: true, handleProtocols: (offered) => (offered.has("natter.v1") ? "natter.v1" : false) });
  connections = new Set();
  heartbeatSeconds = 30;
  /** A channel in which a client is more events behind than this is not replayed. */
  replayEvents = 20;
  connectionLimit = 20;
  /** Bytes that a frame of a client may have. */
  frameLimit = 8 * 1024 * 1024;
  /** Milliseconds within which `resume` must come. */
  resumeTimeout = 10_000;
  /** Seconds before the end of its token at which a browser connection is warned. */
  warningSeconds = 60;
  /** How often upgrades are still answered with this status: `{status, times}`. */
  refusing = null;
  /** Whether an `ack` comes before the frame that it acknowledges. */
  ackFirst = false;
  /** Every upgrade so far: its time and its token. */
  upgrades = [];

  constructor(model) {
    this.#model = model;
    model.on("log", (channel, entry) => this.#tell(channel, (one) => one.showEntry(channel, entry)));
    model.on("marks", (channel, user, target, origin) => {
      const frame = marksFrame(channel, user, target);
      this.#tell(channel, (one) => one !== origin && one.showLive(frame));
    });
    model.on("friendship", (friendship) => this.#showFriendship(friendship));
    model.on("sessionEnded", (sid) => {
      for (const one of this.connections) if (one.sid === sid) one.close(4001);
    });
    model.on("setBack", () => this.closeAll(4008, "The log was set back"));
  }

  upgrade(request, socket, head) {
    if (this.refusing) {
      const { status } = this.refusing;
      this.refusing.times -= 1;
      if (this.refusing.times === 0) this.refusing = null;
      refuse(socket, status, { detail: "Injected.", code: "unavailable" });
      return;
    }
    const { authorization, refresh } = request.headers;
    const offered = (request.headers["sec-websocket-protocol"] ?? "").split(/\s*,\s*/);
    const isBrowser = !authorization && offered.some((one) => one === "natter.v1" || one.startsWith("bearer."));
    const access = authorization?.replace(/^Bearer /, "") ?? offered.find((one) => one.startsWith("bearer."))?.slice(7);
    const claims = this.#model.verify(access, { mayHaveExpired: !isBrowser });
    const isValid = claims && (isBrowser || this.#isOfSession(refresh, claims.sid));
    const isExpired = this.#model.verify(access) === null;
    this.upgrades.push({ at: performance.now(), access, isExpired });
    if (!isValid && !isBrowser) {
      refuse(socket, 401, { detail: "Given token not valid for any token type", code: "token_not_valid" });
      return;
    }
    this.#server.handleUpgrade(request, socket, head, (ws) => {
      ws.on("error", () => {});
      if (!isValid) {
        ws.close(4001, REASONS[4001]);
        return;
      }
      const renewed = isBrowser || this.#model.verify(access) ? null : this.#model.rotate(refresh, claims.sid);
      this.#open(new Connection(this, this.#model, ws, claims, isBrowser), renewed);
    });
  }

  #isOfSession(refresh, sid) {
    const session = this.#model.sessions.get(sid);
    return session.refresh === refresh || session.replaced.has(refresh);
  }

  #open(connection, renewed) {
    const ofUser = this.of(connection.user);
    if (ofUser.length >= this.connectionLimit) ofUser[0].close(4009);
    this.connections.add(connection);
    connection.open(renewed);
  }

  /** The connections of a user, the oldest first. */
  of(user) {
    return [...this.connections].filter((one) => one.user === user);
  }

  isOnline(user) {
    return this.of(user).some((one) => one.isLive);
  }

  #tell(channel, show) {
    for (const one of this.connections) if (channel.members.includes(one.user)) show(one);
  }

  #showFriendship(friendship) {
    const frame = { type: "friendship_update", friendship: this.#model.expanded(friendship) };
    for (const one of this.connections) {
      if ([friendship.from_user, friendship.to_user].includes(one.user)) one.showFriendship(frame);
    }
  }

  /** Tells the friends of a user whether this user is online. */
  tellPresence(user) {
    const online = this.isOnline(user);
    const last_seen = online ? null : new Date(this.#model.now()).toISOString();
    for (const channel of this.#model.openChannels(user)) {
      const friend = this.#model.friendIn(channel, user);
      for (const one of this.of(friend)) one.showLive({ type: "presence", user, online, last_seen });
    }
  }

  // Faults of the whole gateway.

  closeAll(code, reason) {
    for (const one of this.connections) one.close(code, reason);
  }

  destroyAll() {
    for (const one of this.connections) one.destroy();
  }
}

/** One client. */
class Connection {
  #gateway;
  #model;
  #ws;
  #isFull;
  #isBrowser;
  #expiry = null;
  #timers = [];
  /** The seq up to which each channel was written. */
  #written = new Map();
  /** What is answered in this moment: live frames wait, if acks come first. */
  #waiting = null;
  /** Frames that come after some more: `{frame, after}`. */
  #held = [];
  /** Frames of a network that is slow in this moment. */
  #stalled = null;
  /** What the next frames to the client meet: `{kind, matches}`. */
  #tricks = [];
  /** What the next sends or receipts meet: `{types, kind}`. */
  #frameFaults = [];
  /** Channels in which this client says that its user is typing. */
  #typingIn = new Set();
  isLive = false;
  /** Whether it made its user online. */
  #wasLive = false;
  isHalfOpen = false;

  constructor(gateway, model, ws, { user_id, sid, exp }, isBrowser) {
    this.#gateway = gateway;
    this.#model = model;
    this.#ws = ws;
    this.#isFull = ws.protocol === "natter.v1";
    this.#isBrowser = isBrowser;
    this.user = user_id;
    this.sid = sid;
    if (isBrowser) this.#expireAt(exp);
  }

  open(renewed) {
    this.#ws.on("message", (bytes, isBinary) => this.#receive(bytes, isBinary));
    this.#ws.on("close", () => this.#closed());
    if (renewed) this.#write({ type: "token", ...renewed });
    const channels = {};
    for (const channel of this.#model.openChannels(this.user)) channels[channel.id] = channel.entries.length;
    for (const [id, seq] of Object.entries(channels)) this.#written.set(id, seq);
    this.#write({
      type: "ready",
      user: this.user,
      heartbeat_seconds: this.#gateway.heartbeatSeconds,
      epoch: this.#model.epoch,
      channels,
    });
    if (this.#isFull) this.#later(this.#gateway.resumeTimeout, () => this.isLive || this.close(1008));
    else this.#beLive();
  }

  #later(ms, run) {
    const timer = setTimeout(run, ms);
    timer.unref();
    this.#timers.push(timer);
    return timer;
  }

  #expireAt(exp) {
    this.#expiry?.forEach(clearTimeout);
    const left = exp * 1000 - this.#model.now();
    const warning = Math.max(0, left - this.#gateway.warningSeconds * 1000);
    this.#expiry = [
      this.#later(warning, () => this.#write({ type: "token_expiring", seconds: Math.round((left - warning) / 1000) })),
      this.#later(left, () => this.close(4001)),
    ];
  }

  #closed() {
    this.#timers.forEach(clearTimeout);
    for (const channel of this.#typingIn) this.#typing({ channel, active: false });
    this.#gateway.connections.delete(this);
    this.isLive = false;
    if (this.#wasLive && !this.#gateway.isOnline(this.user)) this.#gateway.tellPresence(this.user);
  }

  // To the client.

  /** An entry of a log, unless it was written already. */
  showEntry(channel, entry) {
    if (!this.isLive || (this.#written.get(channel.id) ?? 0) >= entry.seq) return;
    this.#written.set(channel.id, entry.seq);
    this.showLive(this.#model.frameOf(channel, entry));
    if (!this.#isFull && entry.sender !== this.user) {
      this.#model.mark(this.user, channel.id, entry.message, false, this);
    }
  }

  showLive(frame) {
    if (!this.isLive) return;
    if (this.#waiting) this.#waiting.push(frame);
    else this.#write(frame);
  }

  showFriendship(frame) {
    const { id, is_open } = frame.friendship;
    if (!is_open) this.#written.delete(id);
    else if (!this.#written.has(id)) this.#written.set(id, this.#model.channels.get(id).entries.length);
    this.showLive(frame);
  }

  /** Writes a frame, if the faults let it. */
  #write(frame, isDocumented = true) {
    if (isDocumented) assertDocumented("server", frame);
    const index = this.#tricks.findIndex(({ matches }) => matches(frame));
    const [trick] = index < 0 ? [] : this.#tricks.splice(index, 1);
    if (trick?.kind === "drop") return;
    if (trick?.kind === "reorder") {
      this.#held.push({ frame, after: 1 });
      return;
    }
    this.#put(frame);
    const due = this.#held.filter((held) => (held.after -= 1) <= 0);
    this.#held = this.#held.filter((held) => held.after > 0);
    for (const held of due) this.#put(held.frame);
    if (trick?.kind === "repeat") this.#held.push({ frame, after: trick.after });
  }

  #put(frame) {
    if (this.isHalfOpen || this.#ws.readyState !== this.#ws.OPEN) return;
    if (this.#stalled) this.#stalled.push(frame);
    else this.#ws.send(JSON.stringify(frame));
  }

  // From the client.

  #receive(bytes, isBinary) {
    if (this.isHalfOpen) return;
    if (bytes.length > this.#gateway.frameLimit) {
      this.close(1009);
      return;
    }
    let frame;
    try {
      frame = JSON.parse(bytes);
    } catch {
      this.#write({ type: "error", code: isBinary ? "unsupported" : "invalid_json", detail: "Not JSON." });
      return;
    }
    assertDocumented("client", frame);
    if (this.#meetFault(frame)) return;
    this.#waiting = this.#gateway.ackFirst && SENDS.includes(frame.type) ? [] : null;
    try {
      this.#carryOut(frame);
    } catch (error) {
      if (!(error instanceof Refused)) throw error;
      this.#refuse(frame, error.code);
    }
    const waiting = this.#waiting ?? [];
    this.#waiting = null;
    for (const one of waiting) this.#write(one);
  }

  /** Whether a fault took the frame. */
  #meetFault(frame) {
    const index = this.#frameFaults.findIndex(({ types }) => types.includes(frame.type));
    if (index < 0) return false;
    const [fault] = this.#frameFaults.splice(index, 1);
    if (fault.kind === "refuse") this.#refuse(frame, fault.code, fault.retryAfterMs);
    if (fault.kind === "ackLost") {
      try {
        this.#send(frame);
      } catch (error) {
        if (!(error instanceof Refused)) throw error;
      }
    }
    if (fault.kind !== "refuse") this.destroy();
    return true;
  }

  #refuse({ type, client_id }, code, retryAfterMs) {
    const wait = retryAfterMs === undefined ? {} : { retry_after_ms: retryAfterMs };
    this.#write({ type: "error", code, detail: code, answers: type, client_id, ...wait });
  }

  #carryOut(frame) {
    switch (frame.type) {
      case "friendship":
      case "friendship_edit":
      case "friendship_delete":
        this.#write({ type: "ack", ...this.#send(frame) });
        return;
      case "friendship_notification_received":
      case "friendship_notification_seen":
        if (!this.#model.isOpen(this.#model.friendships.get(frame.channel))) throw new Refused("channel_closed");
        this.#model.mark(
          this.user,
          frame.channel,
          frame.message ?? frame.message_id,
          frame.type === "friendship_notification_seen",
          this,
        );
        return;
      case "typing":
        this.#typing(frame);
        return;
      case "resume":
        this.#resume(frame);
        return;
      case "auth":
        this.#renew(frame);
        return;
      case "ping":
        this.#write({ type: "pong" });
        return;
      default:
        throw new Refused("unknown_type");
    }
  }

  #send({ type, channel, message, payload = "", media = [], client_id = null, reply_to = null }) {
    const whats = {
      friendship: () => ({ kind: "message", content: payload, media: this.#files(media), replyTo: reply_to }),
      friendship_edit: () => ({ kind: "edited", message, content: payload ?? "" }),
      friendship_delete: () => ({ kind: "deleted", message }),
    };
    return this.#model.send(this.user, channel, client_id, whats[type]());
  }

  #files(media) {
    return media.map((item) => {
      const [[key, value]] = Object.entries(item);
      if (key === "id") return value;
      return this.#model.addMedia(this.user, key, "application/octet-stream", Buffer.from(value, "base64")).id;
    });
  }

  #typing({ channel, active }) {
    const of = this.#model.channelOf(this.user, channel);
    const friend = this.#model.friendIn(of, this.user);
    for (const one of this.#gateway.of(friend)) one.showLive({ type: "typing", channel, user: this.user, active });
    if (active) this.#typingIn.add(channel);
    else this.#typingIn.delete(channel);
  }

  #renew({ access }) {
    const claims = this.#model.verify(access);
    if (!this.#isBrowser || claims?.user_id !== this.user) throw new Refused("invalid_frame");
    this.sid = claims.sid;
    this.#expireAt(claims.exp);
  }

  #resume({ channels = {}, epoch, client_id }) {
    if (!this.#isFull || this.isLive) throw new Refused("invalid_frame");
    const open = new Map(this.#model.openChannels(this.user).map((channel) => [channel.id, channel]));
    const isOtherEpoch = epoch !== undefined && epoch !== null && epoch !== this.#model.epoch;
    for (const id of Object.keys(channels).filter((name) => !open.has(name))) {
      const isOwn = this.#model.channels.get(id)?.members.includes(this.user);
      this.#refuse({ type: "resume", client_id }, isOwn ? "channel_closed" : "not_a_member");
    }
    const tooFar = {};
    for (const [id, channel] of open) {
      const since = channels[id] ?? this.#written.get(id) ?? 0;
      const head = channel.entries.length;
      const isTooFar = since > head || head - since > this.#gateway.replayEvents;
      this.#written.set(id, head);
      if (isTooFar || (isOtherEpoch && id in channels)) tooFar[id] = head;
      else for (const entry of channel.entries.slice(since)) this.#write(this.#model.frameOf(channel, entry));
    }
    if (Object.keys(tooFar).length > 0) this.#write({ type: "resync", channels: tooFar });
    const marks = {};
    for (const [id, channel] of open) marks[id] = this.#model.marksFor(channel, this.user);
    this.#write({ type: "resumed", channels: Object.fromEntries(this.#written), marks });
    this.#beLive();
  }

  #beLive() {
    const wasOnline = this.#gateway.isOnline(this.user);
    this.isLive = this.#wasLive = true;
    for (const channel of this.#model.openChannels(this.user)) {
      const friend = this.#model.friendIn(channel, this.user);
      if (this.#gateway.isOnline(friend)) {
        this.#write({ type: "presence", user: friend, online: true, last_seen: null });
      }
    }
    if (!wasOnline) this.#gateway.tellPresence(this.user);
  }

  // Faults.

  /** Frames of the handshake are dropped at most: a gateway that repeats them is not a network's fault. */
  trick(kind, { matches = () => true, after = 1 } = {}) {
    const isPossible = (frame) => kind === "drop" || (this.isLive && frame.type !== "token");
    this.#tricks.push({ kind, after, matches: (frame) => isPossible(frame) && matches(frame) });
  }

  /** What the client's next send meets: its error, or the end of the connection with or without it stored. */
  refuseSend(code, retryAfterMs) {
    this.#frameFaults.push({ types: SENDS, kind: "refuse", code, retryAfterMs });
  }

  refuseReceipt(code, retryAfterMs) {
    this.#frameFaults.push({ types: RECEIPTS, kind: "refuse", code, retryAfterMs });
  }

  cutAtSend({ isStored }) {
    this.#frameFaults.push({ types: SENDS, kind: isStored ? "ackLost" : "sendLost" });
  }

  /** What is written in the next `ms` arrives after them. */
  stall(ms) {
    if (this.#stalled) return;
    this.#stalled = [];
    this.#later(ms, () => {
      const frames = this.#stalled;
      this.#stalled = null;
      for (const frame of frames) this.#put(frame);
    });
  }

  /** Neither reads nor writes any more, and does not close. */
  freeze() {
    this.isHalfOpen = true;
    this.#ws.pause();
  }

  goAway(reconnectAfterMs, closesAfterMs) {
    this.#write({ type: "goaway", reconnect_after_ms: reconnectAfterMs });
    this.#later(closesAfterMs, () => this.close(1012));
  }

  /** A frame that no contract knows, or any other. */
  say(frame) {
    this.#write(frame, false);
  }

  close(code, reason = REASONS[code]) {
    this.#ws.close(code, reason);
    this.isLive = false;
  }

  destroy() {
    this.#ws.terminate();
  }
}

function marksFrame(channel, user, target) {
  const marks = channel.marks.get(user);
  return {
    type: "chat_friendship_notification",
    channel: channel.id,
    user,
    message: target.id,
    is_received: true,
    is_seen: target.seq <= marks.seen_seq,
    ...marks,
  };
}

function refuse(socket, status, body) {
  const text = JSON.stringify(body);
  socket.end(
    `HTTP/1.1 ${status} Refused\r\nContent-Type: application/json\r\nContent-Length: ${text.length}\r\nConnection: close\r\n\r\n${text}`,
  );
}
