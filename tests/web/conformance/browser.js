// What a browser gives its tabs to know of each other, for tabs that are clients in this process: Node has
// no Web Locks before 24, and its BroadcastChannel takes no blobs.

class Locks {
  #last = new Map();

  /** Runs `run` once all that was asked for under this name before has come to its end. */
  request(name, options, run = options) {
    const turn = this.#last.get(name) ?? Promise.resolve();
    const done = turn.then(() => {
      options.signal?.throwIfAborted();
      return run();
    });
    this.#last.set(name, done.catch(() => {}));
    return done;
  }
}

class Channel {
  static #open = new Set();
  onmessage = null;

  constructor(name) {
    this.name = name;
    Channel.#open.add(this);
  }

  postMessage(data) {
    for (const other of Channel.#open) {
      if (other === this || other.name !== this.name) continue;
      const copy = structuredClone(data);
      setImmediate(() => Channel.#open.has(other) && other.onmessage?.({ data: copy }));
    }
  }

  close() {
    Channel.#open.delete(this);
  }
}

/** From here on, clients whose stores are shared take themselves for tabs. */
export function installTabs() {
  Object.defineProperty(globalThis, "navigator", { configurable: true, value: { locks: new Locks() } });
  globalThis.BroadcastChannel = Channel;
}
