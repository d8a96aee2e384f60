// Light and dark: as the system has it, until a person chooses; the choice is kept on this device.

import { h } from "./dom.js";
import { icon } from "./icons.js";

const KEY = "natter.theme";
const root = document.documentElement;
const system = matchMedia("(prefers-color-scheme: dark)");

function dark() {
  return root.dataset.theme ? root.dataset.theme === "dark" : system.matches;
}

try {
  const chosen = localStorage.getItem(KEY);
  if (chosen === "light" || chosen === "dark") root.dataset.theme = chosen;
} catch {
  // A browser that keeps nothing: the system's theme, and below for this page alone.
}

/** A button that changes between light and dark. */
export function themeToggle() {
  const button = h("button", { type: "button", class: "icon-button", "data-testid": "theme-toggle" });
  const show = () => {
    const next = dark() ? "light" : "dark";
    const label = `Change to ${next} colours`;
    button.setAttribute("aria-label", label);
    button.title = label;
    button.replaceChildren(icon(next === "dark" ? "moon" : "sun"));
  };
  button.addEventListener("click", () => {
    root.dataset.theme = dark() ? "light" : "dark";
    show();
    try {
      localStorage.setItem(KEY, root.dataset.theme);
    } catch {
      // As above.
    }
  });
  system.addEventListener("change", () => button.isConnected && show());
  show();
  return button;
}
