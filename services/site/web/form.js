// Forms whose errors stand below the field concerned.

import { h, fill, sentence } from "./dom.js";

let serial = 0;

/** A labelled field: `{ name, label, hint, required, … }`, the rest being attributes of the input. */
export function field({ label, hint, required, ...attributes }) {
  const id = `field-${++serial}`;
  const input = h("input", { id, type: "text", ...attributes, "aria-required": required && "true" });
  const error = h("p", { id: `${id}-error`, class: "field-error", role: "alert" });
  const note = hint && h("p", { id: `${id}-hint`, class: "field-hint" }, hint);
  input.setAttribute("aria-describedby", hint ? `${id}-hint ${id}-error` : `${id}-error`);
  const element = h("div", { class: "field" }, h("label", { for: id }, label), input, note, error);
  const setError = (text) => {
    error.textContent = text;
    if (text) input.setAttribute("aria-invalid", "true");
    else input.removeAttribute("aria-invalid");
  };
  input.addEventListener("input", () => setError(""));
  return { element, input, name: attributes.name, required, setError };
}

/** The field that a sentence of the server speaks of first. */
function fieldOf(text, fields) {
  const lower = text.toLowerCase();
  const found = fields
    .map((field) => ({ field, at: lower.indexOf(field.about ?? field.name.replace("_", " ")) }))
    .filter(({ at }) => at >= 0)
    .sort((a, b) => a.at - b.at);
  return found[0]?.field;
}

/**
 * A form of fields, other elements between them and one button. `submit` gets the values by name; what it
 * throws is said below the field that the sentence speaks of, else above the button.
 */
export function form({ fields, action, submit, testid, actionClass = "primary", children, buttons = [], ...attributes }) {
  const failure = h("p", { class: "field-error form-error", role: "alert" });
  const button = h("button", { type: "submit", class: `button ${actionClass}` }, action);
  const say = (text, field) => {
    if (field) {
      field.setError(text);
      field.input.focus();
    } else failure.textContent = text;
  };
  const element = h(
    "form",
    { class: "form", novalidate: true, "data-testid": testid, ...attributes },
    children ?? fields.map((field) => field.element),
    failure,
    h("div", { class: "form-buttons" }, buttons, button),
  );
  element.addEventListener("submit", async (event) => {
    event.preventDefault();
    if (button.hasAttribute("aria-disabled")) return;
    failure.textContent = "";
    for (const field of fields) field.setError("");
    const missing = fields.filter((field) => field.required && !field.input.value.trim());
    for (const field of missing) field.setError("Please fill this in.");
    if (missing.length) return missing[0].input.focus();
    // Not disabled: the focus would be lost.
    button.setAttribute("aria-disabled", "true");
    try {
      await submit(Object.fromEntries(fields.map((field) => [field.name, field.input.value])));
    } catch (error) {
      const text = sentence(error);
      say(text, error?.code !== "offline" && fieldOf(text, fields));
    } finally {
      button.removeAttribute("aria-disabled");
    }
  });
  return element;
}

/** A picture with a button to choose another; `value` is undefined as long as nothing was chosen. `caption` stands above the button. */
export function pictureField({ current, removable, caption }) {
  const input = h("input", { type: "file", accept: "image/png,image/jpeg,image/webp,image/gif", hidden: true, name: "personal_image" });
  const face = h("span", { class: "picture-face" }, current());
  const error = h("p", { class: "field-error", role: "alert" });
  const remove = h("button", { type: "button", class: "button quiet" }, "Remove picture");
  const choose = h("button", { type: "button", class: "button", onclick: () => input.click() }, "Choose picture");
  const picture = {
    value: undefined,
    name: "personal_image",
    about: "image",
    input: choose,
    setError: (text) => (error.textContent = text),
    element: h("div", { class: "field picture" }, face, h("div", { class: "picture-buttons" }, caption, choose, remove, error), input),
    reset() {
      picture.value = undefined;
      input.value = "";
      fill(face, current());
      remove.hidden = !removable();
    },
  };
  input.addEventListener("change", () => {
    const [file] = input.files;
    if (!file) return;
    picture.value = file;
    picture.setError("");
    const url = URL.createObjectURL(file);
    const image = h("img", { src: url, alt: "The chosen picture" });
    image.addEventListener("load", () => URL.revokeObjectURL(url));
    image.addEventListener("error", () => {
      picture.reset();
      picture.setError("This file is not a picture that can be shown.");
    });
    fill(face, h("span", { class: "avatar large" }, image));
    remove.hidden = false;
  });
  remove.addEventListener("click", () => {
    const chosen = picture.value;
    picture.reset();
    if (chosen || !removable()) return;
    picture.value = null;
    fill(face, h("span", { class: "avatar large blank" }));
    remove.hidden = true;
  });
  picture.reset();
  return picture;
}
