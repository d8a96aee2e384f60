// What a browser gives its tabs to know of each other, for tabs that are clients in this process: Node has
// no Web Locks before 24, and its BroadcastChannel takes no blobs.

import { setImmediate as turn } from "node:timers/promises";

import { sleep } from "./wait.js";

/** Milliseconds that one tab is told later than another, and has a lock later than it is free. */
let latency = () => 0;

class Locks {
  #last = new Map();

  /** Runs `run` once all that was asked for under this name before has come to its end. */
  request(name, options, run = options) {
    const before = this.#last.get(name) ?? Promise.resolve();
    const done = before.then(() => sleepOrTurn(latency())).then(() => {
      options.signal?.throwIfAborted();
      return run();
    });
    this.#last.set(name, done.catch(() => {}));
    return done;
  }
}

class Channel {
  static #open = new Set();
  /** Messages come one after the other, in the order in which they were sent. */
  #last = Promise.resolve();
  onmessage = null;

  constructor(name) {
    this.name = name;
    Channel.#open.add(this);
  }

  postMessage(data) {
    for (const other of Channel.#open) {
      if (other === this || other.name !== this.name) continue;
      const copy = structuredClone(data);
      const comes = Promise.all([other.#last, sleepOrTurn(latency())]);
      other.#last = comes.then(() => {
        if (Channel.#open.has(other)) other.onmessage?.({ data: copy });
      });
    }
  }

  close() {
    Channel.#open.delete(this);
  }
}

const sleepOrTurn = (ms) => (ms > 0 ? sleep(ms) : turn());

/** From here on, clients whose stores are shared take themselves for tabs. */
export function installTabs(milliseconds = latency) {
  latency = milliseconds;
  Object.defineProperty(globalThis, "navigator", { configurable: true, value: { locks: new Locks() } });
  globalThis.BroadcastChannel = Channel;
}
