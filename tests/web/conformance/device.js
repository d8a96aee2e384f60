// A device of a user in a test, or one of several tabs of it: a client on a disk, all that it shows, and
// all that was sent on it.

import { NatterClient } from "../../../services/site/client/index.js";
import { Disk } from "./disk.js";
import { eventually, sleep } from "./wait.js";

/** As short as a schedule can bear on a busy machine. */
export const QUICK = {
  backoffMin: 2,
  backoffMax: 20,
  requestTimeout: 800,
  heartbeat: 400,
  answerTimeout: 800,
  receiptDelay: 2,
  refreshDelay: 2,
  typingEvery: 60,
  typingEnds: 200,
  presenceNamed: 20,
};
export const PASSWORD = "Correct-horse-1";
/** More than any schedule sends, so that nothing is dropped at an end. */
const EVERYTHING = 10_000;

export class Device {
  /** How many there were, on all devices. */
  static #changes = 0;
  client = null;
  store = null;
  /** The newest window of each conversation that is subscribed to. */
  windows = new Map();
  subscriptions = new Map();
  conversations = null;
  friends = null;
  /** What the client told: `{event, value}`. */
  events = [];
  /** `{conversation, clientId, text, media, replyTo, instance, message, kept, outcome}`, in the order in which they were sent. */
  sends = [];
  /** Edits and deletions, numbered in the order of all: `{kind, conversation, message, clientId, text, number, instance, kept, outcome}`. */
  changes = [];
  /** How often it was reloaded. */
  instance = 0;

  /** Devices on one `disk` that say `isShared` are tabs of one browser. */
  constructor(natter, username, { timing = QUICK, getToken, disk = new Disk(), isShared = false } = {}) {
    this.natter = natter;
    this.username = username;
    this.timing = timing;
    this.getToken = getToken;
    this.disk = disk;
    this.isShared = isShared;
  }

  /** A device that is logged in and connected, and shows these conversations. */
  static async open(natter, username, conversations = [], options = {}) {
    const device = new Device(natter, username, options);
    await device.begin(conversations);
    return device;
  }

  async begin(conversations) {
    this.make();
    // On a machine that is too busy the first try may be given up.
    await eventually(() => this.resume());
    await this.client.connect();
    this.show(conversations);
  }

  get user() {
    return this.natter.model.userByName(this.username).id;
  }

  make() {
    const { natter, timing, getToken, isShared } = this;
    this.store = this.disk.open({ isShared });
    this.client = new NatterClient({ url: natter.url, store: this.store, timing, getToken });
    const instance = this.instance;
    for (const event of ["state", "session", "message", "friendship", "presence", "typing", "error"]) {
      this.client.on(event, (value) => this.events.push({ event, value, instance }));
    }
  }

  logIn() {
    return this.client.logIn({ username: this.username, password: PASSWORD });
  }

  /** With the session that the disk has, or a new one. */
  async resume() {
    if (!(await this.client.restore())) await this.logIn();
  }

  show(conversations) {
    const { client } = this;
    // What a page that has ended would still be told counts no more.
    const show = (take) => (shown) => client === this.client && take(shown);
    for (const id of conversations) {
      const take = show((window) => this.windows.set(id, window));
      this.subscriptions.set(id, client.conversation(id).subscribe(take, { limit: EVERYTHING }));
    }
    client.conversations.watch(show((list) => (this.conversations = list)));
    client.friends.watch(show((friends) => (this.friends = friends)));
  }

  /** Ends the client, as a page ends, and begins another on the same store. */
  async reload() {
    const shown = [...this.subscriptions.keys()];
    this.client.close();
    await this.#again(shown);
  }

  /** As `reload`, where the page just stops. */
  async crash() {
    const shown = [...this.subscriptions.keys()];
    this.store.cut();
    // Nothing that is written meanwhile gets anywhere: what is left is to end its timers and sockets.
    this.client.close();
    await this.#again(shown);
  }

  async #again(shown) {
    this.instance += 1;
    // No page begins in the millisecond in which the last one ended.
    await sleep(1);
    this.make();
    this.windows.clear();
    await this.client.restore().catch(() => {});
    this.client.connect().catch(() => {});
    this.show(shown);
  }

  send(conversation, text, more = {}) {
    const message = this.client.conversation(conversation).send({ text, ...more });
    const { media = [], replyTo = null } = more;
    const send = { conversation, clientId: message.client_id, text, media, replyTo, instance: this.instance, message };
    this.#follow(send, message);
    this.sends.push(send);
    return send;
  }

  edit(conversation, message, text) {
    return this.#change("edited", conversation, message, text, this.client.conversation(conversation).edit(message, text));
  }

  delete(conversation, message) {
    return this.#change("deleted", conversation, message, undefined, this.client.conversation(conversation).delete(message));
  }

  #change(kind, conversation, message, text, acked) {
    const number = ++Device.#changes;
    const change = { kind, conversation, message, clientId: acked.client_id, text, number, instance: this.instance };
    this.#follow(change, { kept: acked.kept, acked });
    this.changes.push(change);
    return change;
  }

  #follow(one, { kept, acked }) {
    // Whether the disk has it: `yes`, `no` where the disk was full, `crashed` where the page ended before.
    kept.then(
      () => (one.kept = "yes"),
      (error) => (one.kept = /crashed/.test(error.message) ? "crashed" : "no"),
    );
    one.settled = acked.then(
      (ack) => (one.outcome = { ack }),
      (error) => (one.outcome = { error }),
    );
  }

  shown(conversation) {
    return this.windows.get(conversation)?.messages ?? [];
  }

  /** Shows all older messages. */
  async showAll() {
    for (const [id, subscription] of this.subscriptions) {
      while (this.windows.get(id)?.hasBefore) if ((await subscription.before(100)) === 0) break;
    }
  }
}
