// Says what this device has received and what the user has seen, until the server knows it.

export class Receipts {
  #core;
  #wanted = { received: new Map(), seen: new Map() };
  #due = new Set();

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

  /** With a new connection: what the server does not know yet. */
  resumed() {
    for (const kind of ["received", "seen"]) {
      for (const channel of this.#wanted[kind].keys()) this.#plan(`${kind} ${channel}`);
    }
  }

  /** What the server says of this user. */
  confirmed(channel, { received_seq, seen_seq }) {
    for (const [kind, upTo] of [["received", received_seq], ["seen", seen_seq]]) {
      if (this.#wanted[kind].get(channel)?.seq <= upTo) this.#wanted[kind].delete(channel);
    }
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
    this.#plan(`${kind} ${channel}`);
  }

  /** Several at a time are one. */
  #plan(due) {
    if (!this.#due.size) setTimeout(() => this.#flush(), this.#core.timing.receiptDelay);
    this.#due.add(due);
  }

  #flush() {
    for (const due of this.#due) {
      const [kind, channel] = due.split(" ");
      const wanted = this.#wanted[kind].get(channel);
      // A tab that does not keep the connection has the leader say what is seen; received, the leader says itself.
      if (!wanted || (kind === "received" && !this.#core.tabs.isLeader)) continue;
      this.#core.transmit({ type: `friendship_notification_${kind}`, channel, message: wanted.message });
    }
    this.#due.clear();
  }
}
