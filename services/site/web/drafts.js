// What was typed and attached but not sent, by user and conversation. Texts go to localStorage, which
// has them when the call returns; files to IndexedDB.

import { IndexedDbStore } from "../client/index.js";

const files = new IndexedDbStore("natter-drafts");

const keyOf = (user, conversation) => `natter.draft.${user}.${conversation}`;

/** `{ text, replyTo, editing, kept }`, or null. */
export function readDraft(user, conversation) {
  try {
    return JSON.parse(localStorage.getItem(keyOf(user, conversation)));
  } catch {
    return null;
  }
}

export function writeDraft(user, conversation, draft) {
  const key = keyOf(user, conversation);
  const empty = !draft.text && !draft.replyTo && !draft.editing && !draft.kept;
  try {
    if (empty) localStorage.removeItem(key);
    else localStorage.setItem(key, JSON.stringify(draft));
  } catch {
    // No room: the text stays in its field, as it would without drafts.
  }
}

export async function readFiles(user, conversation) {
  try {
    return (await files.get(keyOf(user, conversation))) ?? [];
  } catch {
    return [];
  }
}

export async function writeFiles(user, conversation, list) {
  const key = keyOf(user, conversation);
  try {
    await (list.length ? files.set(key, list) : files.delete(key));
  } catch {
    // As above: the files stay in the composer.
  }
}

/** Whether the user has typed or attached something anywhere that is not sent. */
export async function hasDrafts(user) {
  const prefix = keyOf(user, "");
  if (Object.keys(localStorage).some((key) => key.startsWith(prefix))) return true;
  const attached = await files.entries(prefix).catch(() => []);
  return attached.length > 0;
}

export async function forgetDrafts(user) {
  const prefix = keyOf(user, "");
  for (const key of Object.keys(localStorage)) if (key.startsWith(prefix)) localStorage.removeItem(key);
  try {
    for (const [key] of await files.entries(prefix)) await files.delete(key);
  } catch {
    // Without IndexedDB nothing was kept there.
  }
}
