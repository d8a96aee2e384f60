// Who the user is: the tokens of the session, and their renewal, once for all tabs.

import { NatterError } from "./errors.js";

/** A token this close to its end counts as expired. */
const MARGIN = 10_000;

export class Session {
  #core;
  #renewing = null;
  /** Until it is forgotten, what a session has left in the store is not the next one's. */
  ending = null;
  /** Whether the store has these tokens; else they live as long as the page. */
  #isStored = true;
  /** {access, refresh?, user, sid?, expires, skew}; null without a session. */
  tokens = null;

  constructor(core) {
    this.#core = core;
  }

  get user() {
    return this.tokens?.user ?? null;
  }

  /** What the server's clock is ahead of this one's. */
  get skew() {
    return this.tokens?.skew ?? 0;
  }

  /** Whether the tokens are this library's own, not from `getToken`. */
  get isOwn() {
    return !this.#core.options.getToken;
  }

  async restore() {
    if (!this.isOwn) await this.renew();
    else if (this.#isStored || !this.tokens) this.tokens = (await this.#core.store.get("session")) ?? null;
    return this.tokens !== null;
  }

  /** Takes tokens that the server has just made. */
  async begin({ access, refresh }) {
    const claims = read(access);
    const behind = claims.iat * 1000 - Date.now();
    this.tokens = {
      access,
      refresh: refresh ?? this.tokens?.refresh,
      user: claims.user_id,
      sid: claims.sid,
      expires: claims.exp * 1000,
      // Times in tokens are whole seconds.
      skew: Math.abs(behind) < 2000 ? 0 : behind,
    };
    if (this.isOwn) this.#isStored = await this.#core.keep("session", this.tokens).then(() => true, () => false);
  }

  /** The access token, renewed if it has expired. */
  async access() {
    if (!this.tokens && this.isOwn) throw new NatterError("logged_out", "There is no session.");
    if (!this.tokens || this.expiresIn() < MARGIN) await this.renew();
    return this.tokens.access;
  }

  /** In milliseconds. */
  expiresIn() {
    return this.tokens.expires - this.#core.now();
  }

  /** Gets a fresh access token; concurrent calls share one request. */
  renew() {
    this.#renewing ??= this.#renew().finally(() => (this.#renewing = null));
    return this.#renewing;
  }

  async #renew() {
    if (!this.isOwn) return this.#ask();
    await this.#core.tabs.exclusively("session", async () => {
      const stored = this.#isStored ? await this.#core.store.get("session") : this.tokens;
      // Logged out in another tab, or another user has logged in there.
      if (!stored || stored.user !== this.user) {
        await this.#end();
        throw new NatterError("logged_out", "The session has ended.");
      }
      // Another tab was here before. Older tokens are those that these are about to replace.
      if (stored.access !== this.tokens.access && stored.expires >= this.tokens.expires) {
        this.tokens = stored;
        if (this.expiresIn() > MARGIN) return;
      }
      const { access, refresh, sid } = this.tokens;
      const next = await this.#core.http
        // Repeated twice within the ten seconds in which the server gives the same answer again.
        .post("/api/users/refresh-token/", { json: { refresh }, token: access, retries: 3, timeout: 3_000 })
        .catch((error) => error);
      // Another session may have begun.
      if (this.tokens?.sid !== sid) throw new NatterError("logged_out", "The session has ended.");
      if (next.status === 401) await this.#end();
      if (next instanceof Error) throw next;
      await this.begin(next);
    });
  }

  /** The app has a token, now or soon: only the app knows of an end of its session. */
  async #ask() {
    try {
      await this.begin({ access: await this.#core.options.getToken() });
    } catch (cause) {
      throw new NatterError("offline", `The app gave no token: ${cause?.message ?? cause}`, { cause });
    }
  }

  end() {
    return this.#end((work) => this.#core.tabs.exclusively("session", work));
  }

  /** `inTurn` lets no other tab renew or begin a session meanwhile. */
  #end(inTurn = (work) => work()) {
    const had = this.tokens;
    this.tokens = null;
    this.#isStored = true;
    if (had) this.#core.ended(had.sid);
    return (this.ending = this.isOwn ? inTurn(() => this.#forget(had)).catch(() => {}) : null);
  }

  /** Unless there is another one already. */
  async #forget(had) {
    const stored = await this.#core.store.get("session");
    if (stored?.sid === had?.sid) await this.#core.store.delete("session");
  }
}

function read(token) {
  const part = token.split(".")[1].replaceAll("-", "+").replaceAll("_", "/");
  return JSON.parse(atob(part));
}
