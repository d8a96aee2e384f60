// Which friends are online.

import { call } from "./errors.js";

export class PresenceList {
  #core;
  #all = new Map();
  #watchers = new Set();
  #unconfirmed = new Set();
  #timer = null;

  constructor(core) {
    this.#core = core;
  }

  get(user) {
    return this.#all.get(user) ?? null;
  }

  watch(fn) {
    this.#watchers.add(fn);
    return () => this.#watchers.delete(fn);
  }

  update({ user, online, last_seen }) {
    this.#unconfirmed.delete(user);
    const presence = { online, last_seen: last_seen ?? this.#all.get(user)?.last_seen ?? null };
    this.#all.set(user, presence);
    for (const fn of [...this.#watchers]) call(fn, user, presence);
    this.#core.emit("presence", { user, ...presence });
  }

  resumed() {
    const before = [...this.#all].filter(([, presence]) => presence.online).map(([user]) => user);
    this.#unconfirmed = new Set(before);
    clearTimeout(this.#timer);
    this.#timer = setTimeout(() => {
      for (const user of this.#unconfirmed) this.update({ user, online: false, last_seen: null });
    }, this.#core.timing.presenceNamed);
    this.#timer.unref?.();
  }

  snapshot() {
    return [...this.#all].map(([user, presence]) => ({ user, ...presence }));
  }

  clear() {
    clearTimeout(this.#timer);
    this.#all.clear();
  }
}
