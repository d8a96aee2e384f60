// Compares what a device shows with what the server has; each comparison throws where they differ.

import assert from "node:assert/strict";

const statusOf = (seq, { received_seq, seen_seq }) =>
  seq <= seen_seq ? "seen" : seq <= received_seq ? "received" : "sent";

/** What a user is to see of a channel. */
function expectedMessages(model, channel, user) {
  return model.messagesOf(channel).map((message) => ({
    ...message,
    media: message.media.map((media) => media.id),
    mine: message.sender === user,
    status: statusOf(message.seq, channel.marks.get(model.friendIn(channel, message.sender))),
  }));
}

/** The fields of a shown message that the server decides, or follow from what it says. */
function shownMessage({ id, friendship, sender, content, media, created_at, client_id, reply_to, edited_at, deleted, seq, mine, status }) {
  return {
    id,
    friendship,
    sender,
    content,
    media: media.map((one) => one.id),
    created_at,
    client_id,
    reply_to,
    edited_at,
    deleted,
    seq,
    mine,
    status,
  };
}

/** A window that holds everything; what is not the server's must be at the end, and have failed. */
export function compareWindow(model, channel, user, window) {
  assert.ok(window, "the conversation is shown");
  assert.equal(window.loading, false);
  assert.equal(window.error, null);
  assert.equal(window.hasBefore, false);
  assert.equal(window.hasAfter, false);
  const isStored = (message) => message.id !== null;
  const stored = window.messages.filter(isStored);
  assert.deepEqual(stored.map(shownMessage), expectedMessages(model, channel, user));
  const local = window.messages.slice(stored.length);
  assert.ok(!local.some(isStored), "what was not sent is at the end");
  assert.deepEqual([...new Set(local.map((message) => message.status))].filter((status) => status !== "failed"), []);
}

/** A window of a few messages: a part of the log without a hole. */
export function comparePart(model, channel, user, window, limit) {
  const expected = expectedMessages(model, channel, user);
  const stored = window.messages.filter((message) => message.id !== null);
  assert.ok(stored.length <= limit, "no more are held than the limit");
  const first = expected.findIndex((message) => message.id === stored[0]?.id);
  const part = first < 0 ? [] : expected.slice(first, first + stored.length);
  assert.deepEqual(stored.map(shownMessage), part);
  if (first >= 0) assert.equal(window.hasBefore, first > 0);
  if (!window.hasAfter) assert.equal(stored.at(-1)?.id, expected.at(-1)?.id);
}

export function compareConversations(model, user, list) {
  assert.equal(list.loading, false);
  const shown = list.conversations.map((info) => ({
    id: info.id,
    friend: info.friend.id,
    is_open: info.friendship.is_open,
    revision: info.friendship.revision,
    last: info.last_message && shownMessage(info.last_message),
    unread: info.unread,
    marks: [info.received_seq, info.seen_seq, info.friend_received_seq, info.friend_seen_seq],
  }));
  const expected = model.conversationsOf(user).map((channel) => {
    const friendship = model.friendships.get(channel.id);
    const marks = model.marksFor(channel, user);
    return {
      id: channel.id,
      friend: model.friendIn(channel, user),
      is_open: model.isOpen(friendship),
      revision: friendship.revision,
      last: expectedMessages(model, channel, user).at(-1) ?? null,
      unread: model.unread(channel, user),
      marks: [marks.received_seq, marks.seen_seq, marks.friend_received_seq, marks.friend_seen_seq],
    };
  });
  assert.deepEqual(shown, expected);
  assert.equal(list.unread, expected.reduce((sum, one) => sum + one.unread, 0));
}

export function compareFriends(model, user, friends) {
  const byId = (one, other) => (one.id < other.id ? -1 : 1);
  const shown = friends.map(({ id, friend, status_from_user, status_to_user, is_open, revision }) => ({
    id,
    friend: friend.id,
    status_from_user,
    status_to_user,
    is_open,
    revision,
  }));
  const expected = model.friendshipsOf(user).map((friendship) => ({
    id: friendship.id,
    friend: friendship.from_user === user ? friendship.to_user : friendship.from_user,
    status_from_user: friendship.status_from_user,
    status_to_user: friendship.status_to_user,
    is_open: model.isOpen(friendship),
    revision: friendship.revision,
  }));
  assert.deepEqual(shown.sort(byId), expected.sort(byId));
}

export function compareDevice(model, device) {
  const { user, client } = device;
  assert.equal(client.state, "connected");
  for (const id of device.subscriptions.keys()) {
    compareWindow(model, model.channels.get(id), user, device.windows.get(id));
  }
  compareConversations(model, user, device.conversations);
  compareFriends(model, user, device.friends);
}

/** Who of the friends is online. */
export function comparePresence({ model, gateway }, device) {
  for (const channel of model.openChannels(device.user)) {
    const friend = model.friendIn(channel, device.user);
    assert.equal(device.client.presence.get(friend)?.online ?? false, gateway.isOnline(friend), "presence");
  }
}

/** What is found is what the server finds, each message as a window would show it. */
export function compareSearch(model, device, text, found) {
  const expected = model
    .conversationsOf(device.user)
    .flatMap((channel) => expectedMessages(model, channel, device.user))
    .filter((message) => message.content.includes(text));
  const byId = (one, other) => (one.id < other.id ? -1 : 1);
  assert.deepEqual(found.map(shownMessage).sort(byId), expected.sort(byId));
}

/**
 * What was sent on a device is in the log once, in the order in which it was sent, or shown as failed;
 * nothing is lost. `vanished` has the client ids of what was set back, `discarded` and `retried` of what
 * was; `forgotten` those of before a logout; `refusals` says why sends may have been refused.
 */
export function compareSends(model, device, schedule) {
  const { vanished, discarded, forgotten, retried, refusals } = schedule;
  for (const [id] of device.subscriptions) {
    const channel = model.channels.get(id);
    const entries = channel.entries.filter((entry) => entry.kind === "message" && entry.sender === device.user);
    let before = 0;
    for (const send of device.sends.filter((one) => one.conversation === id)) {
      const { clientId, message, outcome, kept, instance } = send;
      const what = `"${send.text}"`;
      const [stored, ...repeats] = entries.filter((entry) => entry.clientId === clientId);
      assert.equal(repeats.length, 0, `${what} is stored once`);
      assert.ok(outcome || instance < device.instance, `${what} is settled`);
      if (kept === "crashed") assert.equal(stored, undefined, `${what} was not tried before it was kept`);
      else if (!stored) {
        const isFailed = device.shown(id).some((one) => one.client_id === clientId && one.status === "failed");
        const isTaken = [vanished, discarded, forgotten].some((ids) => ids.has(clientId));
        // What no disk has ends with the page, and with the session.
        const isGone = kept !== "yes" && (instance < device.instance || outcome?.error?.code === "logged_out");
        assert.ok(isFailed || isTaken || isGone, `${what} is neither stored nor shown as failed`);
      }
      if (outcome?.error) assertExpected(outcome.error, what, clientId, schedule);
      if (!stored) {
        assert.ok(!outcome?.ack || vanished.has(clientId), `${what} was acknowledged`);
        continue;
      }
      if (outcome?.ack && !vanished.has(clientId)) {
        const status = statusOf(stored.seq, channel.marks.get(model.friendIn(channel, device.user)));
        assert.deepEqual([outcome.ack.seq, outcome.ack.message], [stored.seq, stored.message], what);
        const isLive = instance === device.instance;
        if (isLive) assert.deepEqual([message.id, message.seq, message.status], [stored.message, stored.seq, status], `${what} goes on`);
      }
      assert.deepEqual([stored.replyTo, stored.media.length], [send.replyTo, send.media.length], what);
      // What was lost by the server, or is sent after all because the page crashed, has no place any more.
      if ([retried, vanished, discarded].some((ids) => ids.has(clientId))) continue;
      assert.ok(stored.seq > before, `${what} comes after what was sent before it`);
      before = stored.seq;
    }
  }
}

/**
 * Edits and deletions are carried out once where the client said so, and refused only with a reason; the
 * text of a refused edit stays. `changes` are those of all tabs of the device.
 */
export function compareChanges(model, device, changes, schedule) {
  const { vanished, discarded, forgotten } = schedule;
  for (const change of device.changes) {
    const { kind, conversation, message, clientId, text, outcome, kept, instance } = change;
    const { entries } = model.channels.get(conversation);
    const [found, ...repeats] = entries.filter((entry) => entry.kind === kind && entry.message === message && entry.content === text);
    const what = `${kind} to "${text}"`;
    assert.equal(repeats.length, 0, `${what} once`);
    assert.ok(outcome || instance < device.instance, `${what} is settled`);
    if (outcome?.ack && !vanished.has(clientId)) assert.equal(found?.seq, outcome.ack.seq, `${what} as acknowledged`);
    // Another device may have deleted it before.
    if (outcome?.error?.code !== "message_not_found" && outcome?.error) assertExpected(outcome.error, what, clientId, schedule);
    const isTried = entries.some((entry) => entry.clientId === clientId);
    if (kept === "crashed") assert.ok(!isTried, `${what} was not tried before it was kept`);
    if (found || kind === "deleted" || kept !== "yes") continue;
    const shown = device.shown(conversation).find((one) => one.id === message);
    const isTaken = [vanished, discarded, forgotten].some((ids) => ids.has(clientId));
    const isReplaced = changes.some((other) => other.message === message && other.number > change.number);
    const isFailed = shown?.edit?.client_id === clientId && shown.edit.status === "failed" && shown.edit.content === text;
    assert.ok(!shown || isTaken || isReplaced || isFailed, `${what} is neither stored nor shown as failed`);
  }
}

function assertExpected({ code }, what, clientId, { refusals, discarded }) {
  const isExpected = code === "discarded" ? discarded.has(clientId) : refusals.has(code);
  assert.ok(isExpected, `${what} was refused with ${code}`);
}
