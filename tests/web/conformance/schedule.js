// One random schedule: devices of friends do what users do while faults strike; then the faults stop,
// and what every device shows must become what the server has.

import assert from "node:assert/strict";
import { setImmediate as turn } from "node:timers/promises";

import { FakeNatter } from "../fake/server.js";
import { Random } from "../fake/random.js";
import { installTabs } from "./browser.js";
import { compareChanges, compareDevice, comparePart, comparePresence, compareSearch, compareSends } from "./compare.js";
import { Device, PASSWORD, QUICK } from "./device.js";
import { Disk } from "./disk.js";
import { simulate } from "./simulation.js";
import { eventually, sleep, within } from "./wait.js";

// Up to three milliseconds, as the world of a schedule has them.
installTabs(() => Math.floor(4 * Math.random()));

/** Of one user that share a connection. */
const MOST_TABS = 3;
const CLOSE_CODES = [1000, 1001, 1002, 1007, 1008, 1009, 1011, 1012, 1013, 4001, 4008, 4009];
/** For all that is to come about once the faults have stopped. */
const DEADLINE = 30_000;

export class Schedule {
  #seed;
  #random;
  #natter;
  #devices = [];
  #channels = [];
  #parts = [];
  /** Client ids of what was set back, taken back, tried again, and written before a logout. */
  vanished = new Set();
  discarded = new Set();
  retried = new Set();
  forgotten = new Set();
  /** What sends may be refused with, because of what was done. */
  refusals = new Set();
  #texts = 0;
  #logOuts = [];
  /** Timers that end a fault. */
  #ends = [];
  /** What happened, and when, to be read where the schedule fails. */
  trace = [];

  constructor(seed) {
    this.#seed = seed;
    this.#random = new Random(seed);
  }

  run() {
    return simulate(this.#seed, (network) => this.#run(network));
  }

  async #run(network) {
    this.#natter = await FakeNatter.start(network);
    try {
      await this.#begin();
      const steps = this.#random.between(8, 24);
      for (let step = 0; step < steps; step++) {
        await this.#step(this.#random.chance(0.4) ? this.#fault() : this.#action());
        await this.#pause();
      }
      this.#heal();
      await within(Promise.all(this.#logOuts), DEADLINE, "logging out");
      await this.#compare();
      await this.#probe();
      await this.#compare();
      await this.#part();
      this.#note("everything is right");
    } finally {
      for (const end of this.#ends) clearTimeout(end);
      for (const device of this.#devices) device.client?.close();
      await this.#natter.stop();
    }
  }

  /** Ada is a friend of Ben and of Cleo; Cleo has no client, and writes from elsewhere. */
  async #begin() {
    const random = this.#random;
    const { model, gateway } = this.#natter;
    model.clockAhead = random.pick([0, 0, 3_600_000, -3_600_000]);
    model.accessLifetime = random.pick([900, 900, 0.5]);
    gateway.replayEvents = random.pick([3, 20, 1_000]);
    gateway.ackFirst = random.chance(0.5);
    const [ada, ben, cleo] = ["ada", "ben", "cleo"].map((username) => model.addUser({ username, password: PASSWORD }).id);
    this.#channels = [model.befriend(ada, ben).id, model.befriend(cleo, ada).id];
    for (const [name, id] of [["ada", ada], ["ben", ben]]) {
      const conversations = this.#channels.filter((one) => model.channels.get(one).members.includes(id));
      for (let count = random.between(1, 2); count > 0; count--) {
        const ms = random.pick([0, 0, 1, 3]);
        const isShared = random.chance(0.4);
        const options = {
          timing: QUICK,
          getToken: random.chance(0.25) ? tokensFrom(model, id) : undefined,
          disk: new Disk(ms ? () => sleep(ms) : turn),
          isShared,
        };
        for (let tabs = isShared ? random.between(1, MOST_TABS) : 1; tabs > 0; tabs--) {
          const device = new Device(this.#natter, name, options);
          this.#note(`${name}${this.#devices.length} is ${isShared ? `a tab of ${tabs} or more` : "alone"}${options.getToken ? ", with getToken" : ""}`);
          this.#devices.push(device);
          await within(device.begin(conversations), DEADLINE, "opening a device");
        }
      }
    }
  }

  async #step([name, run]) {
    this.#note(name);
    await run();
  }

  #note(what) {
    this.trace.push(`${performance.now()} ms: ${what}`);
  }

  async #pause() {
    const kind = this.#random.weighted([[3, "none"], [3, "turn"], [3, "short"], [1, "long"]]);
    if (kind === "turn") await turn();
    if (kind === "short") await sleep(this.#random.between(1, 4));
    if (kind === "long") await sleep(this.#random.between(5, 20));
  }

  #text() {
    this.#texts += 1;
    return `text ${this.#texts}`;
  }

  // What users do.

  #action() {
    const random = this.#random;
    const device = random.pick(this.#devices);
    const of = `${device.username}${this.#devices.indexOf(device)}`;
    const conversation = random.pick([...device.subscriptions.keys()]);
    const place = `${of} in ${this.#channels.indexOf(conversation)}`;
    const own = device.shown(conversation).filter((one) => one.mine && one.id && !one.deleted);
    return random.weighted([
      [5, [`${place} sends`, () => this.#send(device, conversation, random.between(1, 6))]],
      [2, [`${place} retries`, () => this.#retry(device, conversation)]],
      [1, [`${place} discards`, () => this.#discard(device, conversation)]],
      [4, [`elsewhere writes in ${this.#channels.indexOf(conversation)}`, () => this.#elsewhere(conversation, random.weighted([[5, 1], [3, 4], [1, 30]]))]],
      [2, [`${place} edits`, () => own.length > 0 && device.edit(conversation, random.pick(own).id, this.#text())]],
      [1, [`${place} deletes`, () => own.length > 0 && device.delete(conversation, random.pick(own).id)]],
      [2, [`${place} has seen`, () => device.client.conversation(conversation).markSeen()]],
      [1, [`${place} types`, () => device.client.conversation(conversation).typing.keystroke()]],
      [1, [`${place} shows a part`, () => this.#showPart(device, conversation)]],
      [1, [`${of} moves a part`, () => this.#movePart(device)]],
      [1, [`${of} reloads`, () => device.reload()]],
      [1, [`${of} crashes`, () => device.crash()]],
      [0.3, [`${of} logs out`, () => this.#logOut(device)]],
      [0.4, [`${place} rejects or accepts`, () => this.#turnFriendship(conversation)]],
    ]);
  }

  #send(device, conversation, count) {
    if (device.client.user === null) return;
    for (; count > 0; count--) {
      const { text, clientId } = device.send(conversation, this.#text(), this.#attached(device, conversation));
      this.#note(`  "${text}" is ${clientId}`);
    }
  }

  #attached(device, conversation) {
    const random = this.#random;
    const answered = random.chance(0.2) ? random.pick(device.shown(conversation).filter((one) => one.id)) : undefined;
    const media = Array.from({ length: random.weighted([[8, 0], [1, 1], [1, 2]]) }, (_, index) => new Blob([`file ${index}`]));
    return { ...(answered && { replyTo: answered.id }), ...(media.length > 0 && { media }) };
  }

  #retry(device, conversation) {
    const failed = device.shown(conversation).filter((one) => one.status === "failed" || one.edit?.status === "failed");
    const one = this.#random.pick(failed);
    if (!one) return;
    const clientId = one.edit?.client_id ?? one.client_id;
    this.retried.add(clientId);
    device.client.conversation(conversation).retry(clientId);
  }

  #discard(device, conversation) {
    const one = this.#random.pick(device.shown(conversation).filter(({ id, edit }) => id === null || edit));
    if (!one) return;
    const clientId = one.edit?.client_id ?? one.client_id;
    this.discarded.add(clientId);
    device.client.conversation(conversation).discard(clientId);
  }

  /** Where the server is not reached nothing has ended; otherwise what was not sent is forgotten, in all tabs. */
  #logOut(device) {
    if (device.client.user === null) return;
    this.refusals.add("logged_out");
    const forget = () => {
      for (const { sends, changes } of this.#tabsOf(device)) {
        for (const { clientId } of [...sends, ...changes]) this.forgotten.add(clientId);
      }
    };
    this.#logOuts.push(device.client.logOut().then(forget, () => {}));
  }

  #tabsOf(device) {
    return this.#devices.filter(({ disk }) => disk === device.disk);
  }

  /** Written by either member, without any of the devices. */
  #elsewhere(conversation, count) {
    const { model } = this.#natter;
    if (!model.isOpen(model.friendships.get(conversation))) return;
    const channel = model.channels.get(conversation);
    for (; count > 0; count--) {
      const user = this.#random.pick(channel.members);
      const own = model.messagesOf(channel).filter((message) => message.sender === user && !message.deleted);
      const kind = own.length > 0 ? this.#random.weighted([[6, "message"], [1, "edited"], [1, "deleted"], [2, "mark"]]) : "message";
      const { id } = this.#random.pick(kind === "mark" ? model.messagesOf(channel) : own) ?? {};
      if (kind === "mark") model.mark(user, conversation, id, this.#random.chance(0.5));
      else if (kind === "message") model.send(user, conversation, null, { kind, content: this.#text(), media: [], replyTo: null });
      else if (kind === "edited") model.send(user, conversation, null, { kind, message: id, content: this.#text() });
      else model.send(user, conversation, null, { kind, message: id });
    }
  }

  #showPart(device, conversation) {
    const limit = this.#random.between(3, 12);
    const around = this.#random.chance(0.3) ? this.#random.pick(device.shown(conversation))?.id : undefined;
    const part = { device, conversation, limit, instance: device.instance, window: null };
    const show = (window) => (part.window = window);
    part.subscription = device.client.conversation(conversation).subscribe(show, { limit, ...(around && { around }) });
    this.#parts.push(part);
  }

  #movePart(device) {
    const part = this.#random.pick(this.#partsOf(device));
    if (!part) return;
    const way = this.#random.pick(["before", "after", "latest"]);
    part.subscription[way](this.#random.between(1, 10)).catch(() => {});
  }

  #partsOf(device) {
    return this.#parts.filter((part) => part.device === device && part.instance === device.instance);
  }

  #turnFriendship(conversation) {
    const { model } = this.#natter;
    const user = this.#random.pick(model.channels.get(conversation).members);
    this.refusals.add("channel_closed");
    model.answer(user, conversation, this.#random.pick(["accepted", "rejected"]));
  }

  // Faults.

  #fault() {
    const random = this.#random;
    const natter = this.#natter;
    const { gateway, http, model } = natter;
    const connection = random.pick([...gateway.connections]);
    const code = random.pick(CLOSE_CODES);
    const trick = random.pick(["drop", "repeat", "reorder"]);
    const path = random.pick([/./, /messages/, /refresh-token/, /events/]);
    const cut = random.pick(["before", "middle"]);
    const status = random.pick([503, 429]);
    const ofOne = connection
      ? [
          [6, [`${trick} a frame`, () => connection.trick(trick, { after: random.between(1, 3) })]],
          [2, ["delay frames", () => connection.stall(random.between(3, 20))]],
          [3, [`close with ${code}`, () => this.#close(connection, code)]],
          [2, ["destroy the socket", () => connection.destroy()]],
          [3, ["cut after a send was stored", () => connection.cutAtSend({ isStored: true })]],
          [2, ["cut before a send was stored", () => connection.cutAtSend({ isStored: false })]],
          [2, ["unavailable", () => connection.refuseSend("unavailable")]],
          [1, ["no time for a mark", () => connection.refuseReceipt("unavailable")]],
          [2, ["rate limited", () => connection.refuseSend("rate_limited", random.between(2, 20))]],
          [0.5, ["half-open", () => connection.freeze()]],
          [1, ["goaway", () => connection.goAway(random.between(0, 10), random.between(5, 20))]],
          [0.3, ["end the session", () => this.#endSession(connection)]],
        ]
      : [];
    return random.weighted([
      ...ofOne,
      [1, ["restart", () => this.#restart(random.between(3, 25))]],
      [1, ["refuse upgrades", () => (gateway.refusing = { status: 503, times: random.between(1, 3) })]],
      [1, ["expire the tokens", () => model.expireTokens()]],
      [2, [`${status} at ${path}`, () => http.fault({ path, status, retryAfter: 0, times: random.between(1, 2) })]],
      [1, [`cut an answer at ${path}`, () => http.fault({ path, cut })]],
      [0.3, [`hang at ${path}`, () => http.fault({ path, hang: true })]],
      [1, ["a disk is full", () => this.#fill(random.pick(this.#devices).disk, random.between(3, 25))]],
      [0.7, ["set the log back", () => this.#setBack(random.pick(this.#channels), random.between(0, 4))]],
    ]);
  }

  #restart(ms) {
    this.#natter.down();
    this.#ends.push(setTimeout(() => this.#natter.up(), ms));
  }

  #fill(disk, ms) {
    disk.isFull = true;
    this.#ends.push(setTimeout(() => (disk.isFull = false), ms));
  }

  #close(connection, code) {
    if (code === 1009) this.refusals.add("too_large");
    connection.close(code);
  }

  #endSession({ sid }) {
    this.refusals.add("logged_out");
    this.#natter.model.endSession(sid);
  }

  #setBack(conversation, count) {
    const { model } = this.#natter;
    const channel = model.channels.get(conversation);
    // A reply to what is gone, or a change of it.
    this.refusals.add("message_not_found");
    for (const entry of channel.entries.slice(Math.max(0, channel.entries.length - count))) {
      this.vanished.add(entry.clientId);
    }
    model.setBack(channel, count);
  }

  // The end.

  #heal() {
    const { model } = this.#natter;
    this.#note("heal");
    this.#ends.forEach(clearTimeout);
    for (const { disk } of this.#devices) disk.isFull = false;
    for (const friendship of model.friendships.values()) {
      for (const user of [friendship.from_user, friendship.to_user]) model.answer(user, friendship.id, "accepted");
    }
    this.#natter.heal();
  }

  /** Who was logged out logs in again; who stopped trying to connect tries again. */
  async #recover(device) {
    if (device.client.user === null) await device.resume();
    if (device.client.state === "closed") await within(device.client.connect(), 1_000, "connecting again");
  }

  async #compare() {
    const { model } = this.#natter;
    for (const device of this.#devices) {
      const changes = this.#tabsOf(device).flatMap((tab) => tab.changes);
      try {
        await eventually(async () => {
          await this.#recover(device);
          await device.showAll();
          compareDevice(model, device);
          comparePresence(this.#natter, device);
          compareSends(model, device, this);
          compareChanges(model, device, changes, this);
          for (const { conversation, window, limit } of this.#partsOf(device)) {
            comparePart(model, model.channels.get(conversation), device.user, window, limit);
          }
        }, DEADLINE);
      } catch (error) {
        throw new Error(`what ${device.username}${this.#devices.indexOf(device)} shows is not what the server has`, { cause: error });
      }
    }
  }

  /** One more message everywhere: what is still on its way comes before it. And what has no state to compare. */
  async #probe() {
    const { model } = this.#natter;
    for (const channel of model.channels.values()) this.#elsewhere(channel.id, 1);
    const [device] = this.#devices;
    const [conversation] = device.subscriptions.keys();
    const upload = async () => {
      await this.#recover(device);
      return device.client.upload(new Blob(["uploaded before"]));
    };
    const media = [await eventually(upload)];
    this.#note(`  uploaded: ${device.send(conversation, this.#text(), { media }).clientId}`);
    for (const one of this.#devices) {
      const text = `text ${this.#random.between(1, this.#texts)}`;
      await eventually(async () => {
        await this.#recover(one);
        const { results, hasNext } = await one.client.search(text, { pageSize: 100 });
        assert.equal(hasNext, false);
        compareSearch(model, one, text, results);
      }, DEADLINE);
    }
    await this.#type(device, this.#devices.filter(({ user }) => user !== device.user), conversation);
  }

  /** One types, and all the friend's devices show it; and show its end. */
  async #type(device, others, conversation) {
    const heard = (one) => one.events.filter(({ event, value }) => event === "typing" && value.active).length;
    const before = others.map(heard);
    await eventually(() => {
      device.client.conversation(conversation).typing.keystroke();
      for (const [index, one] of others.entries()) assert.ok(heard(one) > before[index], "typing is shown");
    }, DEADLINE);
    await eventually(() => {
      for (const one of others) assert.equal(one.client.conversation(conversation).info.typing, false);
    }, DEADLINE);
  }

  /** Whose devices are all closed is offline to the friend. */
  async #part() {
    const { user } = this.#devices.at(-1);
    for (const device of this.#devices) if (device.user === user) device.client.close();
    await eventually(() => {
      for (const device of this.#devices) if (device.user !== user) comparePresence(this.#natter, device);
    }, DEADLINE);
  }
}

/** For clients whose sessions are kept elsewhere: access tokens alone, as a backend of an app gives them. */
function tokensFrom(model, user) {
  let sid = null;
  return async () => {
    if (!model.sessions.has(sid)) {
      const { access } = model.beginSession(user);
      sid = [...model.sessions.keys()].at(-1);
      return access;
    }
    return model.accessOf(sid);
  };
}
