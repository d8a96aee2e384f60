// One connection for all tabs of a user: the tab that holds a lock keeps it, the others get its frames.
// Where there are no tabs (Node, or a store that is not shared), this one is always the leader.

import { IndexedDbStore } from "./store.js";

export class Tabs {
  #core;
  #channel = null;
  #release = null;
  isLeader = false;

  constructor(core) {
    this.#core = core;
  }

  get areShared() {
    return this.#core.store instanceof IndexedDbStore && typeof BroadcastChannel !== "undefined" && Boolean(navigator.locks);
  }

  get #name() {
    return `natter ${this.#core.store.name} ${this.#core.options.url}`;
  }

  /** Runs `work` while no other tab runs what has the same name. */
  exclusively(name, work) {
    return this.areShared ? navigator.locks.request(`${this.#name} ${name}`, work) : work();
  }

  /** Calls `onLead` once this tab is to keep the connection; what other tabs say goes to `onTold`. */
  join({ onLead, onTold }) {
    if (!this.areShared) {
      this.isLeader = true;
      return onLead();
    }
    // Each user has a connection of its own: another tab may be another user's.
    const name = `${this.#name} ${this.#core.session.user}`;
    this.#channel = new BroadcastChannel(name);
    this.#channel.onmessage = ({ data }) => onTold(data);
    this.tell({ hello: true });
    const leaving = new AbortController();
    this.#release = () => leaving.abort();
    navigator.locks
      .request(`${name} connection`, { signal: leaving.signal }, () => {
        if (leaving.signal.aborted) return;
        this.isLeader = true;
        const held = new Promise((resolve) => (this.#release = resolve));
        onLead();
        return held;
      })
      .catch(() => {});
  }

  /** To all other tabs. */
  tell(what) {
    this.#channel?.postMessage(what);
  }

  leave() {
    this.isLeader = false;
    this.#release?.();
    this.#channel?.close();
    this.#channel = this.#release = null;
  }
}
