// Says what this device has received and what the user has seen, until the server knows it.

import { isPassing } from "./errors.js";

const FRAMES = { received: "friendship_notification_received", seen: "friendship_notification_seen" };

export class Receipts {
  #core;
  /** By channel: {message, seq, sentAt}. It stays here when it is sent: that it arrived, the marks of a `resumed` say. */
  #wanted = { received: new Map(), seen: new Map() };
  #due = new Set();
  #timer = null;

  constructor(core) {
    this.#core = core;
  }

  received(channel, message, seq) {
    this.#want("received", channel, message, seq);
    this.#core.conversations.setMarks(channel, { received_seq: seq });
  }

  seen(channel, message, seq) {
    this.#want("seen", channel, message, seq);
    this.#core.conversations.setMarks(channel, { received_seq: seq, seen_seq: seq });
  }

  /** Seen in another tab. Each tab keeps it: the one that leads next may have to say it. */
  told({ channel, message, seq }) {
    if (this.#core.tabs.isLeader) return this.seen(channel, message, seq);
    const { seen } = this.#wanted;
    if (!(seen.get(channel)?.seq >= seq)) seen.set(channel, { message, seq });
    this.#core.conversations.setMarks(channel, { received_seq: seq, seen_seq: seq });
  }

  /** The channel takes receipts, over a new connection or since it opened again: sends what the server does not know. */
  opened(channel) {
    for (const kind in FRAMES) if (this.#wanted[kind].has(channel)) this.#plan(kind, channel);
  }

  /** What the server says of this user. */
  confirmed(channel, { received_seq, seen_seq }) {
    for (const [kind, upTo] of [["received", received_seq], ["seen", seen_seq]]) {
      if (this.#wanted[kind].get(channel)?.seq <= upTo) this.#wanted[kind].delete(channel);
    }
  }

  /** The `error` says of which kind the receipt was, not of which channel: those that were just sent go again. */
  refused(frame) {
    const kind = Object.keys(FRAMES).find((one) => FRAMES[one] === frame.answers);
    if (!kind || !isPassing(frame)) return false;
    const { answerTimeout, backoffMin } = this.#core.timing;
    clearTimeout(this.#timer);
    this.#timer = setTimeout(() => this.#flush(), frame.retry_after_ms ?? backoffMin);
    for (const [channel, { sentAt }] of this.#wanted[kind]) {
      if (performance.now() - sentAt < answerTimeout) this.#plan(kind, channel);
    }
    return true;
  }

  clear() {
    this.#wanted.received.clear();
    this.#wanted.seen.clear();
  }

  #want(kind, channel, message, seq) {
    const marks = this.#core.conversations.marks(channel);
    const known = Math.max(marks[`${kind}_seq`], this.#wanted[kind].get(channel)?.seq ?? 0);
    if (seq <= known) return;
    this.#wanted[kind].set(channel, { message, seq });
    this.#plan(kind, channel);
  }

  /** Several at a time are one. */
  #plan(kind, channel) {
    this.#timer ??= setTimeout(() => this.#flush(), this.#core.timing.receiptDelay);
    this.#due.add(`${kind} ${channel}`);
  }

  #flush() {
    const { connection, tabs } = this.#core;
    this.#timer = null;
    const due = [...this.#due];
    this.#due.clear();
    for (const [kind, channel] of due.map((one) => one.split(" "))) {
      const wanted = this.#wanted[kind].get(channel);
      if (!wanted) continue;
      // What is received, each tab knows by itself; and the server tells only the user's other connections.
      if (kind === "seen") tabs.tell({ seen: { channel, ...wanted } });
      if (!tabs.isLeader) continue;
      if (connection.send({ type: FRAMES[kind], channel, message: wanted.message })) {
        wanted.sentAt = performance.now();
      } else if (connection.isLive) this.#plan(kind, channel);
    }
  }
}
