// How many messages and changes this device has not sent yet: the library keeps them in its store.

import { IndexedDbStore } from "../client/index.js";

const store = new IndexedDbStore();

export async function unsentCount(user) {
  const kept = await store.entries(`outbox ${user} `).catch(() => []);
  return kept.length;
}
