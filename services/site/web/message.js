// One message in a conversation: its bubble, what changes in it while it is shown, and what was refused.

import { h, fill, hidden, sentence } from "./dom.js";
import { icon } from "./icons.js";
import { exactTime, timeOfDay } from "./format.js";
import { MediaTile, whenNear } from "./media.js";
import { isEmoji, linked } from "./text.js";

const STATUS = {
  pending: { icon: "clock", text: "Waiting to be sent" },
  sent: { icon: "check", text: "Sent" },
  received: { icon: "checks", text: "Received" },
  seen: { icon: "checks", text: "Seen" },
  failed: { icon: "alert", text: "Not sent" },
};

/**
 * What can be clicked carries `data-action`: `menu`, `quote`, `retry`, `edit`, `discard`. The conversation
 * listens for all of its messages at once.
 */
export class MessageView {
  #client;
  #quotes;
  #shown = {};
  #tiles = [];
  #author = hidden("");
  #quoteSlot = h("div", { class: "slot" });
  #mediaSlot = h("div", { class: "media" });
  #text = h("span", { class: "text" });
  #meta = h("span", { class: "meta" });
  #failureSlot = h("div", { class: "slot" });

  constructor(client, quotes) {
    this.#client = client;
    this.#quotes = quotes;
    const more = h("button", { type: "button", class: "more", tabindex: "-1", "data-action": "menu", "data-testid": "message-menu", "aria-label": "Message options", "aria-haspopup": "menu" }, icon("more"));
    const body = h("div", { class: "body", dir: "auto" }, this.#text, this.#meta);
    this.bubble = h("div", { class: "bubble" }, this.#author, this.#quoteSlot, this.#mediaSlot, body, more);
    this.element = h("article", { class: "message", tabindex: "-1", "data-testid": "message" }, this.bubble, this.#failureSlot);
  }

  #changed(name, value) {
    if (this.#shown[name] === value) return false;
    this.#shown[name] = value;
    return true;
  }

  /** `first` and `last`: of those that follow each other from one sender. `friend`: the other's name. */
  update(message, { first, last, friend }) {
    const { element } = this;
    this.message = message;
    const bare = !message.content && !message.deleted;
    const classes = ["message", message.mine && "mine", first && "first", last && "last", message.deleted && "deleted", bare && "bare"];
    if (this.#changed("classes", classes.filter(Boolean).join(" "))) element.className = this.#shown.classes;
    if (this.#changed("status", message.status)) element.dataset.status = message.status;
    if (this.#changed("mine", message.mine)) element.dataset.mine = message.mine;
    if (this.#changed("id", message.id)) element.dataset.id = message.id ?? "";
    if (this.#changed("author", message.mine ? "You" : friend)) this.#author.textContent = `${this.#shown.author}: `;
    this.#updateText(message);
    this.#updateMeta(message);
    this.#updateQuote(message, friend);
    this.#updateMedia(message);
    this.#updateFailure(message);
  }

  close() {
    for (const tile of this.#tiles) tile.close();
  }

  #updateText(message) {
    const text = message.deleted ? null : message.content;
    if (!this.#changed("text", text)) return;
    this.#text.classList.toggle("emoji", text !== null && isEmoji(text));
    if (text === null) fill(this.#text, "This message was deleted");
    else fill(this.#text, linked(text));
  }

  #updateMeta(message) {
    const isEdited = (message.edited_at || message.edit?.status === "pending") && !message.deleted;
    const key = `${message.created_at} ${isEdited} ${message.deleted} ${message.status}`;
    if (!this.#changed("meta", key)) return;
    const edited = isEdited && h("span", {}, "edited");
    const time = h("time", { dir: "ltr", datetime: message.created_at, title: exactTime(message.created_at) }, timeOfDay(message.created_at));
    // Whether a deleted message was seen says nothing any more.
    const status = message.mine && (!message.deleted || message.status === "pending") && STATUS[message.status];
    const tick = status && h("span", { class: `tick tick-${message.status}`, title: status.text }, icon(status.icon), hidden(status.text));
    fill(this.#meta, edited, time, tick);
  }

  #updateQuote(message, friend) {
    const id = message.deleted ? null : message.reply_to;
    const quote = id && this.#quotes.get(id);
    const key = id && `${id} ${quote?.text}`;
    if (!this.#changed("quote", key)) return;
    if (!id) return fill(this.#quoteSlot);
    const name = !quote ? "" : quote.mine ? "You" : friend;
    const button = h(
      "button",
      { type: "button", class: "quote", "data-action": "quote" },
      hidden("Reply to "),
      h("span", { class: "quote-name", dir: "auto" }, name || "\u00a0"),
      h("span", { class: "quote-text", dir: "auto" }, quote?.text || "\u00a0"),
    );
    fill(this.#quoteSlot, button);
    if (!quote) whenNear(button, () => this.#quotes.fetch(id));
  }

  #updateMedia(message) {
    const files = message.deleted ? [] : message.media;
    const same = files.length === this.#tiles.length && files.every((file, index) => this.#tiles[index].shows(file));
    if (!same) {
      this.close();
      this.#tiles = files.map((file) => new MediaTile(this.#client, file));
      this.#mediaSlot.classList.toggle("many", files.length > 1);
      fill(this.#mediaSlot, this.#tiles.map((tile) => tile.element));
    }
    for (const [index, file] of files.entries()) this.#tiles[index].update(file, message.status === "pending");
  }

  #updateFailure(message) {
    const change = message.edit?.status === "failed" ? message.edit : null;
    const failed = message.status === "failed" || change;
    const { error } = change ?? message;
    const key = failed && JSON.stringify([change?.content, error?.message, message.deleted]);
    if (!this.#changed("failure", key)) return;
    if (!failed) return fill(this.#failureSlot);
    const button = (action, text) => h("button", { type: "button", class: "link-button", "data-action": action, "data-testid": action }, text);
    fill(
      this.#failureSlot,
      h(
        "div",
        { class: change ? "failure of-change" : "failure" },
        h("p", { class: "failure-reason" }, `${change ? "Not changed" : "Not sent"}: ${sentence(error)}`),
        change && h("p", { class: "failure-text", dir: "auto", "data-testid": "refused-edit" }, change.content),
        h("div", { class: "failure-buttons" }, !message.deleted && button("retry", "Try again"), !message.deleted && change && button("edit", "Edit"), button("discard", "Discard")),
      ),
    );
  }
}
