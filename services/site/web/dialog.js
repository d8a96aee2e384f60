// Dialogs: a question, and a picture in full size. Focus goes back to where it was.

import { h } from "./dom.js";
import { icon } from "./icons.js";
import { form } from "./form.js";

/** Whether a click was beside the dialog: its own padding is the same target. */
function isBeside(dialog, { target, clientX: x, clientY: y }) {
  const { left, right, top, bottom } = dialog.getBoundingClientRect();
  return target === dialog && (x < left || x > right || y < top || y > bottom);
}

function open(dialog) {
  const before = document.activeElement;
  document.body.append(dialog);
  dialog.addEventListener("close", () => {
    dialog.remove();
    if (before?.isConnected) before.focus();
  });
  // A selection that is drawn out of a field ends in a click beside it too.
  let began = false;
  dialog.addEventListener("mousedown", (event) => (began = isBeside(dialog, event)));
  dialog.addEventListener("click", (event) => began && isBeside(dialog, event) && dialog.close());
  dialog.showModal();
}

/**
 * Asks; resolves to whether it was confirmed. With `fields` and `submit` it stays open until what the
 * fields say is accepted.
 */
export function ask({ title, text, action, fields = [], submit = async () => {} }) {
  return new Promise((resolve) => {
    let done = false;
    const cancel = h("button", { type: "button", class: "button", onclick: () => dialog.close() }, "Cancel");
    const content = form({
      fields,
      action,
      actionClass: "danger",
      buttons: [cancel],
      submit: async (values) => {
        await submit(values);
        done = true;
        dialog.close();
      },
    });
    const dialog = h(
      "dialog",
      { class: "dialog", "aria-labelledby": "dialog-title", "aria-describedby": "dialog-text" },
      h("h2", { id: "dialog-title" }, title),
      h("p", { id: "dialog-text" }, text),
      content,
    );
    dialog.addEventListener("close", () => resolve(done));
    open(dialog);
  });
}

/** Shows a picture as large as the page admits. */
export function lightbox(url, filename) {
  const close = h("button", { type: "button", class: "icon-button", "aria-label": "Close", autofocus: true, onclick: () => dialog.close() }, icon("close"));
  const save = h("a", { class: "icon-button", href: url, download: filename, "aria-label": `Download ${filename}` }, icon("download"));
  const dialog = h(
    "dialog",
    { class: "lightbox", "aria-label": filename },
    h("header", {}, h("span", { class: "lightbox-name", dir: "auto" }, filename), save, close),
    h("img", { src: url, alt: filename, onclick: () => dialog.close() }),
  );
  open(dialog);
}
