// Making and ordering elements. Text only ever becomes text nodes: nothing here parses HTML.

/**
 * An element. Of the properties, `on…` are listeners, `class` and `value` are set as such, the rest are
 * attributes; absent, null and false ones are left out, as are such children.
 */
export function h(tag, properties = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(properties)) {
    if (value === undefined || value === null || value === false) continue;
    if (name.startsWith("on")) element.addEventListener(name.slice(2), value);
    else if (name === "class") element.className = value;
    else if (name === "value") element.value = value;
    else element.setAttribute(name, value === true ? "" : value);
  }
  element.append(...present(children));
  return element;
}

function present(children) {
  return children.flat().filter((child) => child !== undefined && child !== null && child !== false);
}

/** Replaces all children. */
export function fill(element, ...children) {
  element.replaceChildren(...present(children));
}

/**
 * Makes `nodes` the children of `parent`, in this order. Those that stay in order are not moved, so that
 * they keep their focus, their selection and what they play.
 */
export function arrange(parent, nodes) {
  const wanted = new Set(nodes);
  for (const child of [...parent.childNodes]) if (!wanted.has(child)) child.remove();
  let at = parent.firstChild;
  for (const node of nodes) {
    if (node === at) at = at.nextSibling;
    else parent.insertBefore(node, at);
  }
}

/** Sets a text only if it changed. */
export function setText(element, text) {
  if (element.textContent !== text) element.textContent = text;
}

/** Words for screen readers alone. */
export function hidden(text) {
  return h("span", { class: "sr-only" }, text);
}

/** `fn`, at most once a frame, with the newest argument. In a hidden page, where no frames come, soon. */
export function eachFrame(fn) {
  let waiting = false;
  let newest;
  const run = () => {
    waiting = false;
    fn(newest);
  };
  return (value) => {
    newest = value;
    if (waiting) return;
    waiting = true;
    if (document.hidden) setTimeout(run, 100);
    else requestAnimationFrame(run);
  };
}

/** The arrow keys, Home and End move the focus among the elements that `selector` finds in `list`. */
export function arrowKeys(list, selector) {
  list.addEventListener("keydown", (event) => {
    const step = { ArrowDown: 1, ArrowUp: -1, Home: -Infinity, End: Infinity }[event.key];
    const here = event.target.closest(selector);
    if (!step || !here || event.target.matches("input, textarea, audio, video")) return;
    const all = [...list.querySelectorAll(selector)];
    const index = Math.min(Math.max(all.indexOf(here) + step, 0), all.length - 1);
    all[index].focus();
    event.preventDefault();
  });
}

/** There before the first of them: screen readers say what changes in it. */
const toasts = h("div", { class: "toasts", role: "status" });
document.body.append(toasts);

/** Says a sentence at the edge of the page for some seconds. */
export function toast(text) {
  const element = h("p", { class: "toast" }, text);
  toasts.append(element);
  setTimeout(() => element.remove(), 6000);
}

/** What an error says to the person. */
export function sentence(error) {
  if (error?.code === "offline") return "Natter cannot be reached. Please try again when you are online.";
  if (error?.code === "channel_closed") return "The friendship had ended.";
  return error?.message || "Something went wrong.";
}

/** Runs an action of a button, which does nothing else meanwhile but keeps the focus, and says what went wrong. */
export async function act(button, action) {
  if (button.hasAttribute("aria-disabled")) return;
  button.setAttribute("aria-disabled", "true");
  try {
    await action();
  } catch (error) {
    toast(sentence(error));
  } finally {
    button.removeAttribute("aria-disabled");
  }
}
