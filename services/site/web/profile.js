// My profile: names and picture, password, devices, logging out, deleting the account.

import { avatar } from "./avatar.js";
import { ask } from "./dialog.js";
import { act, fill, h, sentence, toast } from "./dom.js";
import { forgetDrafts, hasDrafts } from "./drafts.js";
import { field, form, pictureField } from "./form.js";
import { browserName, exactTime, listTime } from "./format.js";
import { icon } from "./icons.js";
import { skeletonRows } from "./sidebar.js";

export class ProfilePage {
  title = "Profile";
  #client;
  #devices = h("ul", { class: "rows" });

  constructor(client) {
    this.#client = client;
    this.element = h("div", { class: "panel-scroll profile" });
    this.#load();
  }

  close() {}

  async #load() {
    fill(this.element, skeletonRows());
    try {
      this.#show(await this.#client.profile.get());
    } catch (error) {
      const again = h("button", { type: "button", class: "button", onclick: () => this.#load() }, "Try again");
      fill(this.element, h("div", { class: "empty" }, h("p", {}, sentence(error)), again, this.#logOutButton()));
    }
  }

  #show(profile) {
    fill(
      this.element,
      section("About you", this.#names(profile)),
      section("Devices", this.#devices),
      section("Password", this.#password(profile)),
      section("Account", this.#logOutButton(), this.#deleteButton()),
      section("For developers", h("p", {}, h("a", { href: "/web/quick-start.html" }, "Quick start with the library"))),
    );
    this.#showDevices();
  }

  #names(profile) {
    const firstName = field({ name: "first_name", label: "First name", value: profile.first_name, maxlength: "150", autocomplete: "given-name", dir: "auto" });
    const lastName = field({ name: "last_name", label: "Last name", value: profile.last_name, maxlength: "150", autocomplete: "family-name", dir: "auto" });
    const caption = h("p", { class: "profile-account" }, h("strong", { dir: "auto" }, `@${profile.username}`), h("span", { dir: "auto" }, profile.email));
    const picture = pictureField({ current: () => avatar(profile, "large"), removable: () => Boolean(profile.personal_image), caption });
    const submit = async (change) => {
      delete change.personal_image;
      if (picture.value !== undefined) change.personal_image = picture.value;
      Object.assign(profile, await this.#client.profile.update(change));
      picture.reset();
      toast("Your profile is saved.");
    };
    return form({ fields: [picture, firstName, lastName], action: "Save", submit, "aria-label": "Names and picture" });
  }

  #password(profile) {
    const current = field({ name: "current", label: "Current password", type: "password", required: true, autocomplete: "current-password" });
    current.about = "invalid credentials";
    const next = field({ name: "new", label: "New password", type: "password", required: true, autocomplete: "new-password", hint: "At least 8 characters, with upper and lower case, a digit and a special character." });
    next.about = "password";
    const username = h("input", { type: "text", autocomplete: "username", value: profile.username, hidden: true });
    const submit = async (passwords) => {
      await this.#client.profile.changePassword(passwords);
      current.input.value = "";
      next.input.value = "";
      toast("Your password is changed. Other devices were logged out.");
      this.#showDevices();
    };
    return form({ fields: [current, next], children: [username, current.element, next.element], action: "Change password", submit, "aria-label": "Password" });
  }

  async #showDevices() {
    try {
      const sessions = await this.#client.profile.sessions();
      sessions.sort((a, b) => b.current - a.current || b.last_used_at.localeCompare(a.last_used_at));
      fill(this.#devices, sessions.map((session) => this.#device(session)));
    } catch (error) {
      fill(this.#devices, h("li", { class: "result-status" }, sentence(error)));
    }
  }

  #device(session) {
    const name = browserName(session.user_agent);
    const used = session.current ? "This device" : h("span", {}, "Last used ", h("time", { datetime: session.last_used_at, title: exactTime(session.last_used_at) }, listTime(session.last_used_at)));
    const end = async () => {
      await this.#client.profile.endSession(session.sid);
      await this.#showDevices();
    };
    return h(
      "li",
      { class: "person", "data-testid": "session", "data-sid": session.sid },
      h("div", { class: "row" }, h("span", { class: "row-icon" }, icon("device")), h("span", { class: "row-words" }, h("span", { class: "row-name", title: session.user_agent }, name), h("span", { class: "row-last" }, used))),
      h("span", { class: "person-actions" }, !session.current && h("button", { type: "button", class: "button small", "data-testid": "end-session", "aria-label": `Log out ${name}`, onclick: (event) => act(event.currentTarget, end) }, "Log out")),
    );
  }

  #logOutButton() {
    return h("button", { type: "button", class: "button wide", "data-testid": "logout", onclick: (event) => act(event.currentTarget, () => this.#logOut()) }, icon("logout"), "Log out");
  }

  async #logOut() {
    const { user } = this.#client;
    const { unsent } = this.#client;
    if (unsent || (await hasDrafts(user))) {
      const what = unsent ? `${unsent === 1 ? "One message is" : `${unsent} messages are`} not sent yet` : "There are drafts that you did not send";
      if (!(await ask({ title: "Log out now?", text: `${what}. On logging out this is deleted.`, action: "Log out" }))) return;
    }
    await this.#client.logOut();
    await forgetDrafts(user);
  }

  #deleteButton() {
    const remove = () => {
      const { user } = this.#client;
      const password = field({ name: "password", label: "Your password", type: "password", required: true, autocomplete: "current-password" });
      password.about = "invalid credentials";
      const text = "You are logged out everywhere and your friendships end. What you wrote stays with your friends. This cannot be undone.";
      const submit = async (values) => {
        await this.#client.profile.delete(values);
        await forgetDrafts(user);
      };
      ask({ title: "Delete your account?", text, action: "Delete account", fields: [password], submit });
    };
    return h("button", { type: "button", class: "button wide danger-quiet", "data-testid": "delete-account", onclick: remove }, icon("trash"), "Delete account");
  }
}

function section(title, ...children) {
  return h("section", { class: "profile-section", "aria-label": title }, h("h2", { class: "section-title" }, title), ...children);
}
