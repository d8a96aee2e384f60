// A user's picture, or initials in a colour that follows from the id.

import { h } from "./dom.js";
import { initials } from "./format.js";

const TINTS = 8;

function tint(id) {
  let sum = 0;
  for (const letter of id) sum = (sum * 31 + letter.codePointAt(0)) >>> 0;
  return sum % TINTS;
}

/** The page's policy admits pictures of its own origin alone, whatever host the server gives itself. */
function address(image) {
  const url = new URL(image, location.origin);
  return url.pathname + url.search;
}

export function avatar(user, size = "") {
  const element = h("span", { class: `avatar tint-${tint(user.id)} ${size}`, "aria-hidden": "true" }, initials(user));
  if (user.personal_image) {
    const picture = h("img", { src: address(user.personal_image), alt: "", loading: "lazy", draggable: "false" });
    picture.addEventListener("error", () => picture.remove());
    element.append(picture);
  }
  return element;
}

export function showOnline(element, online) {
  element.classList.toggle("online", online);
}
