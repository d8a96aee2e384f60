// Nothing that was typed is lost: not in two tabs, not in a crash, not where the browser keeps nothing, not
// when the server refuses it.

import assert from "node:assert/strict";
import { test } from "node:test";
import { crash, goOffline, logIn, message, openBrowser, openChat, openPage, write } from "./support/browser.js";
import { befriend, decide, signUp } from "./support/people.js";
import { startSite } from "./support/site.js";

const { natter, browser } = await startSite();

async function pair() {
  const [ada, ben] = [await signUp(natter, "ada"), await signUp(natter, "ben")];
  return { ada, ben, conversation: await befriend(ada, ben) };
}

const composer = (page) => page.getByTestId("composer");
const NOTES = { name: "notes.txt", mimeType: "text/plain", buffer: Buffer.from("notes") };

/** Waits until the composer holds this text. */
async function holds(page, text) {
  await composer(page).waitFor();
  await page.waitForFunction((text) => document.querySelector('[data-testid="composer"]')?.value === text, text);
}

/** What was kept is looked for, and there is nothing. */
async function holdsNothing(page) {
  await page.locator("form.composer:not([aria-busy])").waitFor();
  assert.equal(await composer(page).inputValue(), "");
}

test("each tab has its own draft: what one sends leaves the other's alone", async () => {
  const { ada, ben, conversation } = await pair();
  const first = await openChat(browser, natter, ada, conversation);
  await composer(first).fill("of the first tab");
  await first.getByTestId("attach").setInputFiles(NOTES);
  await first.getByTestId("attachment-preview").waitFor();
  await first.reload();
  await holds(first, "of the first tab");
  const second = await openPage(first.context(), natter, `#/c/${conversation}`);
  await holdsNothing(second);
  // A duplicate, which begins with a copy of the tab's own storage.
  const [third] = await Promise.all([first.context().waitForEvent("page"), first.evaluate(() => void open(location.href))]);
  await holdsNothing(third);
  await write(second, "of the second tab");
  await write(third, "of the third tab");
  await message(first, "of the third tab", '[data-status="received"]').waitFor();
  for (const page of [first, second, third]) await page.reload();
  await holds(first, "of the first tab");
  await first.getByTestId("attachment-preview").waitFor();
  await holdsNothing(second);
  await holdsNothing(third);
  await composer(first).press("Enter");
  await message(second, "of the first tab", '[data-status="received"]').waitFor();
  const { results } = await ben.search("first tab");
  assert.equal(results.length, 1);
  await first.context().close();
});

test("the draft of a tab that crashed or was closed is offered in another", async () => {
  const { ada, conversation } = await pair();
  const first = await openChat(browser, natter, ada, conversation);
  const context = first.context();
  const left = await openPage(context, natter);
  await left.getByTestId("conversation").waitFor();
  await composer(first).fill("of the crashed tab");
  await first.getByTestId("attach").setInputFiles(NOTES);
  await first.getByTestId("attachment-preview").waitFor();
  await crash(first);
  await left.getByTestId("conversation").click();
  await holds(left, "of the crashed tab");
  await left.getByTestId("attachment-preview").waitFor();
  await composer(left).press("Enter");
  await message(left, "of the crashed tab", '[data-status="received"]').waitFor();

  const second = await openPage(context, natter, `#/c/${conversation}`);
  await holdsNothing(second);
  await composer(second).fill("of the closed tab");
  await second.close();
  const third = await openPage(context, natter);
  await third.getByTestId("conversation").filter({ hasText: "Draft: of the closed tab" }).click();
  await holds(third, "of the closed tab");
  await context.close();
});

test("a draft outlives a crash also where there are no Web Locks, as in a page over plain HTTP", async () => {
  const { ada, conversation } = await pair();
  const context = await openBrowser(browser);
  await context.addInitScript(() => Object.defineProperty(navigator, "locks", { value: undefined }));
  const page = await openPage(context, natter);
  await logIn(page, ada.username);
  await page.goto(`${natter.url}/#/c/${conversation}`);
  await holdsNothing(page);
  await composer(page).fill("of the crashed tab");
  await crash(page);
  const again = await openPage(context, natter, `#/c/${conversation}`);
  await holds(again, "of the crashed tab");
  await context.close();
});

test("a browser without room for drafts says so", async () => {
  const { ada, conversation } = await pair();
  const page = await openChat(browser, natter, ada, conversation);
  await holdsNothing(page);
  await page.evaluate(() => {
    for (let size = 1 << 22; size; size >>= 1) {
      try {
        for (let part = 0; ; part++) localStorage.setItem(`full ${size} ${part}`, "x".repeat(size));
      } catch {
        // Smaller ones may fit.
      }
    }
  });
  await composer(page).fill("no room for this text");
  const note = page.getByText("cannot keep your draft");
  await note.waitFor();
  await page.evaluate(() => localStorage.clear());
  await composer(page).fill("room for this text");
  await note.waitFor({ state: "detached" });
  await page.context().close();
});

/** Nothing more can be stored by the library, as on a full disk, once `full` is set in the page. */
async function withSmallDisk(context) {
  await context.addInitScript(() => {
    const put = IDBObjectStore.prototype.put;
    IDBObjectStore.prototype.put = function (...values) {
      if (window.full && this.transaction.db.name === "natter") throw new DOMException("There is no room.", "QuotaExceededError");
      return put.apply(this, values);
    };
  });
}

test("what the library cannot store stays a draft until the server has it", async () => {
  const { ada, conversation } = await pair();
  const context = await openBrowser(browser);
  await withSmallDisk(context);
  const page = await openPage(context, natter);
  await logIn(page, ada.username);
  await page.goto(`${natter.url}/#/c/${conversation}`);
  await holdsNothing(page);
  await page.evaluate(() => void (window.full = true));
  await context.setOffline(true);
  await page.getByTestId("attach").setInputFiles(NOTES);
  await write(page, "on a full disk");
  await message(page, "on a full disk", '[data-status="pending"]').waitFor();
  await page.getByText("cannot keep what is not sent yet").waitFor();
  await composer(page).fill("typed after it");
  await crash(page);
  await context.setOffline(false);

  const again = await openPage(context, natter, `#/c/${conversation}`);
  await holds(again, "on a full disk");
  await again.getByTestId("attachment-preview").waitFor();
  await again.evaluate(() => void (window.full = true));
  await goOffline(again);
  await composer(again).press("Enter");
  await again.getByText("cannot keep what is not sent yet").waitFor();
  await context.setOffline(false);
  await message(again, "on a full disk", '[data-status="received"]').waitFor();
  await again.getByText("cannot keep what is not sent yet").waitFor({ state: "detached" });
  // What was typed after it is the next draft.
  await again.reload();
  await holds(again, "typed after it");
  await composer(again).press("Enter");
  await message(again, "typed after it", '[data-status="received"]').waitFor();
  await again.reload();
  await message(again, "typed after it").waitFor();
  await holdsNothing(again);
  await context.close();
});

test("a change that was refused is there after a reload, and can be tried again, changed and discarded", async () => {
  const { ada, ben, conversation } = await pair();
  const bens = await ben.conversation(conversation).send({ text: "What Ben says" }).acked;
  await ada.conversation(conversation).send({ text: "as it was" }).acked;
  const page = await openChat(browser, natter, ada, conversation);
  const change = async (text) => {
    await message(page, "as it").hover();
    await message(page, "as it").getByTestId("message-menu").click();
    await page.getByTestId("edit").click();
    await write(page, text);
  };
  const refused = page.getByTestId("refused-edit");
  const refuse = async (text) => {
    // Without a network nothing more of the conversation is loaded.
    await message(page, "as it").waitFor();
    await goOffline(page);
    await change(text);
    await decide(ben, "reject", bens, "What Ben says");
    await page.context().setOffline(false);
    await refused.filter({ hasText: text }).waitFor();
  };
  await refuse("as it is now");
  await page.reload();
  await refused.filter({ hasText: "as it is now" }).waitFor();
  await message(page, "as it was").waitFor();
  await decide(ben, "accept", bens, "What Ben says");
  await composer(page).waitFor();
  await page.getByTestId("retry").click();
  await refused.waitFor({ state: "detached" });
  await message(page, "as it is now", '[data-status="received"]').waitFor();

  await refuse("as it will be");
  await decide(ben, "accept", bens, "What Ben says");
  await composer(page).waitFor();
  await page.getByTestId("edit").click();
  await holds(page, "as it will be");
  await write(page, "as it will be soon");
  await message(page, "as it will be soon", '[data-status="received"]').waitFor();
  assert.equal(await refused.count(), 0);

  await refuse("as it shall not be");
  await page.getByTestId("discard").click();
  await page.getByRole("dialog").getByRole("button", { name: "Discard" }).click();
  await refused.waitFor({ state: "detached" });
  await message(page, "as it will be soon").waitFor();
  await page.context().close();
});

test("what waits for the next message outlives the change of another one: its text, its files and what it answers", async () => {
  const { ada, ben, conversation } = await pair();
  await ben.conversation(conversation).send({ text: "asked by Ben" }).acked;
  await ada.conversation(conversation).send({ text: "as it was" }).acked;
  const page = await openChat(browser, natter, ada, conversation);
  await holdsNothing(page);
  const choose = async (text, action) => {
    await message(page, text).hover();
    await message(page, text).getByTestId("message-menu").click();
    await page.getByTestId(action).click();
  };
  await choose("asked by Ben", "reply");
  await composer(page).fill("answered");
  await page.getByTestId("attach").setInputFiles(NOTES);
  await page.getByTestId("attachment-preview").waitFor();
  await choose("as it was", "edit");
  await holds(page, "as it was");
  await write(page, "as it is");
  await message(page, "as it is", '[data-status="received"]').waitFor();
  await holds(page, "answered");
  await page.getByTestId("attachment-preview").waitFor();
  await page.reload();
  await holds(page, "answered");
  await page.getByTestId("attachment-preview").waitFor();
  await composer(page).press("Enter");
  await message(page, "answered", '[data-status="received"]').filter({ hasText: "asked by Ben" }).filter({ hasText: "notes.txt" }).waitFor();
  await page.context().close();
});

test("a reload with a panel open keeps the conversation beside it, and its draft", async () => {
  const { ada, conversation } = await pair();
  const page = await openChat(browser, natter, ada, conversation);
  await holdsNothing(page);
  await composer(page).fill("beside the people");
  await page.getByTestId("tab-people").click();
  await page.getByTestId("person").waitFor();
  await page.reload();
  await page.getByTestId("person").waitFor();
  await holds(page, "beside the people");
  await page.context().close();
});

for (const [what, take] of [
  ["IndexedDB", () => Object.defineProperty(window, "indexedDB", { value: undefined })],
  [
    "any storage",
    () => {
      const refuse = () => {
        throw new DOMException("Access is denied for this document.", "SecurityError");
      };
      for (const name of ["localStorage", "sessionStorage"]) Object.defineProperty(window, name, { get: refuse });
      IDBFactory.prototype.open = refuse;
    },
  ],
]) {
  test(`without ${what} one can log in and talk, and is told that it lasts as long as the page`, async () => {
    const { ada, conversation } = await pair();
    const context = await openBrowser(browser);
    await context.addInitScript(take);
    const page = await openPage(context, natter);
    await page.getByText("you stay logged in only until this page is closed").waitFor();
    await logIn(page, ada.username);
    await page.getByTestId("conversation").click();
    await write(page, "kept by nobody but the server");
    await message(page, "kept by nobody but the server", '[data-status="received"]').waitFor();
    assert.equal(await page.evaluate(() => location.hash), `#/c/${conversation}`);
    await page.getByTestId("theme-toggle").click();
    await page.reload();
    await page.getByTestId("login-form").waitFor();
    await context.close();
  });
}
