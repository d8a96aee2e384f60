// What natter-client promises, each rule and each fault in a test of its own, against the fake Natter.

import assert from "node:assert/strict";
import { test } from "node:test";
import { setTimeout as sleep } from "node:timers/promises";

import { NatterClient } from "../../services/site/client/index.js";
import { NodeSocket } from "../../services/site/client/src/node-socket.js";
import { installTabs } from "./conformance/browser.js";
import { compareConversations, compareDevice, comparePart, compareWindow } from "./conformance/compare.js";
import { Device, PASSWORD, QUICK } from "./conformance/device.js";
import { Disk } from "./conformance/disk.js";
import { eventually, within } from "./conformance/wait.js";
import { FakeNatter } from "./fake/server.js";
import { readToken } from "./fake/tokens.js";

installTabs();

/** Long enough for a client that would wrongly do something to do it. */
const A_WHILE = 120;

/** Ada and Ben, who are friends, and whatever devices of theirs a test opens. */
async function world(t) {
  const natter = await FakeNatter.start();
  const { model, gateway, http } = natter;
  const [ada, ben] = ["ada", "ben"].map((username) => model.addUser({ username, password: PASSWORD }).id);
  const channel = model.channels.get(model.befriend(ada, ben).id);
  const devices = [];
  const equal = (device) =>
    eventually(async () => {
      await device.showAll();
      compareDevice(model, device);
    });
  t.after(async () => {
    for (const device of devices) device.client.close();
    await natter.stop();
  });
  return {
    natter,
    model,
    gateway,
    http,
    ada,
    ben,
    channel,
    id: channel.id,
    async open(username, options) {
      const device = await Device.open(natter, username, [channel.id], options);
      devices.push(device);
      await equal(device);
      return device;
    },
    write: (user, content) => model.send(user, channel.id, null, { kind: "message", content, media: [], replyTo: null }),
    connection: (user) => gateway.of(user).at(-1),
    contents: () => model.messagesOf(channel).map((message) => message.content),
    equal,
    count: (pattern) => http.requests.filter(({ name }) => pattern.test(name)).length,
  };
}

const ofKind = (type) => ({ matches: (frame) => frame.type === type });
const told = (device, event) => device.events.filter((one) => one.event === event).map((one) => one.value);
/** What an earlier page has kept and not sent. */
const left = (user, channel) => ({
  key: `outbox ${user} 0 left`,
  order: 0,
  clientId: "left",
  kind: "send",
  channel,
  created: new Date().toISOString(),
  state: "pending",
  payload: "left",
});
const settled = (send) => within(send.settled, 5_000, "settling");

// Sending.

test("a message is shown before it is sent, and its status goes on to received and seen", async (t) => {
  const { open, id, equal } = await world(t);
  const [ada, ben] = [await open("ada"), await open("ben")];
  const send = ada.send(id, "Hello");
  assert.equal(send.message.status, "pending");
  await eventually(() => assert.equal(ada.shown(id).at(-1)?.content, "Hello"));
  const { ack } = await settled(send);
  assert.equal(ack.duplicate, false);
  await eventually(() => assert.equal(ada.shown(id)[0].status, "received"));
  assert.equal(ben.conversations.unread, 1);
  ben.client.conversation(id).markSeen();
  await eventually(() => assert.equal(ada.shown(id)[0].status, "seen"));
  assert.equal(ben.conversations.unread, 0);
  await equal(ada);
  await equal(ben);
});

test("a send whose ack was lost is sent once", async (t) => {
  const { open, id, ada: user, connection, contents, equal } = await world(t);
  const ada = await open("ada");
  connection(user).cutAtSend({ isStored: true });
  const send = ada.send(id, "once");
  assert.equal((await settled(send)).ack.client_id, send.clientId);
  assert.deepEqual(contents(), ["once"]);
  await equal(ada);
});

test("a send that was lost before it was stored is sent again", async (t) => {
  const { open, id, ada: user, connection, contents } = await world(t);
  const ada = await open("ada");
  connection(user).cutAtSend({ isStored: false });
  assert.ok((await settled(ada.send(id, "once"))).ack);
  assert.deepEqual(contents(), ["once"]);
});

test("a send whose ack is dropped on a connection that stays is sent once", async (t) => {
  const { open, id, ada: user, connection, contents, equal } = await world(t);
  const ada = await open("ada");
  connection(user).trick("drop", ofKind("ack"));
  connection(user).trick("drop", ofKind("friendship_message"));
  assert.ok((await settled(ada.send(id, "once"))).ack);
  assert.deepEqual(contents(), ["once"]);
  await equal(ada);
});

test("messages are sent in the order in which they were written", async (t) => {
  const { open, id, ada: user, connection, contents, equal } = await world(t);
  const ada = await open("ada");
  connection(user).refuseSend("unavailable");
  connection(user).refuseSend("rate_limited", 10);
  connection(user).cutAtSend({ isStored: false });
  const texts = Array.from({ length: 12 }, (_, number) => `message ${number}`);
  const sends = texts.map((text) => ada.send(id, text));
  for (const send of sends) assert.ok((await settled(send)).ack);
  assert.deepEqual(contents(), texts);
  await equal(ada);
});

test("an unavailable server is asked again with the same client_id", async (t) => {
  const { open, id, ada: user, connection, channel } = await world(t);
  const ada = await open("ada");
  connection(user).refuseSend("unavailable");
  const send = ada.send(id, "again");
  assert.ok((await settled(send)).ack);
  assert.deepEqual(channel.entries.map((entry) => entry.clientId), [send.clientId]);
});

test("retry_after_ms is obeyed", async (t) => {
  const { open, id, ada: user, connection } = await world(t);
  const ada = await open("ada");
  connection(user).refuseSend("rate_limited", 150);
  const began = performance.now();
  assert.ok((await settled(ada.send(id, "slowly"))).ack);
  assert.ok(performance.now() - began >= 145);
});

test("a failed message says why, and can be retried and discarded", async (t) => {
  const { open, id, ben: friend, model, contents, equal } = await world(t);
  const ada = await open("ada");
  model.answer(friend, id, "rejected");
  const [first, second] = [ada.send(id, "first"), ada.send(id, "second")];
  await eventually(() => {
    assert.deepEqual(ada.shown(id).map((one) => [one.content, one.status]), [["first", "failed"], ["second", "failed"]]);
  });
  assert.equal(ada.shown(id)[0].error.code, "channel_closed");
  assert.equal((await settled(first)).error.code, "channel_closed");
  assert.equal((await settled(second)).error.code, "channel_closed");
  model.answer(friend, id, "accepted");
  ada.client.conversation(id).discard(first.clientId);
  ada.client.conversation(id).retry(second.clientId);
  await eventually(() => assert.deepEqual(contents(), ["second"]));
  await equal(ada);
});

test("a message that is not sent yet can be taken back", async (t) => {
  const { open, natter, id, contents } = await world(t);
  const ada = await open("ada");
  natter.down();
  const [first, second] = [ada.send(id, "first"), ada.send(id, "second")];
  ada.client.conversation(id).discard(first.clientId);
  assert.equal((await settled(first)).error.code, "discarded");
  natter.up();
  assert.ok((await settled(second)).ack);
  assert.deepEqual(contents(), ["second"]);
});

test("an outbox survives a reload", async (t) => {
  const { open, natter, id, contents, equal } = await world(t);
  const ada = await open("ada");
  natter.down();
  const texts = ["one", "two", "three"];
  for (const text of texts) ada.send(id, text);
  await eventually(() => assert.equal(ada.shown(id).length, 3));
  await ada.reload();
  await eventually(() => assert.deepEqual(ada.shown(id).map((one) => [one.content, one.status]), texts.map((text) => [text, "pending"])));
  natter.up();
  await eventually(() => assert.deepEqual(contents(), texts));
  await equal(ada);
});

test("what is written at once after a crash goes after what was written in the moment before it", async (t) => {
  const { open, natter, id, contents } = await world(t);
  const ada = await open("ada");
  natter.down();
  let now = Date.now();
  t.mock.method(Date, "now", () => now);
  const texts = ["one", "two", "three", "four", "five"];
  const sends = texts.map((text) => ada.send(id, text));
  await Promise.all(sends.map(({ message }) => message.kept));
  now += 1;
  await ada.crash();
  const last = ada.send(id, "last");
  natter.up();
  assert.ok((await settled(last)).ack);
  assert.deepEqual(contents(), [...texts, "last"]);
});

test("the message that `send` returns follows what becomes of it, also where nothing shows it", async (t) => {
  const { open, natter, id, ada: user, ben: friend, model, connection } = await world(t);
  const [ada, ben] = [await open("ada"), await open("ben")];
  ada.subscriptions.get(id).unsubscribe();
  connection(user).stall(50);
  const { message } = ada.send(id, "Hello", { media: [new File(["content"], "note.txt")] });
  const snapshot = { ...message };
  const seen = [message.status];
  await within(message.acked, 5_000, "an ack");
  const [stored] = model.messagesOf(model.channels.get(id));
  assert.deepEqual([message.id, message.seq, message.created_at], [stored.id, stored.seq, stored.created_at]);
  assert.deepEqual(message.media.map((media) => media.id), stored.media.map((media) => media.id));
  await eventually(() => assert.equal(message.status, "received"));
  ben.client.conversation(id).markSeen();
  await eventually(() => assert.equal(message.status, "seen"));
  assert.deepEqual([seen, snapshot.status, snapshot.id], [["pending"], "pending", null]);

  model.answer(friend, id, "rejected");
  const refused = ada.send(id, "refused");
  await settled(refused);
  assert.deepEqual([refused.message.status, refused.message.error.code], ["failed", "channel_closed"]);
  model.answer(friend, id, "accepted");
  natter.gateway.destroyAll();
  ada.client.conversation(id).retry(refused.clientId);
  await eventually(() => assert.equal(refused.message.status, "received"));
  assert.equal(refused.message.error, null);
});

test("a message is not sent before it is kept, also where there is a new connection meanwhile", async (t) => {
  const { open, id, ada: user, connection, gateway, contents } = await world(t);
  let written = Promise.resolve();
  const ada = await open("ada", { disk: new Disk(() => written) });
  let write;
  written = new Promise((resolve) => (write = resolve));
  const send = ada.send(id, "one");
  connection(user).destroy();
  await eventually(() => assert.ok(gateway.upgrades.length === 2 && ada.client.state === "connected"));
  await sleep(A_WHILE);
  assert.deepEqual([contents(), send.message.status], [[], "pending"]);
  write();
  assert.ok((await settled(send)).ack);
  assert.deepEqual(contents(), ["one"]);
});

test("a message that the store does not take is sent all the same, and the app is told", async (t) => {
  const { open, natter, id, contents, equal } = await world(t);
  const ada = await open("ada");
  ada.disk.isFull = true;
  natter.down();
  const sends = [ada.send(id, "one"), ada.send(id, "two")];
  for (const { message } of sends) await assert.rejects(within(message.kept, 2_000, "keeping"), { name: "NatterError", code: "store" });
  assert.deepEqual(told(ada, "error").map((error) => error.code), ["store", "store"]);
  await eventually(() => assert.deepEqual(ada.shown(id).map((one) => one.status), ["pending", "pending"]));
  natter.up();
  for (const send of sends) assert.ok((await settled(send)).ack);
  assert.deepEqual(contents(), ["one", "two"]);
  await equal(ada);

  ada.disk.isFull = false;
  const kept = ada.send(id, "three");
  await within(kept.message.kept, 2_000, "keeping");
  assert.equal(told(ada, "error").length, 2);
});

test("a refused edit keeps its text, over a reload, until it is tried again", async (t) => {
  const { open, id, ada: user, ben: friend, model, write, contents, equal } = await world(t);
  const ada = await open("ada");
  const { message } = write(user, "first");
  await equal(ada);
  model.answer(friend, id, "rejected");
  const edit = ada.edit(id, message, "better");
  assert.equal((await settled(edit)).error.code, "channel_closed");
  const isRefused = () => {
    const [{ content, status, edit: refused }] = ada.shown(id);
    assert.deepEqual([content, status], ["first", "received"]);
    assert.deepEqual([refused?.client_id, refused?.content, refused?.status], [edit.clientId, "better", "failed"]);
    assert.equal(refused.error.code, "channel_closed");
    assert.equal(ada.client.unsent, 1);
  };
  model.mark(friend, id, message, false);
  await eventually(isRefused);
  await ada.reload();
  await eventually(isRefused);
  model.answer(friend, id, "accepted");
  ada.client.conversation(id).retry(edit.clientId);
  await eventually(() => assert.deepEqual(contents(), ["better"]));
  await eventually(() => assert.deepEqual([ada.shown(id)[0].edit, ada.client.unsent], [null, 0]));
  await equal(ada);
  assert.deepEqual(await ada.store.entries("outbox"), []);
});

test("a refused edit is gone when it is discarded, and when the message is changed again", async (t) => {
  const { open, id, ada: user, ben: friend, model, write, equal, channel } = await world(t);
  const ada = await open("ada");
  const messages = ["one", "two", "three"].map((text) => write(user, text).message);
  await equal(ada);
  model.answer(friend, id, "rejected");
  const edits = messages.map((message) => ada.edit(id, message, "refused"));
  for (const edit of edits) assert.equal((await settled(edit)).error.code, "channel_closed");
  model.answer(friend, id, "accepted");
  await eventually(() => assert.deepEqual(ada.shown(id).map((one) => one.edit?.content), ["refused", "refused", "refused"]));
  ada.client.conversation(id).discard(edits[0].clientId);
  assert.ok((await settled(ada.edit(id, messages[1], "changed"))).ack);
  assert.ok((await settled(ada.delete(id, messages[2]))).ack);
  await eventually(() => assert.deepEqual(ada.shown(id).map((one) => [one.content, one.edit]), [["one", null], ["changed", null], ["", null]]));
  await ada.reload();
  await equal(ada);
  assert.deepEqual([ada.shown(id).map((one) => one.edit), ada.client.unsent], [[null, null, null], 0]);
  assert.equal(channel.entries.length, 5);
});

for (const isShared of [false, true]) {
  test(`a refused edit goes with its message, when the log is set back${isShared ? ", in all tabs" : ""}`, async (t) => {
    const { open, natter, id, ada: user, ben: friend, model, channel, write, equal } = await world(t);
    const disk = new Disk();
    const tabs = [await open("ada", { disk, isShared })];
    if (isShared) tabs.push(await open("ada", { disk, isShared }));
    const ada = tabs.at(-1);
    const [stays, goes, later] = ["stays", "goes", "later"].map((text) => write(user, text).message);
    await equal(ada);
    model.answer(friend, id, "rejected");
    for (const message of [stays, goes]) assert.equal((await settled(ada.edit(id, message, "refused"))).error.code, "channel_closed");
    model.answer(friend, id, "accepted");
    for (const tab of tabs) await eventually(() => assert.equal(tab.client.unsent, 2));
    natter.down();
    // Refused only when it is sent.
    const last = ada.edit(id, later, "too late");
    await eventually(() => assert.equal(last.kept, "yes"));
    model.setBack(channel, 2);
    natter.up();
    assert.equal((await settled(last)).error.code, "message_not_found");
    for (const tab of tabs) {
      await eventually(() => assert.deepEqual([tab.client.unsent, tab.shown(id).map((one) => one.edit?.content)], [1, ["refused"]]));
    }
    await eventually(async () => assert.deepEqual((await disk.open().entries("outbox")).map(([, item]) => item.message), [stays]));

    // Also where the page was not there meanwhile.
    for (const tab of tabs) tab.client.close();
    model.setBack(channel, 1);
    await ada.reload();
    await eventually(() => assert.equal(ada.client.unsent, 0));
    await eventually(async () => assert.deepEqual(await disk.open().entries("outbox"), []));
  });
}

test("a deletion of an earlier page that is refused is told", async (t) => {
  const { open, natter, id, ada: user, ben: friend, model, write, equal } = await world(t);
  const ada = await open("ada");
  const { message } = write(user, "stays");
  await equal(ada);
  natter.down();
  const deletion = ada.delete(id, message);
  await eventually(() => assert.equal(deletion.kept, "yes"));
  await ada.crash();
  model.answer(friend, id, "rejected");
  natter.up();
  await eventually(() => assert.deepEqual(told(ada, "error").map((error) => error.code), ["channel_closed"]));
  await equal(ada);
});

test("edits and deletions are shown to both, and once where their ack was lost", async (t) => {
  const { open, id, ada: user, connection, write, channel, equal } = await world(t);
  const [ada, ben] = [await open("ada"), await open("ben")];
  const [{ message: one }, { message: two }] = [write(user, "one"), write(user, "two")];
  await equal(ada);
  connection(user).cutAtSend({ isStored: true });
  assert.equal((await settled(ada.edit(id, one, "edited"))).ack.message, one);
  connection(user).cutAtSend({ isStored: true });
  assert.ok((await settled(ada.delete(id, two))).ack);
  assert.deepEqual(channel.entries.map((entry) => entry.kind), ["message", "message", "edited", "deleted"]);
  await equal(ada);
  await equal(ben);
});

test("another's message cannot be edited, and a deleted one not either", async (t) => {
  const { open, id, ada: user, ben: friend, write, equal } = await world(t);
  const ada = await open("ada");
  const [{ message: theirs }, { message: own }] = [write(friend, "theirs"), write(user, "own")];
  await equal(ada);
  assert.equal((await settled(ada.edit(id, theirs, "mine"))).error.code, "not_yours");
  assert.ok((await settled(ada.delete(id, own))).ack);
  assert.equal((await settled(ada.edit(id, own, "back"))).error.code, "message_not_found");
});

// What arrives.

test("a frame that was dropped is fetched over HTTP when the next one comes", async (t) => {
  const { open, id, ada: user, ben: friend, connection, write, equal, count } = await world(t);
  const ada = await open("ada");
  connection(user).trick("drop", ofKind("friendship_message"));
  write(friend, "dropped");
  write(friend, "noticed");
  await equal(ada);
  assert.deepEqual(ada.shown(id).map((one) => one.content), ["dropped", "noticed"]);
  assert.ok(count(/GET .*\/events\//) > 0);
});

test("frames that come twice or in the wrong order are shown once and in order", async (t) => {
  const { open, ada: user, ben: friend, connection, write, equal } = await world(t);
  const ada = await open("ada");
  connection(user).trick("repeat", { ...ofKind("friendship_message"), after: 2 });
  connection(user).trick("reorder", ofKind("friendship_message"));
  const texts = ["one", "two", "three", "four"];
  for (const text of texts) write(friend, text);
  await equal(ada);
  await eventually(() => assert.deepEqual(told(ada, "message").map((one) => one.content), texts));
});

test("what was missed is replayed after a reconnect", async (t) => {
  const { open, natter, ben: friend, write, equal } = await world(t);
  const ada = await open("ada");
  natter.down();
  for (const text of ["one", "two"]) write(friend, text);
  natter.up();
  await equal(ada);
});

test("what was written in a channel that opened on this connection is not missed across a reconnect", async (t) => {
  const { natter, model, gateway } = await world(t);
  const [cleo, dan] = ["cleo", "dan"].map((username) => model.addUser({ username, password: PASSWORD }).id);
  // Whoever has no conversation yet.
  const device = await Device.open(natter, "cleo", []);
  t.after(() => device.client.close());
  const { id } = model.befriend(dan, cleo);
  await eventually(async () => assert.equal((await device.client.friends.list())[0]?.is_open, true));
  gateway.destroyAll();
  model.send(dan, id, null, { kind: "message", content: "while away", media: [], replyTo: null });
  await eventually(() => assert.deepEqual(told(device, "message").map((message) => message.content), ["while away"]));
  await eventually(() => assert.equal(model.marksFor(model.channels.get(id), dan).friend_received_seq, 1));
});

test("resync is fetched over HTTP", async (t) => {
  const { open, natter, gateway, ben: friend, write, equal, count } = await world(t);
  gateway.replayEvents = 3;
  const ada = await open("ada");
  const before = count(/GET .*\/(events|messages)\/$/);
  natter.down();
  for (let number = 0; number < 150; number++) write(friend, `message ${number}`);
  natter.up();
  await equal(ada);
  assert.ok(count(/GET .*\/(events|messages)\/$/) > before);
});

test("another epoch drops what is gone", async (t) => {
  const { open, model, channel, ada: user, ben: friend, write, equal, contents } = await world(t);
  const [ada, ben] = [await open("ada"), await open("ben")];
  for (const text of ["kept", "gone", "gone too"]) write(friend, text);
  ada.client.conversation(channel.id).markSeen();
  await equal(ada);
  model.setBack(channel, 2);
  write(user, "in its place");
  assert.deepEqual(contents(), ["kept", "in its place"]);
  await equal(ada);
  await equal(ben);
});

test("a list that is loaded anew is not shown empty meanwhile", async (t) => {
  const { open, model, channel, write, ben: friend, equal } = await world(t);
  for (const text of ["kept", "gone"]) write(friend, text);
  const ada = await open("ada");
  const shown = [];
  ada.client.conversations.watch((list) => shown.push(list));
  model.setBack(channel, 1);
  await equal(ada);
  assert.deepEqual([...new Set(shown.map(({ conversations: [info] }) => info.last_message?.content))], ["gone", "kept"]);
});

test("what was acknowledged and is set back can be written again", async (t) => {
  const { open, model, channel, id, contents, equal } = await world(t);
  const ada = await open("ada");
  assert.ok((await settled(ada.send(id, "first"))).ack);
  model.setBack(channel, 1);
  assert.ok((await settled(ada.send(id, "second"))).ack);
  assert.deepEqual(contents(), ["second"]);
  await equal(ada);
});

test("marks only go forward", async (t) => {
  const { open, id, model, ada: user, ben: friend, connection, write, equal } = await world(t);
  const ada = await open("ada");
  const [{ message: one }, { message: two }] = [write(user, "one"), write(user, "two")];
  model.mark(friend, id, two, true);
  await equal(ada);
  connection(user).say({
    type: "chat_friendship_notification",
    channel: id,
    user: friend,
    message: one,
    is_received: true,
    is_seen: false,
    received_seq: 1,
    seen_seq: 0,
  });
  write(friend, "after it");
  await eventually(() => assert.equal(ada.shown(id).length, 3));
  assert.deepEqual(ada.shown(id).slice(0, 2).map((message) => message.status), ["seen", "seen"]);
  await equal(ada);
});

test("what is seen on one device is seen on the other, also across a reconnect", async (t) => {
  const { open, id, natter, ben: friend, write, equal, channel, ada: user } = await world(t);
  const [phone, laptop] = [await open("ada"), await open("ada")];
  for (const text of ["one", "two"]) write(friend, text);
  await equal(phone);
  natter.down();
  phone.client.conversation(id).markSeen();
  await eventually(() => assert.equal(phone.conversations.unread, 0));
  natter.up();
  await eventually(() => assert.equal(channel.marks.get(user).seen_seq, 2));
  await eventually(() => assert.equal(laptop.conversations.unread, 0));
  await equal(laptop);
});

for (const code of ["unavailable", "rate_limited"]) {
  test(`a mark that the server refuses as ${code} is sent again on the same connection`, async (t) => {
    const { open, id, ben: friend, connection, write, equal, channel, ada: user, gateway } = await world(t);
    const ada = await open("ada");
    connection(user).refuseReceipt(code, 10);
    write(friend, "one");
    await eventually(() => assert.equal(channel.marks.get(user).received_seq, 1));
    connection(user).refuseReceipt(code, 10);
    ada.client.conversation(id).markSeen();
    await eventually(() => assert.equal(channel.marks.get(user).seen_seq, 1));
    assert.equal(gateway.upgrades.length, 1);
    assert.deepEqual(told(ada, "error"), []);
    await equal(ada);
  });
}

test("a message that a search finds before it has come is received when it comes", async (t) => {
  const { open, ben: friend, channel, ada: user, connection, write, equal } = await world(t);
  const ada = await open("ada");
  connection(user).stall(4 * A_WHILE);
  write(friend, "one");
  const { results } = await ada.client.search("one");
  assert.deepEqual(results.map(({ content }) => content), ["one"]);
  await eventually(() => assert.equal(channel.marks.get(user).received_seq, 1));
  await equal(ada);
});

test("what was seen while the conversation was closed is told when it is open again", async (t) => {
  const { open, id, ben: friend, model, write, equal, channel, ada: user, gateway } = await world(t);
  const ada = await open("ada");
  write(friend, "one");
  await equal(ada);
  model.answer(friend, id, "rejected");
  ada.client.conversation(id).markSeen();
  await eventually(() => assert.deepEqual(told(ada, "error").map((error) => error.code), ["channel_closed"]));
  model.answer(friend, id, "accepted");
  await eventually(() => assert.equal(channel.marks.get(user).seen_seq, 1));
  assert.equal(gateway.upgrades.length, 1);
});

test("while the socket holds back too much, nothing is handed to it; then each message goes once, in order", async (t) => {
  const { open, id, ben: friend, write, channel, ada: user, contents, gateway, equal } = await world(t);
  let held = 0;
  const { bufferedAmount } = Object.getOwnPropertyDescriptors(NodeSocket.prototype);
  Object.defineProperty(NodeSocket.prototype, "bufferedAmount", { configurable: true, get: () => held });
  t.after(() => Object.defineProperty(NodeSocket.prototype, "bufferedAmount", bufferedAmount));
  const ada = await open("ada");
  held = 1 << 21;
  const texts = ["one", "two", "three"];
  const sends = texts.map((text) => ada.send(id, text));
  write(friend, "theirs");
  await eventually(() => assert.equal(ada.shown(id).length, 4));
  await sleep(3 * A_WHILE);
  assert.deepEqual([contents(), channel.marks.get(user).received_seq], [["theirs"], 0]);
  assert.deepEqual(sends.map(({ message }) => message.status), ["pending", "pending", "pending"]);
  held = 0;
  for (const send of sends) assert.ok((await settled(send)).ack);
  assert.deepEqual(contents(), ["theirs", ...texts]);
  await eventually(() => assert.equal(channel.marks.get(user).received_seq, 1));
  assert.equal(gateway.upgrades.length, 1);
  await equal(ada);
});

test("unknown frames and fields are ignored", async (t) => {
  const { open, ada: user, ben: friend, connection, write, equal, gateway } = await world(t);
  const ada = await open("ada");
  connection(user).say({ type: "novelty", channel: "somewhere", extra: [1] });
  write(friend, "still here");
  await equal(ada);
  assert.equal(gateway.upgrades.length, 1);
});

// Tabs.

for (const from of ["the tab with the connection", "another tab"]) {
  test(`what is seen in ${from} is seen in all tabs, and told once`, async (t) => {
    const { open, id, gateway, ben: friend, ada: user, write, equal, channel } = await world(t);
    const disk = new Disk();
    const tabs = [await open("ada", { disk, isShared: true }), await open("ada", { disk, isShared: true }), await open("ada", { disk, isShared: true })];
    assert.equal(gateway.of(user).length, 1);
    write(friend, "one");
    for (const tab of tabs) await equal(tab);
    tabs[from === "another tab" ? 1 : 0].client.conversation(id).markSeen();
    for (const tab of tabs) await eventually(() => assert.equal(tab.conversations.unread, 0));
    await eventually(() => assert.equal(channel.marks.get(user).seen_seq, 1));
    assert.equal(gateway.upgrades.length, 1);
  });
}

test("what a tab has kept before it crashed, and told nobody, is sent by the tab with the connection", async (t) => {
  const { open, id, gateway, ada: user, contents, equal } = await world(t);
  const disk = new Disk();
  const first = await open("ada", { disk, isShared: true });
  const second = await open("ada", { disk, isShared: true });
  await disk.open().set(`outbox ${user} 0 left`, left(user, id));
  await second.crash();
  await eventually(() => assert.deepEqual(contents(), ["left"]));
  await equal(first);
  await equal(second);
  assert.equal(gateway.upgrades.length, 1);
  assert.deepEqual(await disk.open().entries("outbox"), []);
});

test("when the tab with the connection crashes, another one goes on with what it had", async (t) => {
  const { open, natter, id, gateway, ada: user, contents, equal } = await world(t);
  const disk = new Disk();
  const first = await open("ada", { disk, isShared: true });
  const second = await open("ada", { disk, isShared: true });
  natter.down();
  first.send(id, "one");
  await eventually(() => assert.equal(second.shown(id).length, 1));
  second.send(id, "two");
  await eventually(() => assert.equal(first.shown(id).length, 2));
  await first.crash();
  natter.up();
  await eventually(() => assert.deepEqual(contents(), ["one", "two"]));
  await equal(first);
  await equal(second);
  assert.equal(gateway.of(user).length, 1);
});

test("a tab that is not connected yet has written after what its last page left, and both are sent by the tab with the connection", async (t) => {
  const { open, id, ada: user, contents, equal } = await world(t);
  const disk = new Disk();
  const first = await open("ada", { disk, isShared: true });
  const second = await open("ada", { disk, isShared: true });
  second.client.close();
  await disk.open().set(`outbox ${user} 0 left`, left(user, id));
  second.make();
  await second.client.restore();
  const early = second.send(id, "early");
  await within(early.message.kept, 2_000, "keeping");
  const connecting = second.client.connect();
  const late = second.send(id, "late");
  await connecting;
  for (const send of [early, late]) assert.ok((await settled(send)).ack);
  assert.deepEqual(contents(), ["left", "early", "late"]);
  await equal(first);
});

test("what was taken back in one tab is not sent because another has read of it before", async (t) => {
  const { open, natter, id, contents, equal } = await world(t);
  const disk = new Disk();
  const [first, second] = [await open("ada", { disk, isShared: true }), await open("ada", { disk, isShared: true })];
  natter.down();
  const send = second.send(id, "taken back");
  await eventually(() => assert.equal(first.shown(id).length, 1));
  const [[, item]] = await disk.open().entries("outbox");
  second.client.conversation(id).discard(send.clientId);
  await eventually(() => assert.deepEqual(first.shown(id), []));
  // A third one, which has read the store before and says so only now.
  const third = new BroadcastChannel(`natter ${second.store.name} ${natter.url} ${first.user}`);
  third.postMessage({ added: item });
  third.close();
  const next = second.send(id, "next");
  natter.up();
  assert.ok((await settled(next)).ack);
  assert.deepEqual(contents(), ["next"]);
  await equal(first);
  await equal(second);
});

test("a tab that comes just after something was taken back hears of it from those that had it", async (t) => {
  const { open, natter, id } = await world(t);
  const disk = new Disk();
  const [first, second] = [await open("ada", { disk, isShared: true }), await open("ada", { disk, isShared: true })];
  natter.down();
  const send = second.send(id, "taken back");
  await eventually(() => assert.equal(first.shown(id).length, 1));
  second.client.conversation(id).discard(send.clientId);
  // It has heard of the message from the first one, and not from the second one that it is gone.
  const third = new BroadcastChannel(`natter ${second.store.name} ${natter.url} ${first.user}`);
  t.after(() => third.close());
  const gone = new Promise((resolve) => (third.onmessage = ({ data }) => data.item?.gone && resolve(data.item.clientId)));
  assert.equal(await within(gone, 5_000, "hearing of it"), send.clientId);
});

test("a tab that comes just after a deletion was acknowledged hears of that, also before its entry of the log has come", async (t) => {
  const { open, natter, id, ada: user, gateway, write, equal } = await world(t);
  gateway.ackFirst = true;
  const disk = new Disk();
  const [first, second] = [await open("ada", { disk, isShared: true }), await open("ada", { disk, isShared: true })];
  const { message } = write(user, "one");
  for (const tab of [first, second]) await equal(tab);
  const third = new BroadcastChannel(`natter ${first.store.name} ${natter.url} ${user}`);
  t.after(() => third.close());
  const gone = new Promise((resolve) => (third.onmessage = ({ data }) => data.item?.gone && resolve(data.item)));
  const deletion = second.delete(id, message);
  const { clientId, how, value } = await within(gone, 5_000, "hearing of it");
  assert.deepEqual([clientId, how, value.seq], [deletion.clientId, "resolve", 2]);
  assert.ok((await settled(deletion)).ack);
  for (const tab of [first, second]) await equal(tab);
});

test("a message that the server has stays sent, also where another tab took it back before it heard of that", async (t) => {
  const { open, natter, id, ada: user, connection, contents, equal } = await world(t);
  const disk = new Disk();
  const first = await open("ada", { disk, isShared: true });
  // Its entry of the log does not come: until another does, the message is shown as the outbox has it.
  connection(user).trick("drop", ofKind("friendship_message"));
  const send = first.send(id, "sent");
  assert.ok((await settled(send)).ack);
  const other = new BroadcastChannel(`natter ${first.store.name} ${natter.url} ${first.user}`);
  t.after(() => other.close());
  other.postMessage({ item: { clientId: send.clientId, gone: true, how: "reject", value: { code: "discarded", message: "" } } });
  other.postMessage({ added: left(user, id) });
  await eventually(() => assert.deepEqual(contents(), ["sent", "left"]));
  await eventually(() => assert.deepEqual([send.message.status, send.message.error], ["sent", null]));
  await equal(first);
});

test("a file is sent, also where the tab that led before still tells how far it was with it", async (t) => {
  const { open, natter, http, id, model, channel, equal } = await world(t);
  const first = await open("ada", { disk: new Disk(), isShared: true });
  const other = new BroadcastChannel(`natter ${first.store.name} ${natter.url} ${first.user}`);
  t.after(() => other.close());
  let goOn;
  http.fault({ path: /POST .*media/, until: () => new Promise((resolve) => (goOn = resolve)) });
  const send = first.send(id, "with a file", { media: [new Blob(["file"])] });
  await eventually(() => assert.ok(goOn));
  other.postMessage({ uploading: { clientId: send.clientId, media: send.message.media.map((one) => ({ ...one, progress: 0.5 })) } });
  await eventually(() => assert.equal(send.message.media[0].progress, 0.5));
  goOn();
  assert.ok((await settled(send)).ack);
  assert.deepEqual(model.messagesOf(channel).map(({ media }) => media.length), [1]);
  await equal(first);
});

// Windows.

test("a window holds at most its limit, and goes back, forth, around and to the end", async (t) => {
  const { open, id, model, channel, ada: user, ben: friend, write } = await world(t);
  const messages = Array.from({ length: 60 }, (_, number) => write(friend, `message ${number}`).message);
  const ada = await open("ada");
  let window;
  const subscription = ada.client.conversation(id).subscribe((shown) => (window = shown), { limit: 20 });
  const isRight = () => eventually(() => comparePart(model, channel, user, window, 20));
  await eventually(() => assert.equal(window.loading, false));
  await isRight();
  assert.equal(window.messages.at(-1).id, messages.at(-1));
  assert.equal(await subscription.before(15), 15);
  await isRight();
  await subscription.around(messages[5]);
  await isRight();
  assert.ok(window.messages.some((message) => message.id === messages[5]));
  assert.ok((await subscription.after(10)) > 0);
  await isRight();
  assert.equal(window.hasAfter, true);
  write(friend, "not shown yet");
  await subscription.latest();
  await eventually(() => assert.equal(window.messages.at(-1).content, "not shown yet"));
  await isRight();
  subscription.unsubscribe();
  const last = window;
  write(friend, "not shown any more");
  await eventually(() => assert.equal(ada.shown(id).at(-1).content, "not shown any more"));
  assert.equal(window, last);
});

test("a load that failed is tried again", async (t) => {
  const { open, id, http, model, channel, ada: user, ben: friend, write } = await world(t);
  const ada = await open("ada");
  for (let number = 0; number < 150; number++) write(friend, `message ${number}`);
  http.fault({ path: /GET .*\/messages\//, cut: "middle" });
  await ada.reload();
  await eventually(async () => {
    await ada.showAll();
    compareWindow(model, channel, user, ada.windows.get(id));
  });
});

// Connections.

// The contract's codes, those of RFC 6455 that a gateway's WebSocket library or a proxy gives, and none.
for (const code of [undefined, 1000, 1001, 1002, 1007, 1008, 1009, 1011, 1012, 1013, 4008]) {
  test(`after ${code ?? "a close without a code"} the client connects again and resumes`, async (t) => {
    const { open, ada: user, ben: friend, connection, write, equal, gateway } = await world(t);
    const ada = await open("ada");
    connection(user).close(code);
    write(friend, "meanwhile");
    await equal(ada);
    assert.ok(gateway.upgrades.length > 1);
  });
}

for (const code of [1002, 1007, 1008]) {
  test(`${code} says that the client is wrong: the app is told, and the next try comes late`, async (t) => {
    const { open, ada: user, connection, gateway, equal } = await world(t);
    const ada = await open("ada", { timing: { ...QUICK, backoffMax: 300 } });
    const began = performance.now();
    connection(user).close(code);
    await eventually(() => assert.equal(gateway.upgrades.length, 2));
    assert.ok(gateway.upgrades[1].at - began >= 290);
    assert.deepEqual(told(ada, "error").map((error) => error.code), ["protocol"]);
    await equal(ada);
  });
}

test("1009 fails the message that is too big, and none of those that were under way beside it", async (t) => {
  const { open, model, gateway, ada: user, id } = await world(t);
  const others = ["carol", "dan"].map((username) => model.befriend(user, model.addUser({ username, password: PASSWORD }).id).id);
  const ada = await open("ada");
  gateway.frameLimit = 2_000;
  const tooBig = "x".repeat(3_000);
  const sends = [ada.send(others[0], "before"), ada.send(id, tooBig), ada.send(others[1], "after"), ada.send(id, "behind")];
  const outcomes = [];
  for (const send of sends) outcomes.push((await settled(send)).error?.code ?? "sent");
  assert.deepEqual(outcomes, ["sent", "too_large", "sent", "sent"]);
  await eventually(() => assert.deepEqual(ada.shown(id).map(({ status }) => status).sort(), ["failed", "sent"]));
});

test("4001 without the end of the session renews the token and connects again", async (t) => {
  const { open, ada: user, ben: friend, connection, write, equal, count } = await world(t);
  const ada = await open("ada");
  connection(user).close(4001);
  write(friend, "meanwhile");
  await equal(ada);
  assert.equal(count(/refresh-token/), 1);
  assert.deepEqual(told(ada, "session"), [{ user }]);
});

test("a session that ended elsewhere closes the client and says so", async (t) => {
  const { open, model, ada: user, connection, gateway } = await world(t);
  const ada = await open("ada");
  model.endSession(connection(user).sid);
  await eventually(() => assert.equal(ada.client.state, "closed"));
  assert.equal(told(ada, "session").at(-1), null);
  assert.equal(ada.client.user, null);
  await assert.rejects(ada.client.profile.get(), { code: "logged_out" });
  const { length } = gateway.upgrades;
  await sleep(A_WHILE);
  assert.equal(gateway.upgrades.length, length);
  assert.equal(await ada.client.restore(), false);
});

test("4009 does not fight with the other connections", async (t) => {
  const { open, gateway, ada: user, equal } = await world(t);
  gateway.connectionLimit = 2;
  const first = await open("ada");
  const others = [await open("ada"), await open("ada")];
  await eventually(() => assert.equal(first.client.state, "closed"));
  await sleep(A_WHILE);
  assert.equal(gateway.upgrades.length, 3);
  for (const other of others) assert.equal(other.client.state, "connected");
  assert.equal(gateway.of(user).length, 2);
  await first.client.connect();
  await equal(first);
});

test("a restart is survived, and its states are told", async (t) => {
  const { open, natter, ada: user, ben: friend, write, equal } = await world(t);
  const ada = await open("ada");
  natter.down();
  await eventually(() => assert.equal(ada.client.state, "offline"));
  write(friend, "meanwhile");
  natter.up();
  await equal(ada);
  assert.ok(told(ada, "state").includes("offline"));
  assert.equal(told(ada, "state").at(-1), "connected");
  assert.equal(ada.client.user, user);
});

test("refused upgrades are tried again, later and later", async (t) => {
  const { open, gateway, ada: user, connection, equal } = await world(t);
  const ada = await open("ada", { timing: { ...QUICK, backoffMin: 10, backoffMax: 1_000 } });
  gateway.refusing = { status: 503, times: 5 };
  const began = performance.now();
  connection(user).destroy();
  await eventually(() => assert.equal(gateway.refusing, null));
  assert.ok(performance.now() - began > 50);
  await equal(ada);
});

test("goaway moves the connection after the delay", async (t) => {
  const { open, gateway, ada: user, ben: friend, connection, write, equal } = await world(t);
  const ada = await open("ada");
  const began = performance.now();
  connection(user).goAway(150, 5_000);
  await eventually(() => assert.equal(gateway.upgrades.length, 2));
  assert.ok(gateway.upgrades[1].at - began >= 145);
  assert.ok(gateway.upgrades[1].at - began < 2_000);
  write(friend, "after it");
  await equal(ada);
});

test("a half-open connection is noticed", async (t) => {
  const { open, gateway, ada: user, ben: friend, connection, write, equal } = await world(t);
  const ada = await open("ada");
  connection(user).freeze();
  write(friend, "not heard");
  await eventually(() => assert.ok(gateway.upgrades.length > 1));
  await equal(ada);
});

test("a send into a half-open connection is sent once", async (t) => {
  const { open, id, ada: user, connection, contents } = await world(t);
  const ada = await open("ada", { timing: { ...QUICK, heartbeat: 60_000 } });
  connection(user).freeze();
  assert.ok((await settled(ada.send(id, "once"))).ack);
  assert.deepEqual(contents(), ["once"]);
});

test("a closed client does not connect again", async (t) => {
  const { open, gateway, ada: user } = await world(t);
  const ada = await open("ada");
  ada.client.close();
  assert.equal(ada.client.state, "closed");
  await eventually(() => assert.equal(gateway.of(user).length, 0));
  await sleep(A_WHILE);
  assert.equal(gateway.upgrades.length, 1);
});

for (const isShared of [false, true]) {
  test(`who closes a client that is offline and connects at once waits for the server${isShared ? ", in a tab" : ""}`, async (t) => {
    const { open, natter, equal } = await world(t);
    const ada = await open("ada", { isShared, timing: { ...QUICK, backoffMin: 100, backoffMax: 100 } });
    natter.down();
    await eventually(() => assert.equal(ada.client.state, "offline"));
    ada.client.close();
    const connected = ada.client.connect();
    natter.up();
    await within(connected, 5_000, "connecting");
    await equal(ada);
  });
}

// Sessions.

test("an expired token is renewed before the connection is opened", async (t) => {
  const { open, gateway, model, connection, ada: user, equal } = await world(t);
  model.accessLifetime = 0.05;
  const ada = await open("ada");
  const { length } = gateway.upgrades;
  await eventually(() => assert.equal(model.verify(gateway.upgrades.at(-1).access), null));
  connection(user).destroy();
  await eventually(() => assert.ok(gateway.upgrades.length > length));
  await equal(ada);
  assert.deepEqual(gateway.upgrades.map((upgrade) => upgrade.isExpired), gateway.upgrades.map(() => false));
});

test("requests with an expired token are repeated with a fresh one, which is asked for once", async (t) => {
  const { open, model, ada: user, count } = await world(t);
  const ada = await open("ada");
  await sleep(2);
  model.expireTokens();
  const profiles = await Promise.all(Array.from({ length: 5 }, () => ada.client.profile.get()));
  assert.deepEqual(profiles.map((profile) => profile.id), Array(5).fill(user));
  assert.equal(count(/refresh-token/), 1);
});

test("a file is not refused because the token is, as long as there is a session", async (t) => {
  const { open, http, id, model, channel } = await world(t);
  const ada = await open("ada");
  http.fault({ path: /POST .*media/, status: 401, code: "token_not_valid", times: 4 });
  assert.ok((await settled(ada.send(id, "", { media: [new Blob(["content"])] }))).ack);
  assert.equal(model.messagesOf(channel).length, 1);
});

test("a renewal whose answer was lost does not end the session", async (t) => {
  const { open, model, http, ada: user } = await world(t);
  const ada = await open("ada");
  await sleep(2);
  model.expireTokens();
  http.fault({ path: /refresh-token/, cut: "middle" });
  assert.equal((await eventually(() => ada.client.profile.get())).id, user);
  assert.deepEqual(told(ada, "session"), [{ user }]);
});

test("a connection of access tokens alone is kept by fresh ones", async (t) => {
  const { open, model, gateway, ada: user, ben: friend, write, equal } = await world(t);
  model.accessLifetime = 0.6;
  gateway.warningSeconds = 0.4;
  const { sid } = readToken(model.beginSession(user).access);
  let asked = 0;
  const ada = await open("ada", {
    getToken: async () => {
      asked += 1;
      return model.accessOf(sid);
    },
  });
  const opened = performance.now();
  await eventually(() => assert.ok(performance.now() - opened > 1_500));
  assert.equal(gateway.upgrades.length, 1);
  assert.ok(asked > 2);
  write(friend, "still there");
  await equal(ada);
});

test("a `getToken` that fails for a while fails no message, and what is asked for meanwhile rejects as `offline`", async (t) => {
  const { open, model, id, ada: user, channel } = await world(t);
  const { sid } = readToken(model.beginSession(user).access);
  const failure = new TypeError("Failed to fetch");
  let failed = null;
  const getToken = async () => {
    if (failed === null) return model.accessOf(sid);
    failed += 1;
    throw failure;
  };
  const ada = await open("ada", { getToken });
  const fail = async () => {
    await sleep(2);
    failed = 0;
    model.expireTokens();
  };
  const goOn = async () => {
    await eventually(() => assert.ok(failed >= 3));
    failed = null;
  };
  await fail();
  await assert.rejects(ada.client.profile.get(), { name: "NatterError", code: "offline", cause: failure });
  const send = ada.send(id, "", { media: [new Blob(["content"])] });
  await goOn();
  assert.ok((await settled(send)).ack);
  assert.equal(model.messagesOf(channel).length, 1);
  await fail();
  const shown = [];
  const subscription = ada.client.conversation(id).subscribe((window) => shown.push(window.error));
  await goOn();
  await eventually(() => assert.ok(shown.length));
  assert.deepEqual(shown, shown.map(() => null));
  subscription.unsubscribe();
});

for (const [name, clockAhead] of [["behind", 3_600_000], ["ahead", -3_600_000]]) {
  test(`a device whose clock is an hour ${name} keeps its token and knows the time`, async (t) => {
    const { open, natter, model, id, ben: friend, write, equal, count } = await world(t);
    model.clockAhead = clockAhead;
    const ada = await open("ada");
    assert.ok(Math.abs(ada.client.now() - model.now()) < 2_500);
    write(friend, "theirs");
    assert.ok((await settled(ada.send(id, "own"))).ack);
    natter.down();
    natter.up();
    await equal(ada);
    await ada.reload();
    await equal(ada);
    assert.ok(Math.abs(ada.client.now() - model.now()) < 2_500);
    assert.equal(count(/refresh-token/), 0);
  });
}

test("a session that the store does not take lives as long as the page", async (t) => {
  const { open, model, ada: user, count } = await world(t);
  const ada = await open("ada");
  ada.disk.isFull = true;
  for (let renewal = 1; renewal <= 2; renewal++) {
    await sleep(2);
    model.expireTokens();
    assert.equal((await ada.client.profile.get()).id, user);
    assert.equal(count(/refresh-token/), renewal);
  }
  assert.deepEqual(told(ada, "session"), [{ user }]);
  assert.deepEqual(told(ada, "error").map((error) => error.code), ["store", "store"]);
  await ada.client.logOut();
  await ada.logIn();
  assert.equal(await ada.client.restore(), true);
  assert.equal(ada.client.user, user);
});

for (const [how, indexedDB] of [
  ["cannot be opened", { open: () => { throw new Error("The operation is insecure"); } }],
  ["may not even be asked for", null],
]) {
  test(`where IndexedDB ${how}, one can log in and chat, as long as the page lives`, async (t) => {
    const { natter, id, ada: user, contents } = await world(t);
    const blocked = { configurable: true, get: () => indexedDB ?? assert.fail("The operation is insecure") };
    Object.defineProperty(globalThis, "indexedDB", blocked);
    t.after(() => delete globalThis.indexedDB);
    const client = new NatterClient({ url: natter.url, timing: QUICK });
    t.after(() => client.close());
    const errors = [];
    client.on("error", (error) => errors.push(error.code));
    assert.equal(await client.restore(), false);
    assert.equal(client.persistent, false);
    assert.deepEqual(errors, ["store"]);
    await client.logIn({ username: "ada", password: PASSWORD });
    await within(client.connect(), 5_000, "connecting");
    assert.equal(client.user, user);
    await within(client.conversation(id).send({ text: "Hello" }).acked, 5_000, "an ack");
    assert.deepEqual(contents(), ["Hello"]);
  });
}

test("logging out ends the session and forgets what was not sent, here alone", async (t) => {
  const { open, model, id, ada: user, connection, contents, natter } = await world(t);
  const other = await open("ada");
  const ada = await open("ada");
  const { sid } = connection(user);
  connection(user).refuseSend("rate_limited", A_WHILE);
  const send = ada.send(id, "not sent");
  await ada.client.logOut();
  assert.equal((await settled(send)).error.code, "logged_out");
  assert.equal(ada.client.state, "closed");
  assert.equal(told(ada, "session").at(-1), null);
  assert.equal(model.sessions.has(sid), false);
  assert.deepEqual(await ada.store.entries(""), []);
  assert.equal(other.client.state, "connected");
  await ada.logIn();
  await ada.client.connect();
  await eventually(() => assert.equal(natter.gateway.of(user).length, 2));
  await sleep(2 * A_WHILE);
  assert.ok((await settled(ada.send(id, "sent"))).ack);
  assert.deepEqual(contents(), ["sent"]);
});

for (const [how, end] of [
  ["deleted", (client) => client.profile.delete({ password: PASSWORD })],
  ["logged out", (client) => client.logOut()],
]) {
  test(`what was not sent is forgotten when the user is ${how}, also where the connection ends first`, async (t) => {
    const { open, http, id, ada: user, connection, model } = await world(t);
    const ada = await open("ada", { timing: { ...QUICK, requestTimeout: 10_000 } });
    const { sid } = connection(user);
    connection(user).refuseSend("rate_limited", 60_000);
    const send = ada.send(id, "not sent");
    await within(send.message.kept, 2_000, "keeping");
    http.fault({ path: /DELETE .*profile|logout/, until: () => eventually(() => assert.equal(ada.client.user, null)) });
    await end(ada.client);
    assert.equal((await settled(send)).error.code, "logged_out");
    assert.equal(model.sessions.has(sid), false);
    assert.deepEqual(await ada.store.entries(""), []);
  });
}

test("a session that ended is not taken for the one that the user has begun since", async (t) => {
  const { open, natter, model, ada: user, connection, equal } = await world(t);
  const disk = new Disk();
  const [first, second] = [await open("ada", { disk, isShared: true }), await open("ada", { disk, isShared: true })];
  const { sid } = connection(user);
  await first.client.logOut();
  await eventually(() => assert.equal(second.client.user, null));
  for (const tab of [first, second]) {
    await tab.resume();
    await tab.client.connect();
  }
  // What another tab says late.
  const other = new BroadcastChannel(`natter ${first.store.name} ${natter.url} ${user}`);
  t.after(() => other.close());
  other.postMessage({ ended: sid });
  other.postMessage({ ended: "of another tab" });
  await sleep(A_WHILE);
  for (const tab of [first, second]) await equal(tab);
  other.postMessage({ ended: [...model.sessions.keys()].at(-1) });
  for (const tab of [first, second]) await eventually(() => assert.deepEqual([tab.client.user, tab.client.state], [null, "closed"]));
});

test("a tab that logs out does not forget the session that another one begins meanwhile", async (t) => {
  const { open, natter, model } = await world(t);
  const disk = new Disk();
  const first = await open("ada", { disk, isShared: true });
  const second = new Device(natter, "ada", { disk, isShared: true });
  second.make();
  t.after(() => second.client.close());
  // It has read its session, and is slow to go on.
  const { store } = first;
  const get = store.get.bind(store);
  const reading = new Promise((resolve) => {
    store.get = async (key) => {
      store.get = get;
      const value = await get(key);
      await new Promise((goOn) => resolve(goOn));
      return value;
    };
  });
  const loggedOut = first.client.logOut();
  const goOn = await within(reading, 5_000, "reading the session");
  const loggedIn = second.logIn();
  await eventually(() => assert.equal(model.sessions.size, 1));
  await sleep(A_WHILE);
  goOn();
  await loggedOut;
  await loggedIn;
  assert.equal((await disk.open().get("session"))?.sid, [...model.sessions.keys()].at(-1));
});

test("a session whose end is under way is not restored", async (t) => {
  const { open } = await world(t);
  const { client, store } = await open("ada");
  const get = store.get.bind(store);
  let restored;
  store.get = (key) => {
    // At the moment at which it is about to be forgotten.
    if (client.user === null) restored ??= client.restore();
    return get(key);
  };
  await client.logOut();
  assert.deepEqual([await restored, client.user, client.state], [false, null, "closed"]);
  assert.deepEqual(await store.entries(""), []);
});

for (const isShared of [false, true]) {
  for (const [answer, refused] of [["answered", {}], ["refused", { status: 401, code: "invalid_refresh_token" }]]) {
    test(`a renewal that is ${answer} after logging out${isShared ? ", in a tab," : ""} changes nothing any more`, async (t) => {
      const { open, http, model, id } = await world(t);
      const ada = await open("ada", { isShared, timing: { ...QUICK, requestTimeout: 10_000 } });
      const { client, store } = ada;
      http.fault({ path: /profile/, status: 401, code: "token_not_valid" });
      const renewing = new Promise((resolve) => {
        http.fault({ path: /refresh-token/, until: () => new Promise(resolve), ...refused });
      });
      const asking = client.profile.get().catch((error) => error);
      const goOn = await within(renewing, 2_000, "renewing");
      const loggedOut = client.logOut();
      await eventually(() => assert.deepEqual([client.user, model.sessions.size], [null, 0]));
      // Where there are tabs, the next session waits for the renewal.
      const next = { username: "ben", password: PASSWORD };
      if (!isShared) await within(loggedOut.then(() => client.logIn(next)), 2_000, "logging in");
      goOn();
      assert.equal((await within(asking, 2_000, "asking")).code, "logged_out");
      await within(loggedOut, 2_000, "logging out");
      if (isShared) {
        assert.deepEqual([client.user, client.state, await store.entries("")], [null, "closed", []]);
        // It has ended once.
        assert.deepEqual(told(ada, "session"), [{ user: ada.user }, null]);
        await client.logIn(next);
      }
      const [sid, { user }] = [...model.sessions].at(-1);
      assert.deepEqual([client.user, (await store.get("session"))?.sid, model.sessions.size], [user, sid, 1]);
      await within(client.connect(), 5_000, "connecting");
      assert.ok((await settled(ada.send(id, "Ben's"))).ack);
    });
  }
}

test("an answer to logging out that comes late does not end the next session", async (t) => {
  const { open, http, model, id, ada: user, contents } = await world(t);
  const ada = await open("ada", { timing: { ...QUICK, requestTimeout: 10_000 } });
  let loggedIn;
  const until = async () => {
    // The connection tells first.
    await eventually(() => assert.equal(ada.client.user, null));
    loggedIn = ada.logIn();
    await Promise.race([loggedIn, sleep(A_WHILE)]);
  };
  http.fault({ path: /logout/, until });
  await within(ada.client.logOut(), 5_000, "logging out");
  await within(loggedIn, 5_000, "logging in");
  assert.deepEqual([ada.client.user, (await ada.store.get("session"))?.sid], [user, [...model.sessions.keys()].at(-1)]);
  await within(ada.client.connect(), 5_000, "connecting");
  assert.ok((await settled(ada.send(id, "of the next"))).ack);
  assert.deepEqual(contents(), ["of the next"]);
});

test("who logs out while logging in is logged out", async (t) => {
  const { natter, http, model } = await world(t);
  const device = new Device(natter, "ada", { timing: { ...QUICK, requestTimeout: 10_000 } });
  device.make();
  t.after(() => device.client.close());
  let loggedOut;
  const until = async () => {
    loggedOut = device.client.logOut();
    await Promise.race([loggedOut, sleep(A_WHILE)]);
  };
  http.fault({ path: /login/, until });
  await within(device.logIn(), 5_000, "logging in");
  await within(loggedOut, 5_000, "logging out");
  assert.deepEqual([device.client.user, model.sessions.size, await device.store.entries("")], [null, 0, []]);
  assert.equal(told(device, "session").at(-1), null);
});

test("a session ends at once, also where another tab is busy with it, and is not restored meanwhile", async (t) => {
  const { open, natter, id, write, ben: friend, equal } = await world(t);
  const disk = new Disk();
  const tabs = [await open("ada", { disk, isShared: true }), await open("ada", { disk, isShared: true })];
  write(friend, "for Ada alone");
  for (const tab of tabs) await equal(tab);
  const [{ client, store }] = tabs;
  const busy = new Promise((resolve) => {
    navigator.locks.request(`natter ${store.name} ${natter.url} session`, () => new Promise(resolve));
  });
  const goOn = await within(busy, 2_000, "having the lock");
  t.after(goOn);
  const loggedOut = client.logOut();
  for (const tab of tabs) {
    await eventually(() => {
      assert.deepEqual([tab.client.user, tab.client.state, told(tab, "session").at(-1)], [null, "closed", null]);
      assert.deepEqual(tab.shown(id), []);
    }, 2_000);
  }
  const restored = tabs.map((tab) => tab.client.restore());
  await Promise.race([...restored, sleep(A_WHILE)]);
  goOn();
  await within(loggedOut, 2_000, "logging out");
  assert.deepEqual(await within(Promise.all(restored), 2_000, "restoring"), [false, false]);
  assert.deepEqual(await store.entries(""), []);
});

test("what is sent without a session is nobody's; what the user's last session left is sent in the next", async (t) => {
  const { open, model, id, ada: user, connection, contents } = await world(t);
  const ada = await open("ada");
  const { sid } = connection(user);
  connection(user).refuseSend("rate_limited", 60_000);
  await within(ada.send(id, "left").message.kept, 2_000, "keeping");
  model.endSession(sid);
  await eventually(() => assert.equal(ada.client.user, null));
  const send = ada.send(id, "nobody's");
  await within(send.message.kept, 2_000, "keeping");
  await ada.logIn();
  await within(ada.client.connect(), 5_000, "connecting");
  assert.equal((await settled(send)).error?.code, "logged_out");
  await eventually(() => assert.deepEqual(contents(), ["left"]));
  await eventually(async () => assert.deepEqual(await ada.store.entries("outbox"), []));
});

test("what was shown is gone with the session, and comes again with the next", async (t) => {
  const { open, id, write, ben: friend, equal } = await world(t);
  const ada = await open("ada");
  write(friend, "for Ada alone");
  await equal(ada);
  await ada.client.logOut();
  await eventually(() => {
    assert.deepEqual(ada.shown(id), []);
    assert.deepEqual(ada.conversations.conversations, []);
    assert.deepEqual(ada.friends, []);
  });
  await ada.logIn();
  await ada.client.connect();
  await equal(ada);
});

test("nobody is logged in over somebody else: they are logged out first", async (t) => {
  const { open, model, id, ada: user, ben: friend, channel, count, equal } = await world(t);
  const ada = await open("ada");
  const before = count(/log-?in|signup/);
  await assert.rejects(ada.client.logIn({ username: "ben", password: PASSWORD }), { name: "NatterError", code: "logged_in" });
  const other = { username: "cleo", email: "cleo@natter.test", password: PASSWORD };
  await assert.rejects(ada.client.signUp(other), { name: "NatterError", code: "logged_in" });
  assert.deepEqual([ada.client.user, count(/log-?in|signup/)], [user, before]);
  assert.ok((await settled(ada.send(id, "Ada's"))).ack);
  await ada.client.logOut();
  await ada.client.logIn({ username: "ben", password: PASSWORD });
  await ada.client.connect();
  assert.ok((await settled(ada.send(id, "Ben's"))).ack);
  assert.deepEqual(model.messagesOf(channel).map((message) => message.sender), [user, friend]);
});

test("of two who log in at once on one client, the first is in and the second is refused", async (t) => {
  const { natter, id, model, ada: user, ben: friend, channel, http } = await world(t);
  const device = new Device(natter, "ada");
  device.make();
  t.after(() => device.client.close());
  const { client } = device;
  const as = (username) => client.logIn({ username, password: PASSWORD });
  // Were both asked for, the first one's answer would come last.
  http.fault({ path: /login/, until: () => sleep(A_WHILE) });
  const both = [as("ada"), as("ben")];
  const restored = client.restore();
  const [one, other] = await Promise.allSettled(both);
  assert.equal(one.status, "fulfilled");
  assert.equal(other.reason?.code, "logged_in");
  assert.equal(await restored, true);
  assert.deepEqual([client.user, (await device.store.get("session")).user, model.sessions.size], [user, user, 1]);
  assert.deepEqual(told(device, "session").map((session) => session.user), [user, user]);
  await within(client.connect(), 5_000, "connecting");
  assert.ok((await settled(device.send(id, "Ada's"))).ack);
  assert.deepEqual(model.messagesOf(channel).map((message) => message.sender), [user]);

  await client.logOut();
  const [wrong, right] = await Promise.allSettled([client.logIn({ username: "ada", password: "wrong" }), as("ben")]);
  assert.deepEqual([wrong.reason?.code, right.status, client.user], ["invalid_credentials", "fulfilled", friend]);
});

test("wrong credentials are refused with the server's code", async (t) => {
  const { natter } = await world(t);
  const device = new Device(natter, "ada");
  device.make();
  await assert.rejects(device.client.logIn({ username: "ada", password: "wrong" }), { code: "invalid_credentials", status: 401 });
  assert.equal(await device.client.restore(), false);
});

test("a server that is not reached is `offline`", async (t) => {
  const { open, natter } = await world(t);
  const ada = await open("ada");
  natter.down();
  await assert.rejects(within(ada.client.profile.get(), 3_000, "failing"), { code: "offline" });
});

// HTTP.

test("Retry-After is obeyed", async (t) => {
  const { open, http, write, ben: friend } = await world(t);
  write(friend, "there");
  // Before there is a client: a request of another one, still on its way, would take the fault.
  http.fault({ path: /conversations/, status: 503, retryAfter: 1 });
  await open("ada");
  const [first, second] = http.requests.filter(({ name }) => /conversations/.test(name));
  assert.ok(second.at - first.at >= 950);
});

test("a hanging request is given up and repeated", async (t) => {
  const { open, http, write, ben: friend, equal } = await world(t);
  write(friend, "there");
  const ada = await open("ada");
  http.fault({ path: /conversations/, hang: true });
  await ada.reload();
  await equal(ada);
});

// Files.

test("uploads report progress", async (t) => {
  const { open, model } = await world(t);
  const ada = await open("ada");
  const parts = [];
  const file = new Blob(["content"], { type: "text/plain" });
  const media = await ada.client.upload(file, { filename: "note.txt", onProgress: (part) => parts.push(part) });
  assert.equal(media.filename, "note.txt");
  assert.equal(model.media.get(media.id).bytes.toString(), "content");
  assert.ok(parts.length > 0);
  assert.deepEqual(parts, [...parts].sort((one, other) => one - other));
  assert.equal(parts.at(-1), 1);
});

test("an upload that is refused is never told as done", async (t) => {
  const { open, http } = await world(t);
  const ada = await open("ada");
  http.fault({ path: /POST .*media/, status: 413, code: "too_large" });
  const parts = [];
  await assert.rejects(ada.client.upload(new Blob(["content"]), { onProgress: (part) => parts.push(part) }), { code: "too_large" });
  assert.deepEqual(parts, []);
});

test("a download that stands still is given up", async (t) => {
  const { open, http } = await world(t);
  const ada = await open("ada");
  const media = await ada.client.upload(new Blob(["content"], { type: "text/plain" }));
  http.fault({ path: /GET .*media/, stall: true });
  await assert.rejects(within(ada.client.download(media), 5_000, "giving up"), { name: "NatterError", code: "offline" });
  const blob = await ada.client.download(media);
  assert.equal(await blob.text(), "content");
});

test("an upload can be given up", async (t) => {
  const { open, http } = await world(t);
  const ada = await open("ada");
  http.fault({ path: /POST .*media/, hang: true });
  const controller = new AbortController();
  const upload = ada.client.upload(new Blob(["content"]), { signal: controller.signal });
  await eventually(() => assert.ok(http.requests.some(({ name }) => /POST .*media/.test(name))));
  controller.abort();
  await assert.rejects(within(upload, 2_000, "giving up"), { code: "aborted" });
});

test("a message with a file survives a reload before it is uploaded, and comes once", async (t) => {
  const { open, natter, id, model, channel, equal } = await world(t);
  const [ada, ben] = [await open("ada"), await open("ben")];
  natter.down();
  ada.send(id, "with a file", { media: [new File(["content"], "note.txt", { type: "text/plain" })] });
  await eventually(() => assert.equal(ada.shown(id)[0]?.media[0].filename, "note.txt"));
  assert.equal(ada.shown(id)[0].media[0].progress, 0);
  await ada.reload();
  await eventually(() => assert.equal(ada.shown(id)[0]?.media[0].filename, "note.txt"));
  natter.up();
  await eventually(() => assert.equal(model.messagesOf(channel).length, 1));
  await equal(ada);
  await equal(ben);
  const [media] = ben.shown(id)[0].media;
  assert.equal(await (await ben.client.download(media)).text(), "content");
});

test("an upload whose answer was lost still makes one message", async (t) => {
  const { open, id, http, model, channel, equal } = await world(t);
  const ada = await open("ada");
  http.fault({ path: /POST .*media/, cut: "middle", times: 2 });
  const send = ada.send(id, "", { media: [new File(["content"], "note.txt")] });
  assert.ok((await settled(send)).ack);
  assert.equal(model.messagesOf(channel).length, 1);
  await equal(ada);
});

test("a file is sent as it was when it was kept, whatever has become of it on the disk since", async (t) => {
  const { open, natter, id, model, channel } = await world(t);
  const ada = await open("ada");
  natter.down();
  await eventually(() => assert.equal(ada.client.state, "offline"));
  const { message } = ada.send(id, "", { media: [new Blob(["as it is since"])] });
  await within(message.kept, 2_000, "keeping");
  const [[key, item]] = await ada.store.entries("outbox");
  await ada.store.set(key, { ...item, media: [{ ...item.media[0], blob: new Blob(["as it was"]) }] });
  natter.up();
  await within(message.acked, 5_000, "an ack");
  const [{ media: [{ id: file }] }] = model.messagesOf(channel);
  assert.equal(model.media.get(file).bytes.toString(), "as it was");
});

test("a message that failed is sent with its file when it is tried again, also where the server has let go of the file", async (t) => {
  const { open, id, ben: friend, model, channel, equal } = await world(t);
  const ada = await open("ada");
  model.answer(friend, id, "rejected");
  const send = ada.send(id, "with a file", { media: [new File(["content"], "note.txt")] });
  assert.equal((await settled(send)).error.code, "channel_closed");
  assert.equal(model.media.size, 1);
  await ada.reload();
  await eventually(() => assert.equal(ada.shown(id)[0]?.status, "failed"));
  model.media.clear();
  model.answer(friend, id, "accepted");
  ada.client.conversation(id).retry(send.clientId);
  await eventually(() => assert.equal(model.messagesOf(channel).length, 1));
  const [{ media: [{ id: file, filename }] }] = model.messagesOf(channel);
  assert.deepEqual([filename, model.media.get(file).bytes.toString()], ["note.txt", "content"]);
  await equal(ada);
});

// Friends, presence and typing.

test("asking, accepting and rejecting are told to both, and open and close the conversation", async (t) => {
  const { open, model, ada: user } = await world(t);
  const cleo = model.addUser({ username: "cleo", password: PASSWORD }).id;
  const ada = await open("ada");
  const device = await Device.open(ada.natter, "cleo");
  t.after(() => device.client.close());
  const asked = await ada.client.friends.ask(cleo);
  assert.equal(asked.relation, "asked");
  await eventually(() => assert.equal(device.friends[0]?.relation, "asking"));
  const accepted = await device.client.friends.accept(asked.id);
  assert.equal(accepted.relation, "friends");
  await eventually(() => compareConversations(model, user, ada.conversations));
  assert.ok((await settled(device.send(asked.id, "hello"))).ack);
  await eventually(() => compareConversations(model, user, ada.conversations));
  const rejected = await ada.client.friends.reject(asked.id);
  assert.equal(rejected.relation, "rejected");
  assert.equal(rejected.rejectedByMe, true);
  await eventually(() => assert.equal(device.friends[0].relation, "rejected"));
  assert.equal(device.friends[0].rejectedByMe, false);
});

test("a friend who comes is online, and one who goes is not", async (t) => {
  const { open, ben: friend } = await world(t);
  const ada = await open("ada");
  assert.equal(ada.client.presence.get(friend)?.online ?? false, false);
  const ben = await open("ben");
  await eventually(() => assert.equal(ada.client.presence.get(friend)?.online, true));
  ben.client.close();
  await eventually(() => assert.equal(ada.client.presence.get(friend).online, false));
  assert.ok(ada.client.presence.get(friend).last_seen);
});

test("typing is told once for many keys, and ends with the message or by itself", async (t) => {
  const { open, id, ada: user } = await world(t);
  const [ada, ben] = [await open("ada"), await open("ben")];
  const isTyping = () => ben.client.conversation(id).info.typing;
  for (let key = 0; key < 10; key++) ada.client.conversation(id).typing.keystroke();
  await eventually(() => assert.equal(isTyping(), true));
  assert.deepEqual(told(ben, "typing"), [{ conversation: id, user, active: true }]);
  ada.client.conversation(id).typing.stop();
  await eventually(() => assert.equal(isTyping(), false));
  ada.client.conversation(id).typing.keystroke();
  await eventually(() => assert.equal(isTyping(), true));
  ada.send(id, "written");
  await eventually(() => assert.equal(isTyping(), false));
});

test("users and messages are found", async (t) => {
  const { open, id, ben: friend, write } = await world(t);
  const { message } = write(friend, "a needle in a haystack");
  write(friend, "hay");
  const ada = await open("ada");
  const users = await ada.client.users.search({ username: "BE" });
  assert.deepEqual(users.results.map((one) => one.id), [friend]);
  const found = await ada.client.search("needle");
  assert.deepEqual([found.count, found.hasNext], [1, false]);
  assert.deepEqual(found.results.map((one) => [one.id, one.friendship]), [[message, id]]);
});

// Apps that use it in ways of their own.

test("a listener that throws stops neither the library nor the other listeners", async (t) => {
  const { open, id, write, ben, equal, natter } = await world(t);
  const ada = await open("ada");
  const thrown = [];
  const note = (error) => thrown.push(error.message);
  process.prependListener("uncaughtException", note);
  const others = process.listeners("uncaughtException").filter((one) => one !== note);
  for (const one of others) process.off("uncaughtException", one);
  t.after(() => {
    process.off("uncaughtException", note);
    for (const one of others) process.on("uncaughtException", one);
  });
  for (const event of ["message", "state", "friendship"]) {
    ada.client.on(event, () => {
      throw new Error(`from ${event}`);
    });
  }
  ada.client.conversations.watch(() => {
    throw new Error("from conversations");
  });
  write(ben, "one");
  natter.gateway.destroyAll();
  write(ben, "two");
  await equal(ada);
  await eventually(() => assert.ok(thrown.includes("from message")));
  assert.equal(ada.shown(id).length, 2);
});

test("a tab that is closed before anything came of its connecting says so", async (t) => {
  const { open, natter } = await world(t);
  const disk = new Disk();
  await open("ada", { disk, isShared: true });
  const second = new Device(natter, "ada", { disk, isShared: true });
  second.make();
  await eventually(() => second.resume());
  const connecting = second.client.connect();
  second.client.close();
  await assert.rejects(within(connecting, 2_000, "closing"), { name: "NatterError", code: "closed" });
  assert.equal(second.client.state, "closed");
});

test("connecting and closing in quick succession leaves as many connections as are wanted", async (t) => {
  const { open, gateway } = await world(t);
  const ada = await open("ada");
  const rejections = [];
  const note = (reason) => rejections.push(reason);
  process.on("unhandledRejection", note);
  t.after(() => process.off("unhandledRejection", note));
  const ends = [ada.client.connect()];
  for (let times = 0; times < 5; times++) {
    ada.client.close();
    ends.push(ada.client.connect());
    ends.push(ada.client.connect());
  }
  await Promise.allSettled(ends);
  assert.equal(ada.client.state, "connected");
  await eventually(() => assert.equal(gateway.of(ada.user).length, 1, "one connection"));
  ada.client.close();
  await eventually(() => assert.equal(gateway.of(ada.user).length, 0));
  assert.equal(ada.client.state, "closed");
  await sleep(A_WHILE);
  assert.equal(gateway.of(ada.user).length, 0);
  assert.deepEqual(rejections, []);
});
