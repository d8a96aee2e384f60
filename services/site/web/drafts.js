// What was typed and attached but not sent, by user and conversation. Each tab has drafts of its own, and
// takes over those of tabs that were closed or crashed. Texts go to localStorage, which has them when the
// call returns; files to IndexedDB.

import { IndexedDbStore } from "../client/index.js";

const PREFIX = "natter.drafts";
const files = new IndexedDbStore("natter-drafts");
const tab = thisTab();
/** What this page has in its composers, or has sent and the library not stored yet. */
const taken = new Set();
let serial = Date.now();

// Held as long as the tab lives.
navigator.locks?.request(lockOf(tab), () => new Promise(() => {}));

/** The same after a reload. A duplicate of the tab, which begins with a copy of its storage, finds none there. */
function thisTab() {
  const key = "natter.tab";
  const fresh = crypto.getRandomValues(new Uint32Array(2)).join("-");
  try {
    const id = sessionStorage.getItem(key) ?? fresh;
    sessionStorage.removeItem(key);
    addEventListener("pagehide", () => sessionStorage.setItem(key, id));
    return id;
  } catch {
    return fresh;
  }
}

function lockOf(tab) {
  return `natter tab ${tab}`;
}

function textKeys(prefix) {
  try {
    return Object.keys(localStorage).filter((key) => key.startsWith(prefix));
  } catch {
    return [];
  }
}

async function fileKeys(prefix) {
  const entries = await files.entries(prefix).catch(() => []);
  return entries.map(([key]) => key);
}

async function allKeys(user) {
  const prefix = `${PREFIX}.${user}.`;
  return [...new Set([...textKeys(prefix), ...(await fileKeys(prefix))])].sort();
}

const prefixOf = (user, conversation) => `${PREFIX}.${user}.${conversation}.${tab}.`;

export class Draft {
  #key;

  constructor(user, conversation) {
    this.#take(`${prefixOf(user, conversation)}${++serial}`);
  }

  /** The oldest of this tab that is not taken yet, or a new one. */
  static async open(user, conversation) {
    await adoptDrafts(user);
    const draft = new Draft(user, conversation);
    const prefix = prefixOf(user, conversation);
    const known = (await allKeys(user)).find((key) => key.startsWith(prefix) && !taken.has(key));
    if (known) {
      draft.close();
      draft.#take(known);
    }
    return draft;
  }

  #take(key) {
    this.#key = key;
    taken.add(key);
  }

  /** `{ text, replyTo, editing, kept }`, or null. */
  read() {
    return readText(this.#key);
  }

  /** Whether it would outlive the page. */
  write(draft) {
    const empty = !draft.text && !draft.replyTo && !draft.editing && !draft.kept;
    try {
      if (empty) localStorage.removeItem(this.#key);
      else localStorage.setItem(this.#key, JSON.stringify(draft));
      return true;
    } catch {
      return empty;
    }
  }

  async readFiles() {
    return (await files.get(this.#key).catch(() => null)) ?? [];
  }

  /** Whether they would outlive the page. */
  async writeFiles(list) {
    try {
      await (list.length ? files.set(this.#key, list) : files.delete(this.#key));
      return true;
    } catch {
      return !list.length;
    }
  }

  /** Leaves it for whoever opens the conversation next. */
  close() {
    taken.delete(this.#key);
  }

  forget() {
    this.close();
    remove(this.#key);
  }
}

function readText(key) {
  try {
    return JSON.parse(localStorage.getItem(key));
  } catch {
    return null;
  }
}

function remove(key) {
  try {
    localStorage.removeItem(key);
  } catch {
    // Without localStorage nothing was kept there; the same goes for the files below.
  }
  return files.delete(key).catch(() => {});
}

/** The text that opening the conversation would bring. */
export function draftText(user, conversation) {
  const key = textKeys(prefixOf(user, conversation)).sort().find((key) => !taken.has(key));
  return key ? (readText(key)?.text ?? "") : "";
}

/** Makes the drafts of tabs that are gone this tab's. Without Web Locks nobody knows: those of all tabs. */
export async function adoptDrafts(user) {
  for (const key of await allKeys(user)) {
    const parts = key.split(".");
    const owner = parts.at(-2);
    if (owner === tab) continue;
    const to = [...parts.slice(0, -2), tab, ++serial].join(".");
    if (!navigator.locks) await move(key, to);
    else await navigator.locks.request(lockOf(owner), { ifAvailable: true }, (lock) => lock && move(key, to));
  }
}

async function move(from, to) {
  try {
    const list = await files.get(from);
    if (list) await files.set(to, list);
    const text = localStorage.getItem(from);
    // There may be no room for both.
    localStorage.removeItem(from);
    if (text !== null) localStorage.setItem(to, text);
    await files.delete(from);
  } catch {
    // What cannot be moved stays.
  }
}

/** Whether the user has typed or attached something anywhere that is not sent. */
export async function hasDrafts(user) {
  return (await allKeys(user)).length > 0;
}

export async function forgetDrafts(user) {
  for (const key of await allKeys(user)) await remove(key);
}
