// Search: messages in my conversations, and people.

import { avatar } from "./avatar.js";
import { act, arrowKeys, fill, h, sentence } from "./dom.js";
import { displayName, exactTime, listTime } from "./format.js";
import { icon } from "./icons.js";
import { Found } from "./people.js";

const PAGE = 20;
const PAUSE_MS = 250;
/** How many characters before a found word are shown at most: the word itself must fit into the row. */
const BEFORE = 16;

export class Search {
  title = "Search";
  #client;
  #conversations = [];
  #friends = [];
  #text = "";
  #page = 1;
  #timer;
  #input = h("input", { type: "search", class: "search-input", placeholder: "Search messages and people", "aria-label": "Search messages and people", autocomplete: "off", "data-testid": "search-input" });
  #status = h("p", { class: "result-status", role: "status" });
  #list = h("ul", { class: "rows" });
  #more = h("button", { type: "button", class: "button more-results", hidden: true, onclick: () => act(this.#more, () => this.#load(this.#page + 1)) }, "Show more");
  #people;
  #messages;
  #start;
  #ends;

  constructor(client) {
    this.#client = client;
    this.#people = new Found(client, (user) => this.#friends.find((each) => each.friend.id === user.id) ?? null);
    this.#people.element.prepend(h("h2", { class: "section-title" }, "People"));
    this.#messages = h("section", { "aria-label": "Messages found", hidden: true }, h("h2", { class: "section-title" }, "Messages"), this.#status, this.#list, this.#more);
    this.#start = h("div", { class: "empty" }, h("span", { class: "empty-icon" }, icon("search")), h("h2", {}, "Search"), h("p", {}, "In everything that was written to you and by you, and among all people here."));
    this.element = h("div", { class: "panel-scroll" }, h("div", { class: "search-box" }, icon("search"), this.#input), this.#start, this.#messages, this.#people.element);
    arrowKeys(this.#list, "a");
    this.#input.addEventListener("input", () => this.#search());
    this.#input.addEventListener("keydown", (event) => {
      if (event.key === "Escape" && this.#input.value) {
        event.preventDefault();
        this.#input.value = "";
        this.#search();
      } else if (event.key === "ArrowDown") this.#list.querySelector("a")?.focus();
    });
    this.#ends = [
      client.conversations.watch(({ conversations }) => (this.#conversations = conversations)),
      client.friends.watch((friends) => {
        this.#friends = friends;
        this.#people.refresh();
      }),
    ];
  }

  focus() {
    this.#input.focus();
  }

  close() {
    clearTimeout(this.#timer);
    this.#people.close();
    for (const end of this.#ends) end();
  }

  #search() {
    this.#text = this.#input.value.trim();
    clearTimeout(this.#timer);
    this.#people.search(this.#text);
    this.#start.hidden = Boolean(this.#text);
    this.#messages.hidden = !this.#text;
    if (!this.#text) {
      this.#status.textContent = "";
      return this.#show([], 1);
    }
    this.#timer = setTimeout(() => this.#load(1).catch((error) => (this.#status.textContent = sentence(error))), PAUSE_MS);
  }

  async #load(page) {
    const text = this.#text;
    const { results, hasNext } = await this.#client.search(text, { page, pageSize: PAGE });
    if (text !== this.#text) return;
    this.#page = page;
    this.#show(results, page);
    this.#more.hidden = !hasNext;
    this.#status.textContent = page === 1 && !results.length ? `No message has “${text}”.` : "";
  }

  #show(messages, page) {
    this.#more.hidden = true;
    const rows = messages.map((message) => this.#row(message));
    if (page === 1) fill(this.#list, rows);
    else this.#list.append(...rows);
  }

  #row(message) {
    const friend = this.#conversations.find((info) => info.id === message.friendship)?.friend ?? { id: message.friendship, username: "Conversation" };
    const words = h(
      "span",
      { class: "row-words" },
      h("span", { class: "row-line" }, h("span", { class: "row-name", dir: "auto" }, displayName(friend)), h("time", { class: "row-time", datetime: message.created_at, title: exactTime(message.created_at) }, listTime(message.created_at))),
      h("span", { class: "row-last", dir: "auto" }, message.mine && h("span", { class: "row-who" }, "You: "), marked(message.content, this.#text)),
    );
    const link = h("a", { class: "row", href: `#/c/${message.friendship}/${message.id}`, "data-testid": "search-result" }, avatar(friend), words);
    return h("li", {}, link);
  }
}

/** The part of a text around what was sought, which is marked. */
function marked(content, sought) {
  const text = content.replace(/\s+/g, " ");
  const word = sought.split(/\s+/).find((each) => text.toLowerCase().includes(each.toLowerCase()));
  if (!word) return text.slice(0, 200);
  const at = text.toLowerCase().indexOf(word.toLowerCase());
  // Not from the middle of a word.
  const before = at > BEFORE ? `…${text.slice(at - BEFORE, at).replace(/^[\p{L}\p{N}]*[^\p{L}\p{N}]+/u, "")}` : text.slice(0, at);
  return [before, h("mark", {}, text.slice(at, at + word.length)), text.slice(at + word.length, at + 200)];
}
