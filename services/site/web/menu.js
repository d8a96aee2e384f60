// A menu of actions that opens at a button.

import { h, arrowKeys } from "./dom.js";
import { icon } from "./icons.js";

const EDGE = 8;

/** `items`: `{ name, icon, text, danger, run }`. Opens below or above `anchor`, within the page. */
export function openMenu(anchor, items) {
  const before = document.activeElement;
  const buttons = items.map((item) =>
    h(
      "button",
      {
        type: "button",
        role: "menuitem",
        class: item.danger ? "menu-item danger" : "menu-item",
        "data-testid": item.name,
        onclick: () => {
          menu.hidePopover();
          item.run();
        },
      },
      icon(item.icon),
      item.text,
    ),
  );
  const menu = h("div", { class: "menu", role: "menu", "aria-label": "Message options", popover: "auto" }, buttons);
  arrowKeys(menu, "button");
  // Within its part of the page, for screen readers; shown above everything.
  const section = anchor.closest("section");
  section.append(menu);
  // It does not move with what is scrolled below it.
  const scrolled = (event) => menu.contains(event.target) || menu.hidePopover();
  // A finger that opened it by resting there may move.
  const ways = ["wheel", "touchstart"];
  for (const way of ways) section.addEventListener(way, scrolled, { passive: true });
  // Before the action runs, so that the action may move the focus on.
  menu.addEventListener("beforetoggle", (event) => {
    if (event.newState === "closed" && before?.isConnected) before.focus({ preventScroll: true });
  });
  menu.addEventListener("toggle", (event) => {
    if (event.newState !== "closed") return;
    for (const way of ways) section.removeEventListener(way, scrolled);
    menu.remove();
  });
  menu.addEventListener("keydown", (event) => {
    if (event.key === "Tab") menu.hidePopover();
  });
  menu.showPopover();
  const at = anchor.getBoundingClientRect();
  const { width, height } = menu.getBoundingClientRect();
  const below = at.bottom + height + EDGE < innerHeight;
  menu.style.left = `${Math.max(EDGE, Math.min(at.right - width, innerWidth - width - EDGE))}px`;
  menu.style.top = `${Math.max(EDGE, below ? at.bottom : at.top - height)}px`;
  buttons[0].focus();
}
