// A world in which time and chance are those of a seed: timers fire in their order without waiting, every byte on
// the network takes as long as the seed says, and nothing depends on how busy the machine is. So a schedule that
// fails can be run again, step for step, on any machine; and it takes only the time that its work takes.
//
// What is real: the client library, its WebSocket for Node, Node's HTTP on both sides, and `ws`. What is not:
// the clock, the timers, the randomness, the sockets below HTTP, and `fetch`, which is made of Node's HTTP.

import http from "node:http";
import { Duplex } from "node:stream";

import { Random } from "../fake/random.js";
// Loaded before any clock is turned: the first load of a module takes as long as a real disk does.
import "../../../services/site/client/src/node-socket.js";

/** Only timers are simulated: what Node does at the next turn of its event loop, it does. */
const turn = () => new Promise((resolve) => setImmediate(resolve));
/** In so many turns of the event loop all that waits for no time is done. */
const MOST_TURNS = 100;
/** When each world begins; whole seconds, as times in tokens. */
const BEGIN = Date.UTC(2026, 0, 1);

/** Runs `work(network)` in a world of its own, and answers what it does. One at a time. */
export async function simulate(seed, work) {
  const random = new Random(seed ^ 0x5eed);
  const clock = new Clock();
  const network = new Network(random);
  const restore = replace(clock, random, network);
  let isOver = false;
  const over = (async () => work(network))().finally(() => (isOver = true));
  over.catch(() => {});
  try {
    while (!isOver) {
      // What has begun comes some way before the next timer: all the way, where that is not close.
      const turns = Math.min(MOST_TURNS, random.between(1, 6) * clock.wait);
      for (let left = turns; left > 0 && !isOver; left--) await turn();
      if (!isOver && !clock.advance()) await idle(() => isOver || !clock.isEmpty);
    }
    // What still goes on in this world ends in it.
    for (let turns = 0; turns < 20; turns++) await turn();
  } finally {
    restore();
  }
  return over;
}

/** Nothing waits for a time: something must be about to happen by itself. */
async function idle(isEnd) {
  for (let turns = 0; turns < 10_000; turns++) {
    if (isEnd()) return;
    await turn();
  }
  throw new Error("nothing happens any more");
}

function replace(clock, random, network) {
  const replaced = [
    [globalThis, "setTimeout", (run, ms, ...values) => clock.add(() => run(...values), ms)],
    [globalThis, "setInterval", (run, ms, ...values) => clock.add(() => run(...values), ms, true)],
    [globalThis, "clearTimeout", (timer) => clock.remove(timer)],
    [globalThis, "clearInterval", (timer) => clock.remove(timer)],
    [globalThis, "fetch", request],
    [performance, "now", () => clock.now],
    [Date, "now", () => BEGIN + clock.now],
    [Math, "random", () => random.next()],
    [crypto, "randomUUID", () => uuid(random)],
  ];
  const before = replaced.map(([of, name]) => [of, name, Object.getOwnPropertyDescriptor(of, name)]);
  for (const [of, name, value] of replaced) Object.defineProperty(of, name, { configurable: true, writable: true, value });
  const agent = http.globalAgent;
  http.globalAgent = new http.Agent();
  http.globalAgent.createConnection = ({ port }) => network.connect(Number(port));
  return () => {
    http.globalAgent = agent;
    for (const [of, name, descriptor] of before) {
      if (descriptor) Object.defineProperty(of, name, descriptor);
      else delete of[name];
    }
  };
}

function uuid(random) {
  const hex = (digits) => Array.from({ length: digits }, () => random.between(0, 15).toString(16)).join("");
  return [8, 4, 4, 4, 12].map(hex).join("-");
}

class Clock {
  /** The next one last. */
  #timers = [];
  /** Milliseconds since the world began. */
  now = 0;

  get isEmpty() {
    return this.#timers.length === 0;
  }

  /** Milliseconds, one at least, until the next timer. */
  get wait() {
    return Math.max(1, (this.#timers.at(-1)?.at ?? Infinity) - this.now);
  }

  add(run, ms, repeats = false) {
    // As Node has it.
    const wait = Math.max(1, Math.floor(ms) || 1);
    const timer = { run, wait, repeats, at: 0, unref: () => timer, ref: () => timer };
    this.#put(timer);
    return timer;
  }

  /** Behind those that are due at the same time. */
  #put(timer) {
    timer.at = this.now + timer.wait;
    let [low, high] = [0, this.#timers.length];
    while (low < high) {
      const middle = (low + high) >> 1;
      if (this.#timers[middle].at > timer.at) low = middle + 1;
      else high = middle;
    }
    this.#timers.splice(low, 0, timer);
  }

  remove(timer) {
    const index = this.#timers.indexOf(timer);
    if (index >= 0) this.#timers.splice(index, 1);
    else if (timer) timer.repeats = false;
  }

  /** Runs the next timer, when its time has come; says whether there was one. */
  advance() {
    const timer = this.#timers.pop();
    if (!timer) return false;
    this.now = Math.max(this.now, timer.at);
    if (timer.repeats) this.#put(timer);
    timer.run();
    return true;
  }
}

/** Servers by their ports, and the wires to them. */
class Network {
  #servers = new Map();
  #random;
  /** Milliseconds that a wire takes at most. */
  #latency;

  constructor(random) {
    this.#random = random;
    this.#latency = random.pick([1, 1, 3, 10]);
  }

  /** `accept` gets each connection. Answers the port. */
  listen(accept) {
    const port = 1024 + this.#servers.size;
    this.#servers.set(port, accept);
    return port;
  }

  connect(port) {
    const latency = () => this.#random.between(0, this.#latency);
    const [client, server] = [new Wire(latency), new Wire(latency)];
    client.peer = server;
    server.peer = client;
    client.carry(() => this.#servers.get(port)(server));
    return client;
  }
}

/** One end of a connection, as a socket is. */
class Wire extends Duplex {
  #latency;
  /** When what was sent last arrives. */
  #last = 0;
  #isEnded = false;
  peer = null;

  constructor(latency) {
    super({ allowHalfOpen: false });
    this.#latency = latency;
  }

  /** Does at the other end what comes after all that was sent before. */
  carry(arrive) {
    const now = performance.now();
    this.#last = Math.max(this.#last, now + this.#latency());
    setTimeout(arrive, this.#last - now);
  }

  _read() {}

  _write(bytes, _, done) {
    this.carry(() => this.peer.destroyed || this.peer.readableEnded || this.peer.push(bytes));
    done();
  }

  _final(done) {
    this.carry(() => this.peer.#end());
    done();
  }

  _destroy(error, done) {
    this.carry(() => this.peer.#end());
    done(error);
  }

  /** The other end sends no more. */
  #end() {
    if (this.#isEnded || this.destroyed) return;
    this.#isEnded = true;
    this.push(null);
  }

  destroySoon() {
    if (this.writable) this.end();
    if (this.writableFinished) this.destroy();
    else this.once("finish", () => this.destroy());
  }

  setTimeout(ms, run) {
    if (ms && run) setTimeout(() => this.destroyed || run(), ms);
    return this;
  }

  setNoDelay() {
    return this;
  }

  setKeepAlive() {
    return this;
  }

  ref() {
    return this;
  }

  unref() {
    return this;
  }
}

/** As `fetch`, as far as the client library uses it. */
async function request(url, { method, headers, body, signal }) {
  const whole = body === undefined ? null : new Response(body);
  const type = body instanceof FormData ? { "Content-Type": whole.headers.get("Content-Type") } : {};
  const bytes = whole && Buffer.from(await whole.arrayBuffer());
  signal.throwIfAborted();
  return new Promise((resolve, reject) => {
    const length = bytes ? { "Content-Length": bytes.length } : {};
    const sent = http.request(url, { method, headers: { ...headers, ...type, ...length }, signal });
    sent.on("error", reject);
    sent.on("response", (answer) => {
      const parts = answer[Symbol.asyncIterator]();
      const reader = { read: () => parts.next() };
      resolve({ status: answer.statusCode, headers: new Headers(answer.headers), body: { getReader: () => reader } });
    });
    sent.end(bytes ?? undefined);
  });
}
