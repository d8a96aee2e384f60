// The list of conversations: who, the last message, when, how many are unread, who is online.

import { avatar, showOnline } from "./avatar.js";
import { arrange, arrowKeys, eachFrame, fill, h, hidden, setText } from "./dom.js";
import { draftText } from "./drafts.js";
import { count, displayName, exactTime, listTime } from "./format.js";
import { icon } from "./icons.js";
import { preview } from "./text.js";

const TICK = { pending: "clock", sent: "check", received: "checks", seen: "checks", failed: "alert" };
const TICK_WORDS = { pending: "Waiting to be sent", sent: "Sent", received: "Received", seen: "Seen", failed: "Not sent" };

export class Sidebar {
  title = "Chats";
  #client;
  /** Brings the rows up to date, soon. */
  #render;
  #items = new Map();
  #list = { conversations: [], unread: 0, loading: true };
  #active = null;
  #element = h("ul", { class: "rows" });
  #empty = h("div", { class: "rows-state" });
  #ends;

  constructor(client) {
    this.#client = client;
    this.element = h("div", { class: "panel-scroll" }, this.#empty, this.#element);
    this.#render = eachFrame(() => this.#renderNow());
    arrowKeys(this.#element, "a");
    this.#ends = [
      client.conversations.watch((list) => {
        this.#list = list;
        this.#render();
      }),
      client.presence.watch(this.#render),
    ];
  }

  /** The conversation that is open beside the list. */
  activate(id) {
    this.#active = id;
    this.#render();
  }

  close() {
    for (const end of this.#ends) end();
  }

  #renderNow() {
    const { conversations, loading } = this.#list;
    const nodes = conversations.map((info) => {
      let item = this.#items.get(info.id);
      if (!item) this.#items.set(info.id, (item = new Item(this.#client)));
      item.update(info, info.id === this.#active);
      return item.element;
    });
    arrange(this.#element, nodes);
    const kept = new Set(conversations.map((info) => info.id));
    for (const id of this.#items.keys()) if (!kept.has(id)) this.#items.delete(id);
    this.#showState(conversations.length ? "" : loading ? "loading" : "empty");
  }

  #showState(kind) {
    if (this.#empty.dataset.kind === kind) return;
    this.#empty.dataset.kind = kind;
    if (kind === "loading") fill(this.#empty, skeletonRows());
    else if (kind === "empty") {
      fill(
        this.#empty,
        h(
          "div",
          { class: "empty" },
          h("span", { class: "empty-icon" }, icon("chats")),
          h("h2", {}, "No conversations yet"),
          h("p", {}, "Find people you know and ask them to be friends."),
          h("a", { class: "button primary", href: "#/people" }, "Find people"),
        ),
      );
    } else fill(this.#empty);
  }
}

export function skeletonRows() {
  const row = () => h("div", { class: "skeleton-row", "aria-hidden": "true" }, h("span", { class: "skeleton round" }), h("span", { class: "skeleton" }));
  return [hidden("Loading"), ...Array.from({ length: 6 }, row)];
}

class Item {
  #client;
  #shown = "";
  #face = h("span", { class: "row-face" });
  #name = h("span", { class: "row-name", dir: "auto" });
  #time = h("time", { class: "row-time" });
  #tick = h("span", { class: "row-tick" });
  #last = h("span", { class: "row-last", dir: "auto" });
  #unread = h("span", { class: "badge", "data-testid": "unread" });
  #unreadWord = hidden(" unread");

  constructor(client) {
    this.#client = client;
    const words = h("span", { class: "row-words" }, h("span", { class: "row-line" }, this.#name, this.#tick, this.#time), h("span", { class: "row-line" }, this.#last, this.#unread, this.#unreadWord));
    this.link = h("a", { class: "row", "data-testid": "conversation" }, this.#face, words);
    this.element = h("li", {}, this.link);
  }

  update(info, active) {
    const { friend, last_message: last, typing, unread } = info;
    const online = Boolean(this.#client.presence.get(friend.id)?.online) && info.friendship.is_open;
    const draft = active ? "" : draftText(this.#client.user, info.id).trim();
    const text = typing ? "typing…" : draft || (last ? preview(last) : "No messages yet");
    const who = typing ? "" : draft ? "Draft: " : last?.mine ? "You: " : "";
    const key = JSON.stringify([friend, last?.status, last?.created_at, unread, online, active, who, text, listTimeOf(last)]);
    if (key === this.#shown) return;
    this.#shown = key;
    const face = `${displayName(friend)} ${friend.personal_image}`;
    if (this.#face.dataset.shows !== face) {
      this.#face.dataset.shows = face;
      fill(this.#face, avatar(friend));
    }
    showOnline(this.#face.firstElementChild, online);
    this.link.href = `#/c/${info.id}`;
    this.link.dataset.friend = friend.username;
    if (active) this.link.setAttribute("aria-current", "page");
    else this.link.removeAttribute("aria-current");
    fill(this.#name, displayName(friend), online && hidden(" (online)"));
    fill(this.#last, who && h("span", { class: draft && !typing ? "row-draft" : "row-who" }, who), text);
    this.#last.classList.toggle("active", typing);
    this.#time.dateTime = last?.created_at ?? "";
    this.#time.title = last ? exactTime(last.created_at) : "";
    setText(this.#time, listTimeOf(last));
    this.#tick.className = `row-tick tick-${last?.status}`;
    fill(this.#tick, last?.mine && !last.deleted && [icon(TICK[last.status]), hidden(TICK_WORDS[last.status])]);
    this.#unread.hidden = !unread;
    this.#unreadWord.hidden = !unread;
    setText(this.#unread, count(unread));
  }
}

function listTimeOf(last) {
  return last ? listTime(last.created_at) : "";
}
