// The WebSocket: opened, watched, and opened again until it is no longer wanted.

import { NatterError } from "./errors.js";

const isNode = typeof process !== "undefined" && Boolean(process.versions?.node) && typeof window === "undefined";
/** A WebSocket holds back what is not written yet; above this much, frames wait here. */
const MAX_BUFFERED = 1 << 20;

export class Connection {
  #core;
  /** The present run; null where no connection is wanted. */
  #run = null;
  #socket = null;
  #giveUp = null;
  #wake = null;
  #failures = 0;
  #heard = 0;
  /** Whether live traffic flows. */
  isLive = false;

  constructor(core) {
    this.#core = core;
  }

  start() {
    if (this.#run) return this.wake();
    this.#failures = 0;
    this.#keep((this.#run = {}));
  }

  stop() {
    this.#run = null;
    this.#socket?.close();
    this.#giveUp?.(1000);
    this.#wake?.();
  }

  /** Says whether it was handed to the socket. */
  send(frame) {
    if (!this.#socket || !this.isLive || this.#socket.bufferedAmount > MAX_BUFFERED) return false;
    this.#socket.send(JSON.stringify(frame));
    return true;
  }

  /** Tries at once, or asks whether the connection still lives. */
  wake() {
    this.#wake?.();
    if (this.isLive) this.#ask();
  }

  /** What should have been answered was not: opens another connection. */
  drop() {
    this.#giveUp?.(1006);
  }

  /** One connection after the other, as long as this run is the present one. */
  async #keep(run) {
    const core = this.#core;
    while (this.#run === run) {
      core.setState("connecting");
      const wait = await this.#once(run);
      if (this.#run !== run) return;
      if (wait === null) {
        this.#run = null;
        return core.setState("closed");
      }
      core.setState("offline");
      await this.#pause(wait);
    }
  }

  /** One connection from its opening to its end, and how long to wait then; null for ever. */
  async #once(run) {
    try {
      const access = await this.#core.session.access();
      const Socket = isNode ? (await import("./node-socket.js")).NodeSocket : WebSocket;
      if (this.#run !== run) return null;
      return await this.#afterClose(await this.#open(Socket, access));
    } catch (error) {
      if (error.code === "logged_out" || error.status === 401) return null;
      return error.retryAfter ?? this.#backoff();
    }
  }

  async #open(Socket, access) {
    const { session, options, timing } = this.#core;
    const url = new URL("/ws/messages/", options.url).href.replace(/^http/, "ws");
    let socket;
    if (isNode && session.isOwn) {
      socket = new Socket(url, ["natter.v1"], { Authorization: `Bearer ${access}`, refresh: session.tokens.refresh });
    } else {
      socket = new Socket(url, ["natter.v1", `bearer.${access}`]);
    }
    this.#socket = socket;
    this.#heard = performance.now();
    const timers = [];
    const closed = new Promise((resolve) => {
      this.#giveUp = (code) => {
        socket.onmessage = socket.onclose = null;
        socket.close();
        resolve({ code });
      };
      socket.onclose = ({ code, reason }) => resolve({ code, reason });
      socket.onmessage = ({ data }) => {
        this.#heard = performance.now();
        this.#got(JSON.parse(data), timers);
      };
      timers.push(setTimeout(() => this.isLive || this.drop(), timing.answerTimeout));
    });
    const end = await closed;
    timers.forEach(clearTimeout);
    this.#socket = this.#giveUp = null;
    this.isLive = false;
    return end;
  }

  #got(frame, timers) {
    const { timing } = this.#core;
    if (frame.type === "ready") {
      const heartbeat = timing.heartbeat ?? frame.heartbeat_seconds * 1000;
      timers.push(setInterval(() => this.#beat(heartbeat), heartbeat));
      this.#socket.send(JSON.stringify(this.#core.logs.resume(frame)));
    } else if (frame.type === "resumed") {
      this.isLive = true;
      this.#failures = 0;
    } else if (frame.type === "goaway") {
      timers.push(setTimeout(() => this.#giveUp?.(1012), frame.reconnect_after_ms));
    } else if (frame.type === "token_expiring") {
      this.#renew();
    }
    this.#core.received(frame);
  }

  #beat(heartbeat) {
    this.#ask();
    const { session } = this.#core;
    // A browser's connection ends with its token.
    if (!session.tokens || (isNode && session.isOwn)) return;
    if (session.expiresIn() < heartbeat + 60_000) this.#renew();
  }

  async #renew() {
    const socket = this.#socket;
    try {
      await this.#core.session.renew();
      if (socket === this.#socket) socket?.send(JSON.stringify({ type: "auth", access: this.#core.session.tokens.access }));
    } catch {
      // The connection ends with its token, and opening the next one says what is wrong.
    }
  }

  /** Whether the connection still lives: drops it if nothing comes. */
  #ask() {
    const sent = performance.now();
    const socket = this.#socket;
    if (!socket) return;
    socket.send('{"type":"ping"}');
    setTimeout(() => socket === this.#socket && this.#heard < sent && this.drop(), this.#core.timing.answerTimeout);
  }

  async #afterClose({ code, reason }) {
    const core = this.#core;
    core.disconnected(code);
    switch (code) {
      case 4001:
        // The token may just have expired; if the session has ended, this says so.
        await core.session.renew();
        return this.#failures++ ? this.#backoff() : 0;
      case 4009:
        core.emit("error", new NatterError("too_many_connections", "Another connection took this one's place."));
        return null;
      case 4008:
        return this.#failures++ ? this.#backoff() : Math.random() * core.timing.backoffMin;
      case 1012:
        return Math.random() * core.timing.backoffMin;
      case 1013:
        return 2 * this.#backoff();
      case 1002:
      case 1007:
      case 1008:
        core.emit("error", new NatterError("protocol", `The server closed with ${code}: ${reason}`));
        return core.timing.backoffMax;
      default:
        return this.#backoff();
    }
  }

  #backoff() {
    const { backoffMin, backoffMax } = this.#core.timing;
    const longest = Math.min(backoffMax, backoffMin * 2 ** Math.min(this.#failures++, 20));
    return longest * (0.5 + Math.random() / 2);
  }

  async #pause(wait) {
    let timer;
    await new Promise((resolve) => {
      this.#wake = resolve;
      timer = setTimeout(resolve, wait);
    });
    clearTimeout(timer);
    this.#wake = null;
  }
}
