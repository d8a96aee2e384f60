// The user's friendships, each at its newest revision.

import { call } from "./errors.js";

export class Friends {
  #core;
  #all = new Map();
  #loaded = null;
  #watchers = new Set();

  constructor(core) {
    this.#core = core;
  }

  get(id) {
    return this.#all.get(id);
  }

  /** Loads them if nothing has yet. */
  async list() {
    await (this.#loaded ??= this.reload());
    return this.#list();
  }

  /** Changes that came while there was no connection are not told again. */
  async reload() {
    const loading = this.#core.persist(() =>
      this.#core.http.get("/api/users/friendship/", { query: { expand: "users" } }),
    );
    this.#loaded ??= loading;
    try {
      for (const friendship of await loading) this.#put(friendship);
    } catch (error) {
      this.#loaded = null;
      throw error;
    }
    this.#tell();
  }

  get isUsed() {
    return this.#loaded !== null || this.#watchers.size > 0;
  }

  ask(user) {
    return this.#change("POST", { to_user: user, status: "accepted" });
  }

  accept(id) {
    return this.#change("PATCH", { friendship_id: id, status: "accepted" });
  }

  reject(id) {
    return this.#change("PATCH", { friendship_id: id, status: "rejected" });
  }

  watch(fn) {
    this.#watchers.add(fn);
    this.list().then(() => this.#watchers.has(fn) && call(fn, this.#list()), () => {});
    return () => this.#watchers.delete(fn);
  }

  /** As a frame, an answer or a conversation tells it. */
  update(friendship) {
    if (this.#put(friendship)) this.#tell();
    return this.#all.get(friendship.id);
  }

  clear() {
    this.#all.clear();
    this.#loaded = null;
    this.#tell();
  }

  async #change(method, json) {
    return this.update(await this.#core.http.request(method, "/api/users/friendship/", { json }));
  }

  #put(friendship) {
    const known = this.#all.get(friendship.id);
    if (known && known.revision >= friendship.revision) return false;
    const friend = this.#seenByUser(friendship);
    this.#all.set(friend.id, friend);
    this.#core.conversations.befriended(friend);
    this.#core.emit("friendship", friend);
    return true;
  }

  #seenByUser(friendship) {
    const asked = friendship.from_user.id === this.#core.session.user;
    const [own, other] = asked
      ? [friendship.status_from_user, friendship.status_to_user]
      : [friendship.status_to_user, friendship.status_from_user];
    const isRejected = own === "rejected" || other === "rejected";
    return {
      ...friendship,
      friend: asked ? friendship.to_user : friendship.from_user,
      relation: isRejected ? "rejected" : friendship.is_open ? "friends" : asked ? "asked" : "asking",
      rejectedByMe: own === "rejected",
    };
  }

  #list() {
    return [...this.#all.values()].sort((a, b) => (a.date_created < b.date_created ? 1 : -1));
  }

  #tell() {
    for (const fn of [...this.#watchers]) call(fn, this.#list());
  }
}
