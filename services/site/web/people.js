// People: who asks me, whom I asked, friends, who was rejected; and a search of everyone.

import { avatar, showOnline } from "./avatar.js";
import { ask } from "./dialog.js";
import { act, arrange, eachFrame, fill, h, hidden, sentence, setText } from "./dom.js";
import { displayName } from "./format.js";
import { icon } from "./icons.js";
import { skeletonRows } from "./sidebar.js";

const PAGE = 20;
/** How long a pause in typing begins a search. */
const PAUSE_MS = 200;

const SECTIONS = [
  ["asking", "Requests"],
  ["asked", "You asked"],
  ["friends", "Friends"],
  ["rejected", "Rejected"],
];

export class People {
  title = "People";
  #client;
  #friends = null;
  #rows;
  #groups = new Map(SECTIONS.map(([relation, title]) => [relation, group(title)]));
  #sections = h("div", { class: "sections" });
  #results;
  #input = h("input", { type: "search", class: "search-input", placeholder: "Find people by name", "aria-label": "Find people by name", autocomplete: "off", "data-testid": "people-search" });
  #ends;

  constructor(client) {
    this.#client = client;
    this.#rows = new Rows(client);
    this.#results = new Found(client, (user) => this.#relation(user));
    this.element = h("div", { class: "panel-scroll" }, h("div", { class: "search-box" }, icon("search"), this.#input), this.#sections, this.#results.element);
    const render = eachFrame(() => this.#render());
    this.#input.addEventListener("input", () => this.#search());
    this.#input.addEventListener("keydown", (event) => {
      if (event.key !== "Escape" || !this.#input.value) return;
      event.preventDefault();
      this.#input.value = "";
      this.#search();
    });
    this.#ends = [
      client.friends.watch((friends) => {
        this.#friends = friends;
        render();
      }),
      client.presence.watch(render),
    ];
    this.#render();
  }

  close() {
    for (const end of this.#ends) end();
    this.#results.close();
  }

  #relation(user) {
    return this.#friends?.find((each) => each.friend.id === user.id) ?? null;
  }

  #search() {
    const text = this.#input.value.trim();
    this.#sections.hidden = Boolean(text);
    this.#results.search(text);
  }

  #render() {
    this.#results.refresh();
    if (!this.#friends) return fill(this.#sections, skeletonRows());
    if (!this.#friends.length) return fill(this.#sections, emptyPeople(this.#input));
    const shown = [];
    for (const [relation, group] of this.#groups) {
      const members = this.#friends.filter((friend) => friend.relation === relation);
      if (!members.length) continue;
      setText(group.count, String(members.length));
      arrange(group.list, members.map((friend) => this.#rows.get(friend.friend, friend)));
      shown.push(group.element);
    }
    arrange(this.#sections, shown);
  }
}

function group(title) {
  const count = h("span", { class: "section-count" });
  const list = h("ul", { class: "rows" });
  const element = h("section", { "aria-label": title }, h("h2", { class: "section-title" }, title, count), list);
  return { element, list, count };
}

/** The rows of people, made anew only when something about the person changed. */
class Rows {
  #client;
  #rows = new Map();

  constructor(client) {
    this.#client = client;
  }

  get(user, friend) {
    const online = friend?.relation === "friends" && Boolean(this.#client.presence.get(user.id)?.online);
    const key = JSON.stringify([user, friend, online]);
    const known = this.#rows.get(user.id);
    if (known?.key === key) return known.element;
    const element = personRow(this.#client, user, friend, online);
    // Whoever uses the keyboard stays at this person, and at the button, where it is still there.
    const { activeElement } = document;
    if (known?.element.contains(activeElement)) {
      const same = activeElement.dataset.testid && element.querySelector(`[data-testid="${activeElement.dataset.testid}"]`);
      queueMicrotask(() => (same ?? element.querySelector("a, button"))?.focus({ preventScroll: true }));
    }
    this.#rows.set(user.id, { key, element });
    return element;
  }
}

function emptyPeople(input) {
  return h(
    "div",
    { class: "empty" },
    h("span", { class: "empty-icon" }, icon("people")),
    h("h2", {}, "Nobody here yet"),
    h("p", {}, "Search for people by name above, and ask them to be friends."),
    h("button", { type: "button", class: "button primary", onclick: () => input.focus() }, "Find people"),
  );
}

/** Users found by name, page by page. */
export class Found {
  #client;
  #relationOf;
  #rows;
  #users = [];
  #text = "";
  #page = 1;
  #timer;
  #list = h("ul", { class: "rows" });
  #status = h("p", { class: "result-status", role: "status" });
  #more = h("button", { type: "button", class: "button more-results", hidden: true, onclick: () => act(this.#more, () => this.#load(this.#page + 1)) }, "Show more");

  constructor(client, relationOf) {
    this.#client = client;
    this.#rows = new Rows(client);
    this.#relationOf = relationOf;
    this.element = h("section", { "aria-label": "People found", hidden: true }, this.#status, this.#list, this.#more);
  }

  search(text) {
    this.#text = text;
    clearTimeout(this.#timer);
    this.element.hidden = !text;
    if (!text) {
      this.#status.textContent = "";
      this.#show([]);
    } else this.#timer = setTimeout(() => this.#load(1).catch((error) => (this.#status.textContent = sentence(error))), PAUSE_MS);
  }

  /** The relations to those found may have changed. */
  refresh() {
    if (this.#text) this.#show(this.#users);
  }

  close() {
    clearTimeout(this.#timer);
  }

  async #load(page) {
    const text = this.#text;
    const { results, hasNext } = await this.#client.users.search({ username: text, page, pageSize: PAGE });
    if (text !== this.#text) return;
    this.#page = page;
    this.#more.hidden = !hasNext;
    const users = results.filter((user) => user.id !== this.#client.user);
    this.#show(page === 1 ? users : [...this.#users, ...users]);
    this.#status.textContent = this.#users.length ? "" : `Nobody is called “${text}”.`;
  }

  #show(users) {
    this.#users = users;
    if (!users.length) this.#more.hidden = true;
    arrange(this.#list, users.map((user) => this.#rows.get(user, this.#relationOf(user))));
  }
}

const UNDER_NAME = {
  asking: () => "",
  asked: () => "was asked",
  friends: () => "",
  rejected: (friend) => (friend.rejectedByMe ? "rejected by you" : "does not want to be asked"),
};

/** A person with what can be done; `friend` is the relation to them, if there is one. */
function personRow(client, user, friend, online) {
  const card = friend?.friend ?? user;
  const face = avatar(card);
  showOnline(face, online);
  const name = displayName(card);
  const under = [name !== card.username && `@${card.username}`, friend && UNDER_NAME[friend.relation](friend)].filter(Boolean).join(" · ");
  const words = h(
    "span",
    { class: "row-words" },
    h("span", { class: "row-name", dir: "auto" }, name, online && hidden(" (online)")),
    under && h("span", { class: "row-last", dir: "auto" }, under),
  );
  const friends = friend?.relation === "friends";
  const main = friends ? h("a", { class: "row", href: `#/c/${friend.id}` }, face, words) : h("div", { class: "row" }, face, words);
  return h("li", { class: "person", "data-testid": "person", "data-user": card.username }, main, h("span", { class: "person-actions" }, actions(client, user, friend)));
}

function actions(client, user, friend) {
  const name = displayName(friend?.friend ?? user);
  const button = (testid, style, text, run) =>
    h("button", { type: "button", class: `button ${style}`, "data-testid": testid, "aria-label": `${text}: ${name}`, onclick: (event) => act(event.currentTarget, run) }, text);
  if (!friend) return [button("ask", "primary small", "Ask", () => client.friends.ask(user.id))];
  const accept = (text) => button("accept", "primary small", text, () => client.friends.accept(friend.id));
  const reject = (text) => button("reject", "small", text, () => client.friends.reject(friend.id));
  if (friend.relation === "asking") return [accept("Accept"), reject("Reject")];
  if (friend.relation === "asked") return [reject("Withdraw")];
  if (friend.relation === "rejected") return friend.rejectedByMe ? [accept("Take back")] : [];
  const end = () => {
    const text = "You keep what was written, but neither of you can send anything until you take this back.";
    ask({ title: `End the friendship with ${name}?`, text, action: "End friendship", submit: () => client.friends.reject(friend.id) });
  };
  return [h("button", { type: "button", class: "icon-button", "data-testid": "reject", "aria-label": `End the friendship with ${name}`, title: "End friendship", onclick: end }, icon("unfriend"))];
}
