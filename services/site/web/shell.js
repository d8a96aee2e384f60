// The frame around everything once there is a session: tabs, the panel beside, the open conversation,
// the offline banner; and the address (`#/c/<id>`, `#/people`, …), by which back and reload work.

import { Chat } from "./chat.js";
import { fill, h, hidden } from "./dom.js";
import { count } from "./format.js";
import { icon } from "./icons.js";
import { People } from "./people.js";
import { ProfilePage } from "./profile.js";
import { Search } from "./search.js";
import { Sidebar } from "./sidebar.js";
import { themeToggle } from "./theme.js";

const TABS = [
  { name: "conversations", hash: "#/", icon: "chats", text: "Chats", Panel: Sidebar },
  { name: "people", hash: "#/people", icon: "people", text: "People", Panel: People },
  { name: "search", hash: "#/search", icon: "search", text: "Search", Panel: Search },
  { name: "profile", hash: "#/profile", icon: "profile", text: "Profile", Panel: ProfilePage },
];

/** As in the style sheet: below it the panel and the conversation take turns. */
const narrow = matchMedia("(max-width: 720px)");
const NAME = "Natter";
/** What fits into the badge of a tab. */
const MOST = 99;
/** How long the first connection may take before it is missed. */
const CONNECT_MS = 4_000;

export class Shell {
  #client;
  #tab = null;
  #panel = null;
  #chat = null;
  /** The address of the conversation, by which its link is found again. */
  #opener = "";
  #links = new Map();
  #badges = new Map();
  /** Why there is no connection, also while one is tried: `offline`, `closed` by the server for good, or nothing. */
  #lost = "";
  #banner = h("div", { class: "banner", role: "status", "data-testid": "offline-banner", hidden: true });
  #title = h("h1", {});
  #overview;
  #panelBody = h("div", { class: "panel-body" });
  #stage = h("main", { class: "stage" });
  #ends;

  constructor(client) {
    this.#client = client;
    const links = TABS.map((tab) => this.#link(tab));
    this.#overview = h("section", { class: "panel", "aria-label": "Overview" }, h("header", { class: "panel-header" }, this.#title, themeToggle()), this.#panelBody);
    this.element = h("div", { class: "shell" }, this.#banner, h("nav", { class: "tabs", "aria-label": "Main" }, links), this.#overview, this.#stage);
    const route = () => this.#route();
    const state = () => this.#showState();
    const lost = (state) => {
      if (state !== "connecting") this.#lost = state === "connected" ? "" : state;
      this.#showState();
    };
    const missed = setTimeout(() => client.state === "connected" || this.#lost || lost("offline"), CONNECT_MS);
    const moved = () => {
      // The way back was taken with a dialog open.
      for (const dialog of document.querySelectorAll("dialog")) dialog.close();
      this.#route();
    };
    addEventListener("hashchange", moved);
    addEventListener("online", state);
    addEventListener("offline", state);
    narrow.addEventListener("change", route);
    this.#ends = [
      () => narrow.removeEventListener("change", route),
      () => removeEventListener("hashchange", moved),
      () => removeEventListener("online", state),
      () => removeEventListener("offline", state),
      () => clearTimeout(missed),
      client.on("state", lost),
      client.conversations.watch((list) => this.#showUnread(list.unread)),
      client.friends.watch((friends) => this.#badge("people", friends.filter((each) => each.relation === "asking").length, "requests")),
    ];
    this.#showState();
  }

  /** To be called when the element is in the page. */
  opened() {
    this.#route();
  }

  close() {
    for (const end of this.#ends) end();
    this.#panel?.close();
    this.#chat?.close();
    document.title = NAME;
  }

  #link(tab) {
    const badge = h("span", { class: "badge tab-badge", hidden: true });
    const link = h("a", { class: "tab", href: tab.hash, "data-testid": `tab-${tab.name}` }, h("span", { class: "tab-icon" }, icon(tab.icon), badge), h("span", { class: "tab-text" }, tab.text));
    this.#links.set(tab.name, link);
    this.#badges.set(tab.name, badge);
    return link;
  }

  /** The browser may know earlier than the connection. */
  #showState() {
    const kind = this.#lost || (navigator.onLine ? "" : "offline");
    if (this.#banner.dataset.shows === kind) return;
    this.#banner.dataset.shows = kind;
    this.#banner.hidden = !kind;
    this.element.classList.toggle("lost", Boolean(kind));
    if (kind === "offline") fill(this.#banner, icon("offline"), h("span", {}, "You are offline. What you send goes out as soon as you are back."));
    else if (kind === "closed") {
      const connect = () => this.#client.connect().catch(() => {});
      fill(
        this.#banner,
        icon("offline"),
        h("span", {}, "Disconnected here: Natter is open in too many places."),
        h("button", { type: "button", class: "link-button", "data-testid": "use-here", onclick: connect }, "Use it here"),
      );
    } else fill(this.#banner);
  }

  #showUnread(unread) {
    document.title = unread ? `(${count(unread)}) ${NAME}` : NAME;
    this.#badge("conversations", unread, "unread messages");
  }

  #badge(tab, number, what) {
    const badge = this.#badges.get(tab);
    badge.hidden = !number;
    fill(badge, number > MOST ? `${MOST}+` : number, hidden(` ${what}`));
  }

  #route() {
    const [, place, id, message] = location.hash.split("/");
    if (place === "c" && id) {
      if (!this.#panel) this.#showPanel(TABS[0]);
      this.#showChat(id, message);
      this.#overview.removeAttribute("role");
      return;
    }
    // Where it is alone on the page, it is what the page is about.
    if (narrow.matches) this.#overview.setAttribute("role", "main");
    else this.#overview.removeAttribute("role");
    const tab = TABS.find((each) => each.hash === `#/${place}`) ?? TABS[0];
    const left = this.#chat?.id;
    this.element.classList.remove("in-chat");
    if (narrow.matches) this.#closeChat();
    if (tab !== this.#tab) this.#showPanel(tab);
    if (!narrow.matches) this.#keepChat();
    if (left && narrow.matches) this.#overview.querySelector(`a[href="${CSS.escape(this.#opener)}"], a[href="#/c/${CSS.escape(left)}"]`)?.focus();
    else if (tab.name === "search") this.#panel.focus();
  }

  #showPanel(tab) {
    this.#panel?.close();
    this.#tab = tab;
    this.#panel = new tab.Panel(this.#client);
    this.#title.textContent = this.#panel.title;
    fill(this.#panelBody, this.#panel.element);
    this.#panel.activate?.(this.#chat?.id ?? null);
    for (const [name, link] of this.#links) {
      if (name === tab.name) link.setAttribute("aria-current", "page");
      else link.removeAttribute("aria-current");
    }
  }

  #showChat(id, message) {
    this.element.classList.add("in-chat");
    this.#opener = location.hash;
    if (this.#chat?.id !== id) this.#openChat(id, message);
    else if (message) this.#chat.goTo(message);
    // A phone that is turned leaves the focus, and with it its keyboard.
    if (this.#chat.element.contains(document.activeElement)) return;
    if (narrow.matches) this.#chat.focusStart();
    else this.#chat.focus();
  }

  #openChat(id, message) {
    this.#closeChat();
    this.#chat = new Chat(this.#client, id, { message, back: this.#tab.hash });
    fill(this.#stage, this.#chat.element);
    this.#chat.opened();
    this.#panel.activate?.(id);
  }

  /** The conversation beside a panel stays, also over a reload. */
  #keepChat() {
    const { chat } = history.state ?? {};
    if (this.#chat) history.replaceState({ chat: this.#chat.id }, "");
    else if (chat) this.#openChat(chat);
    else this.#showNothing();
  }

  #closeChat() {
    this.#chat?.close();
    this.#chat = null;
    this.#panel?.activate?.(null);
    this.#showNothing();
  }

  #showNothing() {
    fill(this.#stage, h("div", { class: "stage-empty" }, h("p", { class: "pill" }, "Choose a conversation, or find people to talk with.")));
  }
}
