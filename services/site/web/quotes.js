// The messages that others answer: from the window that is shown, else fetched one by one as their
// answers come into view.

import { preview } from "./text.js";

/** How many quotes are kept beside the window. */
const KEPT = 300;
/** How many messages are asked for to find one. */
const AROUND = 10;

export class Quotes {
  #conversation;
  #changed;
  #kept = new Map();
  #asked = new Set();
  #subscriptions = new Set();

  /** `changed` is called when a quote was found. */
  constructor(conversation, changed) {
    this.#conversation = conversation;
    this.#changed = changed;
  }

  /** `{ mine, text }`, or undefined if it is not known yet. */
  get(id) {
    return this.#kept.get(id);
  }

  keep(message) {
    this.#kept.delete(message.id);
    this.#kept.set(message.id, { mine: message.mine, text: preview(message) });
    if (this.#kept.size > KEPT) this.#kept.delete(this.#kept.keys().next().value);
  }

  fetch(id) {
    if (this.#kept.has(id) || this.#asked.has(id)) return;
    this.#asked.add(id);
    let subscription;
    let done = false;
    const end = () => {
      if (!subscription) return;
      this.#subscriptions.delete(subscription);
      subscription.unsubscribe();
    };
    const look = (window) => {
      const found = window.messages.find((message) => message.id === id);
      // Loaded without it: it is gone, with the end of a log that was set back.
      if (done || (!found && window.loading)) return;
      done = true;
      this.#asked.delete(id);
      if (found) {
        this.keep(found);
        this.#changed();
      }
      // The first call may come before there is a subscription to end.
      queueMicrotask(end);
    };
    subscription = this.#conversation.subscribe(look, { limit: AROUND, around: id });
    this.#subscriptions.add(subscription);
  }

  close() {
    for (const subscription of this.#subscriptions) subscription.unsubscribe();
  }
}
