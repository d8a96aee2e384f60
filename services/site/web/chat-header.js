// The head of a conversation: who it is with, whether they are online or typing, the way back.

import { avatar, showOnline } from "./avatar.js";
import { fill, h, setText } from "./dom.js";
import { displayName, lastSeen } from "./format.js";
import { icon } from "./icons.js";

/** How often "last seen 5 min ago" is brought up to date. */
const PRESENCE_MS = 30_000;

export class ChatHeader {
  #client;
  #info = null;
  #ends;
  #back;
  #face = h("span", { class: "chat-face" });
  #name = h("h1", { class: "chat-name", dir: "auto" });
  #status = h("p", { class: "chat-status" });

  constructor(client, back) {
    this.#client = client;
    this.#back = h("a", { class: "icon-button chat-back", href: back, "aria-label": "Back", onclick: (event) => this.#goBack(event) }, icon("back"));
    this.element = h("header", { class: "chat-header" }, this.#back, this.#face, h("div", { class: "chat-title" }, this.#name, this.#status));
    const clock = setInterval(() => this.#showStatus(), PRESENCE_MS);
    this.#ends = [() => clearInterval(clock), client.presence.watch((user) => user === this.#info?.friend.id && this.#showStatus())];
  }

  focus() {
    this.#back.focus();
  }

  /** By the history, where that leads there: else a phone's own way back would lead to the conversation again. */
  #goBack(event) {
    const { navigation } = window;
    const before = navigation?.entries()[navigation.currentEntry.index - 1];
    if (!before?.sameDocument || (new URL(before.url).hash || "#/") !== this.#back.hash) return;
    event.preventDefault();
    history.back();
  }

  close() {
    for (const end of this.#ends) end();
  }

  show(info) {
    this.#info = info;
    const { friend } = info;
    const face = `${displayName(friend)} ${friend.personal_image}`;
    if (this.#face.dataset.shows !== face) {
      this.#face.dataset.shows = face;
      fill(this.#face, avatar(friend));
    }
    setText(this.#name, displayName(friend));
    this.#showStatus();
  }

  showMissing() {
    setText(this.#name, "No such conversation");
  }

  #showStatus() {
    if (!this.#info) return;
    const { friend, friendship, typing } = this.#info;
    const presence = friendship.is_open ? this.#client.presence.get(friend.id) : null;
    showOnline(this.#face.firstElementChild, Boolean(presence?.online));
    this.#status.classList.toggle("active", typing);
    if (!typing) setText(this.#status, lastSeen(presence, this.#client.now()));
    else if (!this.#status.querySelector(".dots")) {
      const dots = h("span", { class: "dots", "aria-hidden": "true" }, h("i"), h("i"), h("i"));
      fill(this.#status, h("span", { "data-testid": "typing" }, dots, "typing"));
    }
  }
}
