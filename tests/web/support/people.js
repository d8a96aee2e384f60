// People for a test: signed up, befriended, and seen by the library without a page.

import { MemoryStore, NatterClient } from "../../../services/site/client/index.js";

export const PASSWORD = "Correct-horse-1";
const clients = [];

let names = 0;

/** A name that nobody has yet. */
export function nameFor(name) {
  return `${name}${process.pid}x${++names}`;
}

export async function signUp(natter, name, fields = {}) {
  const client = new NatterClient({ url: natter.url, store: new MemoryStore() });
  const username = nameFor(name);
  clients.push(client);
  await client.signUp({ username, email: `${username}@example.com`, password: PASSWORD, ...fields });
  await client.connect();
  return Object.assign(client, { username });
}

export async function befriend(asking, asked) {
  const { id } = await asking.friends.ask(asked.user);
  await asked.friends.accept(id);
  return id;
}

/** A client that is not closed goes on trying to connect, and the process with it. */
export function closeAll() {
  for (const client of clients) client.close();
}
