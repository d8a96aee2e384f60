// A conversation: a bounded window of its messages that slides with the scrolling, and the composer.
// Elements are kept by message, so that a change touches what changed alone.

import { discard, openActions } from "./actions.js";
import { ChatHeader } from "./chat-header.js";
import { Composer } from "./composer.js";
import { arrange, eachFrame, fill, h, hidden, sentence, setText, toast } from "./dom.js";
import { count, dayKey, dayName, displayName } from "./format.js";
import { icon } from "./icons.js";
import { takeFiles } from "./incoming-files.js";
import { MessageView } from "./message.js";
import { Quotes } from "./quotes.js";
import { preview } from "./text.js";

/** How many messages are shown at most, and how many come with one step. */
const LIMIT = 200;
const STEP = 50;
/** How near, in pixels, the end of what is shown must come for the next step. */
const AHEAD = 1000;
/** How near the bottom, in pixels, counts as at the bottom. */
const BOTTOM = 40;
/** Messages of one sender within this time stand together. */
const TOGETHER_MS = 5 * 60_000;

export class Chat {
  #client;
  #conversation;
  #subscription;
  /** Brings the page up to date with the window, soon. */
  #render;
  #window = { messages: [], hasBefore: false, hasAfter: false, loading: true, error: null };
  #info = null;
  #missing = false;
  /** Message views and day separators, by key; the key of each message, by its id. */
  #views = new Map();
  #days = new Map();
  #keys = new Map();
  #quotes;
  #composer;
  #ends = [];
  /** Whether the end is kept in view. */
  #stuck = true;
  #jump = null;
  /** Where the scrolling was last. */
  #top = 0;
  #loading = { before: false, after: false };
  #marked = -1;
  /** The first message that was unread when the conversation was opened, null without one. */
  #unreadFrom;
  /** Whether the reading has begun somewhere. */
  #isPlaced = false;
  /** The message that the Tab key reaches. */
  #current = null;

  #header;
  #list = h("div", { class: "messages", role: "log", "aria-label": "Messages", "aria-live": "off" });
  #state = h("div", { class: "chat-state" });
  #scroller = h("div", { class: "scroller", "data-testid": "scroller" }, h("div", { class: "spring" }), this.#state, this.#list);
  #latest = h("button", { type: "button", class: "to-latest", "data-testid": "to-latest", hidden: true });
  #foot = h("div", { class: "chat-foot" });
  #news = h("div", { class: "sr-only", role: "log", "aria-label": "New messages" });
  #unreadLine = h("div", { class: "unread-line", role: "separator" }, h("span", {}, "New messages"));

  constructor(client, id, { message, back }) {
    this.#client = client;
    this.id = id;
    this.#conversation = client.conversation(id);
    this.#render = eachFrame(() => this.#renderNow());
    this.#quotes = new Quotes(this.#conversation, this.#render);
    this.#header = new ChatHeader(client, back);
    this.element = h(
      "section",
      { class: "chat", "aria-label": "Conversation" },
      this.#header.element,
      h("div", { class: "chat-body" }, this.#scroller, this.#latest),
      this.#foot,
      this.#news,
    );
    this.#composer = new Composer(client, this.#conversation, {
      find: (id) => this.#find(id),
      quote: (id) => this.#quote(id),
      lastOwn: () => this.#window.messages.findLast((message) => message.mine && message.id && !message.deleted),
      friend: () => this.#friend(),
      sent: () => this.#toLatest(),
    });
    this.#listen();
    this.#showState();
    this.#subscribe(message);
  }

  /** To be called when the element is in the page. */
  opened() {
    this.#showFoot();
    this.#composer.fit();
    this.#renderNow();
  }

  focus() {
    this.#composer.focus();
  }

  /** Where reading begins, without a keyboard that covers half of a phone. */
  focusStart() {
    this.#header.focus();
  }

  /** Goes to a message and marks it for a moment; `back` to one that was at the top, without a mark. */
  async goTo(id, { back = false } = {}) {
    this.#jump = { id, back, sought: false };
    this.#stuck = false;
    if (!this.#find(id)) await this.#subscription.around(id).catch(() => {});
    if (this.#jump?.id === id) this.#jump.sought = true;
    this.#render();
  }

  close() {
    for (const end of this.#ends) end();
    this.#header.close();
    this.#quotes.close();
    this.#composer.close();
    for (const view of this.#views.values()) view.close();
    this.#views.clear();
  }

  #subscribe(message) {
    if (message) {
      this.#stuck = false;
      this.#jump = { id: message, sought: true };
    }
    const show = (window) => {
      this.#window = window;
      this.#render();
    };
    this.#subscription = this.#conversation.subscribe(show, { limit: LIMIT, around: message });
    this.#ends.push(
      () => this.#subscription.unsubscribe(),
      this.#client.conversations.watch((list) => this.#showInfo(list)),
      this.#client.on("message", (message) => this.#tell(message)),
    );
  }

  #listen() {
    const scroller = this.#scroller;
    const sizes = new ResizeObserver(() => this.#stuck && this.#toBottom());
    sizes.observe(scroller);
    sizes.observe(this.#list);
    const looked = () => this.#markSeen();
    const resized = () => this.#composer.fit();
    const typed = (event) => this.#typed(event);
    addEventListener("resize", resized);
    addEventListener("keydown", typed);
    addEventListener("focus", looked);
    document.addEventListener("visibilitychange", looked);
    this.#ends.push(
      () => sizes.disconnect(),
      () => removeEventListener("resize", resized),
      () => removeEventListener("keydown", typed),
      () => removeEventListener("focus", looked),
      () => document.removeEventListener("visibilitychange", looked),
    );
    scroller.addEventListener("scroll", () => this.#scrolled(), { passive: true });
    this.#latest.addEventListener("click", () => this.#toLatest());
    this.#list.addEventListener("click", (event) => this.#clicked(event));
    this.#list.addEventListener("contextmenu", (event) => this.#menuAsked(event));
    this.#list.addEventListener("keydown", (event) => this.#key(event));
    this.#list.addEventListener("focusin", (event) => this.#setCurrent(event.target.closest(".message")));
    takeFiles(this.element, () => this.#open(), (files) => {
      this.#composer.addFiles(files);
      this.#composer.focus();
    });
  }

  // The friend and the state of the conversation.

  #open() {
    // Not known yet: what is typed meanwhile is kept.
    return this.#info?.friendship.is_open ?? !this.#missing;
  }

  #friend() {
    return this.#info ? displayName(this.#info.friend) : "";
  }

  #showInfo(list) {
    const info = list.conversations.find((each) => each.id === this.id);
    if (!info) {
      if (!list.loading && !this.#info) this.#showMissing();
      return;
    }
    this.#missing = false;
    if (this.#unreadFrom === undefined) this.#unreadFrom = info.unread ? info.seen_seq + 1 : null;
    this.#info = info;
    this.#header.show(info);
    this.#showFoot();
    this.#render();
  }

  #showMissing() {
    this.#missing = true;
    this.#showFoot();
    this.#header.showMissing();
  }

  #showFoot() {
    if (this.#open()) {
      if (this.#composer.element.isConnected) return;
      fill(this.#foot, this.#composer.element);
      this.#composer.fit();
    } else {
      const why = this.#missing ? "There is no such conversation." : "You are not friends any more, so nothing can be sent here.";
      fill(this.#foot, h("p", { class: "closed" }, why));
    }
  }

  // Rendering.

  #find(id) {
    return this.#window.messages.find((message) => message.id === id);
  }

  #quote(id) {
    const message = this.#find(id);
    if (message) return { mine: message.mine, text: preview(message) };
    if (!this.#window.loading) this.#quotes.fetch(id);
    return this.#quotes.get(id);
  }

  /** The same before and after the server gave the message an id. */
  #keyOf(message) {
    if (!message.id) return message.client_id;
    const key = this.#keys.get(message.id) ?? ((message.mine && message.client_id) || message.id);
    this.#keys.set(message.id, key);
    return key;
  }

  #renderNow() {
    if (!this.element.isConnected) return;
    const { messages } = this.#window;
    const anchor = this.#stuck ? null : this.#anchor();
    this.#keepQuotes(messages);
    const nodes = this.#nodes(messages);
    arrange(this.#list, nodes);
    this.#showState();
    this.#restPosition(anchor);
    if (!this.#current?.isConnected) this.#setCurrent(this.#list.lastElementChild?.closest(".message"));
    this.#composer.refresh();
    this.#scrolled();
  }

  #keepQuotes(messages) {
    const answered = new Set(messages.map((message) => message.reply_to));
    for (const message of messages) if (answered.has(message.id)) this.#quotes.keep(message);
  }

  /** The elements of the window: messages, and lines between days and before what is unread. */
  #nodes(messages) {
    const nodes = [];
    const used = new Set();
    const ids = new Set();
    let previous = null;
    let unread = this.#unreadFrom;
    const friend = this.#friend();
    const apart = messages.map((message, index) => index === 0 || !together(messages[index - 1], message));
    for (const [index, message] of messages.entries()) {
      const day = dayKey(message.created_at);
      if (!previous || dayKey(previous.created_at) !== day) nodes.push(this.#day(day, message, used));
      if (unread && !message.mine && message.seq >= unread) {
        // Only where its place is sure: with the last one that was seen in view.
        if (previous || !this.#window.hasBefore) nodes.push(this.#unreadLine);
        unread = null;
      }
      const key = this.#keyOf(message);
      used.add(key);
      ids.add(message.id);
      let view = this.#views.get(key);
      if (!view) this.#views.set(key, (view = new MessageView(this.#client, this.#quotes)));
      view.update(message, { first: apart[index], last: apart[index + 1] ?? true, friend });
      nodes.push(view.element);
      previous = message;
    }
    for (const [key, view] of this.#views) {
      if (used.has(key)) continue;
      view.close();
      this.#views.delete(key);
    }
    for (const key of this.#days.keys()) if (!used.has(key)) this.#days.delete(key);
    for (const id of this.#keys.keys()) if (!ids.has(id)) this.#keys.delete(id);
    return nodes;
  }

  #day(key, message, used) {
    used.add(key);
    let element = this.#days.get(key);
    if (!element) {
      const time = h("time", { datetime: message.created_at.slice(0, 10) });
      element = h("div", { class: "day" }, time);
      this.#days.set(key, element);
    }
    setText(element.firstChild, dayName(message.created_at));
    return element;
  }

  #showState() {
    const { messages, loading, error, hasBefore } = this.#window;
    const kind = error ? "error" : loading && !messages.length ? "skeleton" : hasBefore ? "more" : messages.length ? "start" : "empty";
    if (this.#state.dataset.kind === kind) return;
    this.#state.dataset.kind = kind;
    if (kind === "skeleton") fill(this.#state, skeleton());
    else if (kind === "more") fill(this.#state, h("div", { class: "spinner" }, hidden("Older messages are loading")));
    else if (kind === "empty") fill(this.#state, h("p", { class: "pill" }, "No messages yet. Say hello!"));
    else if (kind === "error") {
      const again = h("button", { type: "button", class: "button", onclick: () => this.#again() }, "Try again");
      fill(this.#state, h("p", { class: "pill" }, `Messages could not be loaded. ${sentence(error)}`), again);
    } else fill(this.#state);
  }

  #again() {
    if (this.#window.messages.length) this.#load("before");
    else this.#toLatest();
  }

  // Scrolling.

  /** The visible messages and where each of them is. */
  #anchor() {
    const top = this.#scroller.getBoundingClientRect().top;
    const bottom = top + this.#scroller.clientHeight;
    const visible = [];
    for (const element of this.#list.querySelectorAll(":scope > .message")) {
      const at = element.getBoundingClientRect();
      if (at.bottom < top) continue;
      if (at.top > bottom) break;
      visible.push([element, at.top]);
    }
    return visible;
  }

  /** Where the reading goes on after a change: at a message asked for, at the end, or as it was. */
  #restPosition(anchor) {
    const target = this.#jump && this.#list.querySelector(`[data-id="${CSS.escape(this.#jump.id)}"]`);
    if (target) {
      const { back } = this.#jump;
      this.#jump = null;
      this.#stuck = false;
      target.scrollIntoView({ block: back ? "start" : "center" });
      if (!back) this.#mark(target);
    } else if (this.#jump) {
      if (this.#jump.sought && !this.#window.loading) this.#notFound();
    } else if (this.#stuck) {
      this.#toBottom();
      this.#toUnread();
    } else if (anchor.length) {
      const [element, top] = anchor.find(([each]) => each.isConnected) ?? [];
      if (element) this.#scroller.scrollTop += element.getBoundingClientRect().top - top;
      // The window was loaded anew, at its end.
      else if (anchor[0][0].dataset.id) this.goTo(anchor[0][0].dataset.id, { back: true });
    }
  }

  #mark(element) {
    this.#setCurrent(element);
    element.classList.remove("found");
    requestAnimationFrame(() => element.classList.add("found"));
  }

  #notFound() {
    toast("That message is not here any more.");
    this.#toLatest();
  }

  #toBottom() {
    this.#scroller.scrollTop = this.#scroller.scrollHeight;
    this.#top = this.#scroller.scrollTop;
  }

  /** The reading begins with what is unread, where that is more than the page shows. */
  #toUnread() {
    const { messages, loading, error, hasBefore } = this.#window;
    if (this.#isPlaced || loading || !messages.length || this.#unreadFrom === undefined) return;
    const isFurtherBack = this.#unreadFrom !== null && !this.#unreadLine.isConnected && hasBefore && !error;
    if (isFurtherBack && messages.length + STEP <= LIMIT) return void this.#load("before");
    this.#isPlaced = true;
    if (isFurtherBack) {
      // More than the page holds: nothing is seen that was not scrolled to.
      this.#stuck = false;
      this.#scroller.scrollTop = this.#top = 0;
    }
    if (!this.#unreadLine.isConnected) return;
    const above = this.#scroller.getBoundingClientRect().top - this.#unreadLine.getBoundingClientRect().top;
    if (above <= 0) return;
    this.#stuck = false;
    this.#scroller.scrollTop -= above;
    this.#top = this.#scroller.scrollTop;
  }

  async #toLatest() {
    this.#stuck = true;
    this.#isPlaced = true;
    this.#jump = null;
    // What goes wrong, the window says.
    if (this.#window.hasAfter || this.#window.error) await this.#subscription.latest().catch(() => {});
    this.#render();
  }

  #scrolled() {
    const { scrollHeight, scrollTop, clientHeight } = this.#scroller;
    if (!clientHeight) return;
    // The event may come after something else changed the height: only what moves up leaves the end.
    const { loading, hasAfter } = this.#window;
    if (scrollHeight - scrollTop - clientHeight < BOTTOM) this.#stuck = loading ? this.#stuck : !hasAfter;
    else if (scrollTop < this.#top) this.#stuck = false;
    if (!this.#stuck) this.#isPlaced = true;
    this.#top = scrollTop;
    this.#showLatest();
    this.#markSeen();
    this.#loadMore();
  }

  #loadMore() {
    const { scrollHeight, scrollTop, clientHeight } = this.#scroller;
    const ahead = Math.min(AHEAD, clientHeight);
    if (!clientHeight || this.#window.loading || this.#window.error || this.#jump) return;
    if (this.#window.hasBefore && scrollTop < ahead) this.#load("before");
    else if (this.#window.hasAfter && scrollHeight - scrollTop - clientHeight < ahead) this.#load("after");
  }

  async #load(side) {
    if (this.#loading.before || this.#loading.after) return;
    this.#loading[side] = true;
    try {
      await this.#subscription[side](STEP);
    } catch {
      // The window says so.
    }
    this.#loading[side] = false;
    this.#render();
  }

  #showLatest() {
    const away = !this.#stuck && this.#window.messages.length > 0;
    this.#latest.hidden = !away;
    const unread = away ? (this.#info?.unread ?? 0) : 0;
    const label = unread ? `${count(unread)} new` : "";
    if (this.#latest.dataset.shows === label) return;
    this.#latest.dataset.shows = label;
    this.#latest.setAttribute("aria-label", unread ? `${count(unread)} new messages: go to the end` : "Go to the end");
    fill(this.#latest, label && h("span", {}, label), icon("down"));
  }

  #markSeen() {
    const looking = document.visibilityState === "visible" && document.hasFocus() && this.#scroller.clientHeight > 0;
    // Not before the reading has begun, at what was unread.
    if (!looking || !this.#isPlaced || !this.#stuck || this.#jump || this.#window.loading || this.#window.hasAfter) return;
    const newest = this.#window.messages.findLast((message) => !message.mine);
    // Unread again: the server has not kept what it was told.
    if (!newest || (newest.seq <= this.#marked && !this.#conversation.info?.unread)) return;
    this.#marked = newest.seq;
    this.#conversation.markSeen();
  }

  /** For screen readers: what came in while the conversation is open. */
  #tell(message) {
    if (message.friendship !== this.id || message.mine) return;
    this.#news.append(h("p", {}, `${this.#friend()}: ${preview(message)}`));
    if (this.#news.children.length > 5) this.#news.firstChild.remove();
  }

  // Actions on messages.

  #viewOf(element) {
    for (const view of this.#views.values()) if (view.element === element) return view;
    return null;
  }

  #setCurrent(element) {
    if (!element || element === this.#current) return;
    this.#current?.setAttribute("tabindex", "-1");
    element.setAttribute("tabindex", "0");
    this.#current = element;
  }

  #clicked(event) {
    const button = event.target.closest("[data-action]");
    const view = button && this.#viewOf(button.closest(".message"));
    if (!view) return;
    const { message } = view;
    const { action } = button.dataset;
    if (action === "menu") this.#openMenu(view, button);
    else if (action === "quote") this.goTo(message.reply_to);
    else if (action === "retry") this.#conversation.retry(message.edit?.client_id ?? message.client_id);
    else if (action === "edit" && this.#open()) this.#composer.startEdit(message);
    else if (action === "edit") toast("You are not friends any more, so nothing can be changed here.");
    else if (action === "discard") discard(message, this.#conversation);
  }

  #menuAsked(event) {
    const view = this.#viewOf(event.target.closest(".message"));
    if (!view || event.target.closest("a, img, video") || !getSelection().isCollapsed) return;
    event.preventDefault();
    this.#openMenu(view, view.bubble);
  }

  #key(event) {
    const element = event.target;
    if (!element.matches(".message")) return;
    const siblings = [...this.#list.querySelectorAll(".message")];
    const index = siblings.indexOf(element);
    const next = { ArrowUp: siblings[index - 1], ArrowDown: siblings[index + 1], Home: siblings[0], End: siblings.at(-1) }[event.key];
    if (next) next.focus();
    else if (event.key === "Enter" || event.key === " ") this.#openMenu(this.#viewOf(element), this.#viewOf(element).bubble);
    else if (event.key === "Escape") this.focus();
    else return;
    event.preventDefault();
  }

  /** Whoever types while a message or nothing has the focus, writes. */
  #typed({ key, ctrlKey, metaKey, altKey }) {
    const { activeElement } = document;
    const isText = key.length === 1 && key !== " " && !ctrlKey && !metaKey && !altKey;
    if (isText && (activeElement === document.body || activeElement?.matches(".message"))) this.focus();
  }

  #openMenu({ message }, anchor) {
    openActions(message, anchor, {
      conversation: this.#conversation,
      composer: this.#composer,
      isOpen: this.#open(),
      friend: this.#friend(),
    });
  }
}

function together(a, b) {
  return a.sender === b.sender && dayKey(a.created_at) === dayKey(b.created_at) && new Date(b.created_at) - new Date(a.created_at) < TOGETHER_MS;
}

function skeleton() {
  const sides = ["", "mine", "", "", "mine", "mine", ""];
  return h("div", { class: "skeleton-messages" }, hidden("Messages are loading"), sides.map((side) => h("span", { class: `skeleton ${side}` })));
}
