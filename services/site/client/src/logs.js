// How far this client has each conversation's log: entries are passed on in the order of their `seq`,
// each once; what is missing is fetched over HTTP.

/** Up to this revision an open friendship was never closed: asked, accepted, closed and opened again are four. */
const FIRST_OPENED = 3;
/** More missing entries are not fetched: what is shown is loaded anew. */
const TOO_MANY = 2_000;

export class Logs {
  #core;
  #logs = new Map();
  #epoch;
  /** Grows when logs were set back: answers from before count no more. */
  generation = 0;
  /** Whether this tab gets live frames, or has been told by the leader where it stands. */
  isLive = false;

  constructor(core) {
    this.#core = core;
  }

  #log(channel) {
    let log = this.#logs.get(channel);
    if (!log) this.#logs.set(channel, (log = { have: null, waiting: new Map(), fetching: null }));
    return log;
  }

  have(channel) {
    return this.#log(channel).have ?? 0;
  }

  /** The answer to `ready`. */
  resume(ready) {
    const channels = {};
    for (const channel in ready.channels) {
      const { have } = this.#log(channel);
      if (have !== null) channels[channel] = have;
    }
    return { type: "resume", channels, ...(this.#epoch && { epoch: this.#epoch }) };
  }

  /** For a tab that comes later. */
  snapshot() {
    return { epoch: this.#epoch, have: Object.fromEntries([...this.#logs].map(([id, log]) => [id, log.have])) };
  }

  take({ epoch, have }) {
    this.ready({ epoch });
    this.resumed({ channels: have });
  }

  ready(frame) {
    // Until `resumed` says where a log stands, only entries of those that were followed before count.
    this.isLive = false;
    if (!frame.epoch || frame.epoch === this.#epoch) return;
    // Also the first one: what was loaded before it may be from another epoch.
    this.#epoch = frame.epoch;
    this.generation++;
    // What is known of any log counts no more, also if this connection ends before it says more.
    for (const log of this.#logs.values()) {
      log.have = log.fetching = log.wanted = null;
      log.waiting.clear();
    }
    this.#core.reset();
  }

  resync(frame) {
    for (const [channel, newest] of Object.entries(frame.channels)) {
      const log = this.#log(channel);
      if (log.have === null || log.have > newest) this.#reset(channel, newest);
      else this.#fetch(channel, newest);
    }
  }

  resumed(frame) {
    this.isLive = true;
    for (const [channel, seq] of Object.entries(frame.channels)) {
      const log = this.#log(channel);
      if (seq === null) continue;
      if (log.have === null) {
        log.have = seq;
        this.#core.based(channel);
      } else if (log.have < seq) this.#fetch(channel, seq);
    }
  }

  /**
   * A channel has opened while there is a connection: it is followed from its beginning, or if it was open
   * before, from where it stands.
   */
  async opened(channel, revision) {
    const log = this.#log(channel);
    if (!this.isLive || log.have !== null) return;
    if (revision <= FIRST_OPENED) {
      log.have = 0;
      return;
    }
    const query = { after_seq: 0, limit: 1 };
    const { newest } = await this.#core.persist(() => this.#core.http.get(pathOf(channel), { query }));
    if (log.have !== null) return;
    log.have = newest;
    this.#core.based(channel);
  }

  /** An entry as it came. */
  entry(frame) {
    const log = this.#log(frame.channel);
    if (!this.isLive && log.have === null) return;
    log.have ??= frame.seq - 1;
    if (frame.seq <= log.have) return;
    log.waiting.set(frame.seq, frame);
    this.#drain(log);
    if (log.waiting.size) this.#fetch(frame.channel, frame.seq);
  }

  #drain(log) {
    for (let frame; (frame = log.waiting.get(log.have + 1)); ) {
      log.waiting.delete(++log.have);
      this.#core.logged(frame);
    }
  }

  #reset(channel, newest) {
    const log = this.#log(channel);
    this.generation++;
    log.have = newest;
    log.waiting.clear();
    log.fetching = log.wanted = null;
    this.#core.based(channel);
  }

  /** Fetches what is missing up to `newest`. */
  #fetch(channel, newest) {
    const log = this.#log(channel);
    if (newest - log.have > TOO_MANY) return this.#reset(channel, newest);
    log.wanted = Math.max(log.wanted ?? 0, newest);
    if (log.fetching) return;
    const fetching = (log.fetching = {});
    this.#fetchAll(channel, log, fetching)
      // Logged out, closed, or no longer a member: `have` stays, and the next resume names it.
      .catch(() => {})
      .finally(() => log.fetching === fetching && (log.fetching = null));
  }

  /** Ends early where the log was set back meanwhile: then `fetching` is not the log's any more. */
  async #fetchAll(channel, log, fetching) {
    while (log.have < log.wanted) {
      const query = { after_seq: log.have, limit: 500 };
      const page = await this.#core.persist(() => this.#core.http.get(pathOf(channel), { query }));
      if (log.fetching !== fetching) return;
      for (const frame of page.results) if (frame.seq > log.have) log.waiting.set(frame.seq, frame);
      this.#drain(log);
      const last = page.results.at(-1)?.seq ?? log.wanted;
      // A `seq` that the server no longer has, or a kind of entry that it does not show.
      while (log.have < last) {
        log.have++;
        this.#drain(log);
      }
    }
  }
}

function pathOf(channel) {
  return `/api/messages/status/friendship/${encodeURIComponent(channel)}/events/`;
}
