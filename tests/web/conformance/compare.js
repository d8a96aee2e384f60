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

/**
 * What was sent on a device is in the log once, in the order in which it was sent. `vanished` has the
 * client ids of what was set back, `refusals` what the schedule may have had refused, and `loggedOut`
 * says that the session ended meanwhile.
 */
export function compareSends(model, device, { vanished, refusals, loggedOut }) {
  const { user } = device;
  for (const [id] of device.subscriptions) {
    const channel = model.channels.get(id);
    const entries = channel.entries.filter((entry) => entry.kind === "message" && entry.sender === user);
    let before = 0;
    for (const send of device.sends.filter((one) => one.conversation === id)) {
      const stored = entries.filter((entry) => entry.clientId === send.clientId);
      const isExcused = vanished.has(send.clientId) || loggedOut;
      const isFailed = device.shown(id).some((one) => one.client_id === send.clientId && one.status === "failed");
      assert.ok(stored.length <= 1, `"${send.text}" is stored once`);
      if (send.outcome?.error) {
        assert.ok(refusals.has(send.outcome.error.code), `"${send.text}" was refused: ${send.outcome.error}`);
      } else if (send.outcome?.ack && !vanished.has(send.clientId)) {
        assert.equal(stored.length, 1, `"${send.text}" was acknowledged`);
        assert.equal(send.outcome.ack.seq, stored[0].seq);
        assert.equal(send.outcome.ack.message, stored[0].message);
      } else if (!isExcused && !isFailed) {
        assert.ok(send.outcome || send.instance < device.instance, `"${send.text}" is settled`);
        assert.equal(stored.length, 1, `"${send.text}" is stored`);
      }
      if (stored.length === 0) continue;
      assert.ok(stored[0].seq > before, `"${send.text}" comes after what was sent before it`);
      before = stored[0].seq;
    }
  }
}

/** Edits and deletions are carried out once where the client said so, and refused only with a reason. */
export function compareChanges(model, device, { vanished, refusals, loggedOut }) {
  for (const change of device.changes) {
    const { entries } = model.channels.get(change.conversation);
    const found = entries.filter(
      (entry) => entry.kind === change.kind && entry.message === change.message && entry.content === change.text,
    );
    assert.ok(found.length <= 1, `${change.kind} once`);
    const { ack, error } = change.outcome ?? {};
    if (ack && !vanished.has(ack.client_id)) assert.equal(found[0]?.seq, ack.seq, `${change.kind} as acknowledged`);
    if (error) {
      // Another device may have deleted it before.
      assert.ok(refusals.has(error.code) || error.code === "message_not_found", `${change.kind} was refused: ${error}`);
    }
    if (!change.outcome && !loggedOut) assert.ok(change.instance < device.instance, `${change.kind} is settled`);
  }
}
