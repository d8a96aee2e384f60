// Before there is a session: logging in, and signing up.

import { fill, h } from "./dom.js";
import { field, form, pictureField } from "./form.js";
import { icon } from "./icons.js";
import { themeToggle } from "./theme.js";

/** `notice` says why one is here, if not by one's own doing. `done` is called once there is a session. */
export function welcome(client, { notice, done }) {
  const card = h("div", { class: "welcome-card" });
  const show = (make) => {
    fill(card, make());
    card.querySelector("input:not([hidden])").focus();
  };
  const swap = (question, action, make) => h("p", { class: "welcome-swap" }, question, " ", h("button", { type: "button", class: "link-button", onclick: () => show(make) }, action));
  const logIn = () => [h("h2", {}, "Log in"), logInForm(client, done), swap("New here?", "Sign up", signUp)];
  const signUp = () => [h("h2", {}, "Sign up"), signUpForm(client, done), swap("You have an account?", "Log in", logIn)];
  fill(card, logIn());
  return h(
    "main",
    { class: "welcome" },
    h("div", { class: "welcome-corner" }, themeToggle()),
    h("header", { class: "welcome-header" }, h("span", { class: "welcome-mark" }, icon("chats")), h("h1", {}, "Natter")),
    notice && h("p", { class: "welcome-notice", role: "status" }, notice),
    card,
    h("p", { class: "welcome-foot" }, "Making an app? ", h("a", { href: "/web/quick-start.html" }, "Quick start for developers")),
  );
}

function logInForm(client, done) {
  const username = field({ name: "username", label: "Username", required: true, autocomplete: "username", autocapitalize: "none", spellcheck: "false" });
  const password = field({ name: "password", label: "Password", type: "password", required: true, autocomplete: "current-password" });
  password.about = "invalid credentials";
  const submit = async (values) => {
    await client.logIn({ username: values.username.trim(), password: values.password });
    await done();
  };
  return form({ fields: [username, password], action: "Log in", submit, testid: "login-form", "aria-label": "Log in" });
}

function signUpForm(client, done) {
  const username = field({ name: "username", label: "Username", required: true, autocomplete: "username", autocapitalize: "none", spellcheck: "false", maxlength: "150" });
  const email = field({ name: "email", label: "Email", type: "email", required: true, autocomplete: "email" });
  const password = field({ name: "password", label: "Password", type: "password", required: true, autocomplete: "new-password", hint: "At least 8 characters, with upper and lower case, a digit and a special character." });
  const firstName = field({ name: "first_name", label: "First name", placeholder: "Optional", autocomplete: "given-name", maxlength: "150", dir: "auto" });
  const lastName = field({ name: "last_name", label: "Last name", placeholder: "Optional", autocomplete: "family-name", maxlength: "150", dir: "auto" });
  const picture = pictureField({ current: () => h("span", { class: "avatar large blank" }, icon("camera")), removable: () => false });
  const submit = async (values) => {
    await client.signUp({ ...values, username: values.username.trim(), email: values.email.trim(), personal_image: picture.value ?? null });
    await done();
  };
  const names = h("div", { class: "field-pair" }, firstName.element, lastName.element);
  return form({
    fields: [username, email, password, firstName, lastName, picture],
    children: [picture.element, username.element, email.element, password.element, names],
    action: "Sign up",
    submit,
    testid: "signup-form",
    "aria-label": "Sign up",
  });
}
