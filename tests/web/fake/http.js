// The HTTP door of the fake Natter: the endpoints that a client uses, with the contract's answers,
// and faults that strike a request before, in or after its answer.

import { Refused } from "./log.js";

/** What a refusal of the model is over HTTP. */
const STATUS = {
  username_taken: 400,
  invalid_status: 400,
  to_yourself: 400,
  already_exists: 400,
  invalid_frame: 400,
  invalid_query: 400,
  invalid_credentials: 401,
  not_authorized: 403,
  channel_closed: 403,
  user_not_found: 404,
  friendship_not_found: 404,
  message_not_found: 404,
  not_a_member: 404,
  not_found: 404,
  invalid_page: 404,
  method_not_allowed: 405,
  client_id_reused: 409,
};

const ID = /^[0-9a-f-]{36}$/;

class Answer {
  constructor(status, body, headers = {}) {
    this.status = status;
    this.body = body;
    this.headers = headers;
  }
}

const notAuthenticated = () =>
  new Answer(
    401,
    { detail: "Authentication credentials were not provided.", code: "not_authenticated" },
    { "WWW-Authenticate": "Bearer" },
  );
const tokenNotValid = () =>
  new Answer(401, { detail: "Given token not valid for any token type", code: "token_not_valid" });

export class HttpDoor {
  #model;
  /** Faults that wait for a request: `{matches, times, ...what}`. */
  #faults = [];
  /** Every request so far, as `METHOD /path`, with its time and token. */
  requests = [];

  constructor(model) {
    this.#model = model;
  }

  /**
   * Lets the next `times` requests whose `METHOD /path` matches meet a fault: `status` (with
   * `retryAfter`, `code`), `cut` (`before` it takes effect, in the `middle` of its answer), `hang`, `stall` (in
   * the middle of its answer) or `until`, which is waited for before the answer.
   */
  fault({ path = /./, times = 1, ...what }) {
    this.#faults.push({ path, times, ...what });
  }

  heal() {
    this.#faults = [];
  }

  #takeFault(name) {
    const index = this.#faults.findIndex(({ path }) => path.test(name));
    if (index < 0) return {};
    const fault = this.#faults[index];
    fault.times -= 1;
    if (fault.times === 0) this.#faults.splice(index, 1);
    return fault;
  }

  async handle(request, response) {
    const url = new URL(request.url, this.#model.url);
    const name = `${request.method} ${url.pathname}`;
    const authorization = request.headers.authorization;
    this.requests.push({ name, at: performance.now(), authorization });
    response.sendDate = false;
    response.setHeader("Date", new Date(this.#model.now()).toUTCString());
    response.setHeader("X-Request-Id", crypto.randomUUID());

    const chunks = [];
    try {
      for await (const chunk of request) chunks.push(chunk);
    } catch {
      return;
    }
    const fault = this.#takeFault(name);
    if (fault.hang) return;
    if (fault.cut === "before") {
      request.socket.destroy();
      return;
    }
    const answer = fault.status
      ? new Answer(fault.status, { error: "Injected.", code: fault.code ?? "unavailable" }, retryAfter(fault))
      : await this.#answer(request, url, Buffer.concat(chunks));
    await fault.until?.();
    write(response, answer, fault);
  }

  async #answer(request, url, body) {
    try {
      return await this.#route(request, url, body);
    } catch (error) {
      if (!(error instanceof Refused)) throw error;
      const key = url.pathname.startsWith("/api/users/friendship/") ? "detail" : "error";
      return new Answer(STATUS[error.code], { [key]: error.code, code: error.code });
    }
  }

  async #route(request, url, body) {
    const { method } = request;
    const path = url.pathname.endsWith("/") ? url.pathname : `${url.pathname}/`;
    const open = { "POST /api/users/login/": this.#logIn, "POST /api/users/signup/": this.#signUp }[`${method} ${path}`];
    if (open) return open.call(this, await fieldsOf(request, body), request);
    const authorization = request.headers.authorization;
    if (!authorization) return notAuthenticated();
    const access = authorization.replace(/^Bearer /, "");
    if (`${method} ${path}` === "POST /api/users/refresh-token/") return this.#refresh(access, json(body));
    const claims = this.#model.verify(access);
    if (!claims) return tokenNotValid();
    return this.#authenticated(request, url, path, body, claims);
  }

  async #authenticated(request, url, path, body, claims) {
    const { method } = request;
    const user = claims.user_id;
    const query = url.searchParams;
    switch (`${method} ${path}`) {
      case "POST /api/users/logout/":
        return this.#logOut(claims, json(body));
      case "GET /api/users/profile/":
        return new Answer(200, this.#model.card(user));
      case "PATCH /api/users/profile/":
        return this.#changeProfile(user, await fieldsOf(request, body));
      case "DELETE /api/users/profile/":
        return this.#deleteProfile(user, json(body));
      case "GET /api/users/sessions/":
        return new Answer(200, this.#sessions(claims));
      case "GET /api/users/":
        return this.#listUsers(url, query);
      case "GET /api/users/friendship/":
        return this.#listFriendships(user, query);
      case "POST /api/users/friendship/": {
        const { to_user, status } = json(body);
        return new Answer(201, this.#model.expanded(this.#model.ask(user, to_user, status)));
      }
      case "PATCH /api/users/friendship/": {
        const { friendship_id, status } = json(body);
        return new Answer(200, this.#model.expanded(this.#model.answer(user, friendship_id, status)));
      }
      case "GET /api/messages/conversations/":
        return paged(url, this.#model.conversationsOf(user), (channel) => this.#conversation(channel, user));
      case "GET /api/messages/search/":
        return this.#search(url, user, query.get("q") ?? "");
      case "POST /api/messages/media/":
        return this.#upload(user, await fieldsOf(request, body));
    }
    const parts = path.split("/").filter(Boolean);
    const place = `${method} ${parts.slice(1).map((part) => (ID.test(part) ? "*" : part)).join("/")}`;
    const id = parts.find((part) => ID.test(part));
    switch (place) {
      case "GET messages/media/*":
        return this.#download(user, id);
      case "DELETE users/sessions/*":
        return this.#endSession(user, id);
      case "GET messages/status/friendship/*/messages":
        return this.#history(url, user, id);
      case "POST messages/status/friendship/*/messages":
        return this.#post(user, id, json(body));
      case "GET messages/status/friendship/*/events":
        return this.#events(user, id, query);
    }
    throw new Refused("not_found");
  }

  // Users.

  #logIn({ username, password }, request) {
    const user = this.#model.userByName(username);
    if (user?.password !== password) throw new Refused("invalid_credentials");
    return new Answer(200, this.#model.beginSession(user.id, request.headers["user-agent"]));
  }

  #signUp(fields, request) {
    const user = this.#model.addUser(fields);
    return new Answer(201, this.#model.beginSession(user.id, request.headers["user-agent"]));
  }

  /** As far as the user's own devices see it. */
  #deleteProfile(user, { password }) {
    if (this.#model.users.get(user).password !== password) throw new Refused("invalid_credentials");
    for (const [sid, session] of this.#model.sessions) if (session.user === user) this.#model.endSession(sid);
    return new Answer(204);
  }

  #refresh(access, { refresh }) {
    const claims = this.#model.verify(access, { mayHaveExpired: true });
    if (!claims) return tokenNotValid();
    const pair = this.#model.rotate(refresh, claims.sid);
    if (pair) return new Answer(200, pair);
    return new Answer(401, { detail: "Invalid or expired refresh token", code: "invalid_refresh_token" });
  }

  #logOut({ sid }, { refresh }) {
    const session = this.#model.sessions.get(sid);
    if (session.refresh !== refresh && !session.replaced.has(refresh)) {
      return new Answer(401, { detail: "Invalid or expired refresh token", code: "invalid_refresh_token" });
    }
    this.#model.endSession(sid);
    return new Answer(200, { message: "Successfully logged out" });
  }

  #changeProfile(user, fields) {
    const known = this.#model.users.get(user);
    for (const name of ["first_name", "last_name"]) if (name in fields) known[name] = fields[name];
    return new Answer(200, this.#model.card(user));
  }

  #sessions({ user_id, sid }) {
    return [...this.#model.sessions.values()]
      .filter((session) => session.user === user_id)
      .map(({ sid: of, created_at, last_used_at, userAgent }) => ({
        sid: of,
        created_at,
        last_used_at,
        user_agent: userAgent,
        current: of === sid,
      }));
  }

  #endSession(user, sid) {
    if (this.#model.sessions.get(sid)?.user !== user) throw new Refused("not_found");
    this.#model.endSession(sid);
    return new Answer(204);
  }

  #listUsers(url, query) {
    const part = (query.get("username") ?? "").toLowerCase();
    const users = [...this.#model.users.values()]
      .filter((user) => user.username.toLowerCase().includes(part))
      .sort((one, other) => (one.username < other.username ? -1 : 1));
    return paged(url, users, ({ id, username, personal_image }) => ({ id, username, personal_image }));
  }

  #listFriendships(user, query) {
    const friendships = this.#model.friendshipsOf(user);
    if (query.get("expand") === "users") {
      return new Answer(200, friendships.map((one) => this.#model.expanded(one)));
    }
    return new Answer(200, friendships.map((one) => ({ ...one, is_open: this.#model.isOpen(one) })));
  }

  // Messages.

  #item(channel, message) {
    const receiver = this.#model.friendIn(channel, message.sender);
    const { received_seq, seen_seq } = channel.marks.get(receiver);
    return {
      id: message.id,
      message,
      receiver,
      is_received: message.seq <= received_seq,
      is_seen: message.seq <= seen_seq,
      updated_at: message.edited_at ?? message.created_at,
    };
  }

  #conversation(channel, user) {
    const last = this.#model.messagesOf(channel).at(-1);
    return {
      friendship: this.#model.expanded(this.#model.friendships.get(channel.id)),
      last_message: last ? this.#item(channel, last) : null,
      unread: this.#model.unread(channel, user),
      ...this.#model.marksFor(channel, user),
    };
  }

  #history(url, user, id) {
    const channel = this.#model.channelOf(user, id);
    const query = url.searchParams;
    const isSet = (flag) => ["true", "1"].includes(query.get(flag));
    const [afterSeq, beforeSeq, start] = ["after_seq", "before_seq", "message_id"].map((name) => query.get(name));
    if (isSet("after") && isSet("before")) throw new Refused("invalid_query");
    if (start !== null && !isSet("after") && !isSet("before")) throw new Refused("invalid_query");
    if (start !== null && !channel.messages.has(start)) throw new Refused("invalid_query");
    const startSeq = start === null ? null : channel.messages.get(start).seq;
    const newestFirst = isSet("before") || beforeSeq !== null;
    const messages = this.#model.messagesOf(channel).filter(
      ({ seq }) =>
        (afterSeq === null || seq > Number(afterSeq)) &&
        (beforeSeq === null || seq < Number(beforeSeq)) &&
        (startSeq === null || (newestFirst ? seq <= startSeq : seq >= startSeq)),
    );
    if (newestFirst) messages.reverse();
    return paged(url, messages, (message) => this.#item(channel, message), (page) => {
      const ofFriend = page.filter((message) => message.sender !== user);
      const newest = ofFriend.reduce((one, other) => (one && one.seq > other.seq ? one : other), null);
      if (newest) this.#model.mark(user, id, newest.id, false);
    });
  }

  #post(user, id, { payload = "", client_id = null, media = [], reply_to = null }) {
    const channel = this.#model.channelOf(user, id);
    const what = { kind: "message", content: payload, media: media.map((one) => one.id), replyTo: reply_to };
    const ack = this.#model.send(user, id, client_id, what);
    return new Answer(ack.duplicate ? 200 : 201, this.#item(channel, channel.messages.get(ack.message)));
  }

  #events(user, id, query) {
    const channel = this.#model.channelOf(user, id);
    const after = Number(query.get("after_seq") ?? 0);
    const limit = Math.min(500, Number(query.get("limit") ?? 100));
    const entries = channel.entries.filter(({ seq }) => seq > after).slice(0, limit);
    return new Answer(200, {
      results: entries.map((entry) => this.#model.frameOf(channel, entry)),
      newest: channel.entries.length,
    });
  }

  #search(url, user, text) {
    const found = this.#model
      .conversationsOf(user)
      .flatMap((channel) => this.#model.messagesOf(channel).map((message) => ({ channel, message })))
      .filter(({ message }) => message.content.toLowerCase().includes(text.toLowerCase()));
    return paged(url, found.reverse(), ({ channel, message }) => this.#item(channel, message));
  }

  async #upload(user, { file }) {
    if (!(file instanceof Blob)) throw new Refused("invalid_frame");
    const bytes = Buffer.from(await file.arrayBuffer());
    return new Answer(201, this.#model.addMedia(user, file.name, file.type || "application/octet-stream", bytes));
  }

  #download(user, id) {
    const file = this.#model.media.get(id);
    const isMember = [...this.#model.channels.values()].some(
      (channel) => channel.members.includes(user) && channel.messages.has(file?.message),
    );
    if (file?.owner !== user && !isMember) throw new Refused("not_found");
    return new Answer(200, file.bytes, { "Content-Type": file.content_type });
  }
}

/** A page of a list, by the query's `page` and `page_size`. */
function paged(url, list, shown, onPage = () => {}) {
  const number = (name, otherwise) => {
    const text = url.searchParams.get(name) ?? String(otherwise);
    if (!/^[1-9]\d*$/.test(text)) throw new Refused("invalid_query");
    return Number(text);
  };
  const page = number("page", 1);
  const size = Math.min(100, number("page_size", 10));
  const results = list.slice((page - 1) * size, page * size);
  if (page > 1 && results.length === 0) throw new Refused("invalid_page");
  onPage(results);
  const link = (to) => {
    const linked = new URL(url);
    linked.searchParams.set("page", to);
    return linked.href;
  };
  return new Answer(200, {
    count: list.length,
    next: page * size < list.length ? link(page + 1) : null,
    previous: page > 1 ? link(page - 1) : null,
    results: results.map(shown),
  });
}

const retryAfter = ({ retryAfter: seconds }) => (seconds === undefined ? {} : { "Retry-After": String(seconds) });

function json(body) {
  try {
    return JSON.parse(body.toString());
  } catch {
    throw new Refused("invalid_frame");
  }
}

/** The fields of a JSON or a multipart body. */
async function fieldsOf(request, body) {
  const type = request.headers["content-type"] ?? "";
  if (!type.startsWith("multipart/form-data")) return json(body);
  const form = await new Response(body, { headers: { "Content-Type": type } }).formData();
  return Object.fromEntries(form);
}

function write(response, { status, body, headers }, { cut, stall }) {
  const isFile = Buffer.isBuffer(body);
  const bytes = isFile ? body : Buffer.from(body === undefined ? "" : JSON.stringify(body));
  const type = isFile ? {} : { "Content-Type": "application/json" };
  const length = status === 204 ? {} : { "Content-Length": bytes.length };
  response.writeHead(status, { ...type, ...length, ...headers });
  if (cut !== "middle" && !stall) {
    response.end(bytes);
    return;
  }
  response.write(bytes.subarray(0, Math.floor(bytes.length / 2)));
  if (!stall) setImmediate(() => response.socket?.destroy());
}
