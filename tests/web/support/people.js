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

/**
 * Ends a friendship or takes that back (`reject`, `accept`), and waits until the service that takes messages
 * has heard of it: by a change of a message that this person has sent (`own`, its ack), which stays as it is.
 */
export async function decide(person, decision, own, text) {
  await person.friends[decision](own.channel);
  const change = () => person.conversation(own.channel).edit(own.message, text);
  const isTaken = () => change().then(() => true, () => false);
  while ((await isTaken()) !== (decision === "accept"));
}

/** A client that is not closed goes on trying to connect, and the process with it. */
export function closeAll() {
  for (const client of clients) client.close();
}
