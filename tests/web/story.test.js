// The web client in Chromium against a real Natter: what two people do with it from signing up on.

import assert from "node:assert/strict";
import { test } from "node:test";
import { crash, goOffline, logIn, message, messages, openBrowser, openChat, openPage, write } from "./support/browser.js";
import { PASSWORD, befriend, decide, nameFor, signUp } from "./support/people.js";
import { startSite } from "./support/site.js";

const { natter, browser } = await startSite();

/** A picture, one pixel wide. */
const PICTURE = {
  name: "me.png",
  mimeType: "image/png",
  buffer: Buffer.from(
    "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNkYPhfDwAChwGA60e6kgAAAABJRU5ErkJggg==",
    "base64",
  ),
};

async function signUpInPage(page, username, firstName) {
  await page.getByRole("button", { name: "Sign up" }).click();
  const form = page.getByTestId("signup-form");
  await form.locator('[name="username"]').fill(username);
  await form.locator('[name="email"]').fill(`${username}@example.com`);
  await form.locator('[name="password"]').fill(PASSWORD);
  await form.locator('[name="first_name"]').fill(firstName);
  await form.locator('input[type="file"]').setInputFiles(PICTURE);
  await form.locator('button[type="submit"]').click();
  await page.getByTestId("tab-conversations").waitFor();
}

test("two people sign up, become friends and talk", async () => {
  const [ada, ben] = [nameFor("ada"), nameFor("ben")];
  const [adas, bens] = [await openBrowser(browser), await openBrowser(browser)];
  const [adaPage, benPage] = [await openPage(adas, natter), await openPage(bens, natter)];
  await signUpInPage(adaPage, ada, "Ada");
  await signUpInPage(benPage, ben, "Ben");

  await adaPage.getByTestId("tab-people").click();
  await adaPage.getByRole("searchbox").fill(ben);
  await adaPage.locator(`[data-testid="person"][data-user="${ben}"]`).getByTestId("ask").click();
  const requests = benPage.getByTestId("tab-people").locator(".badge");
  await requests.filter({ hasText: /^1 requests$/ }).waitFor();
  await benPage.getByTestId("tab-people").click();
  await benPage.locator(`[data-testid="person"][data-user="${ada}"]`).getByTestId("accept").click();
  await requests.waitFor({ state: "hidden" });

  for (const [page, friend] of [[adaPage, ben], [benPage, ada]]) {
    await page.getByTestId("tab-conversations").click();
    await page.locator(`[data-testid="conversation"][data-friend="${friend}"]`).click();
  }
  await benPage.getByTestId("composer").pressSequentially("He");
  await adaPage.getByTestId("typing").first().waitFor();
  await write(benPage, "Hello, Ada");
  await message(adaPage, "Hello, Ada", '[data-mine="false"]').waitFor();
  // Both look at it: seen.
  await message(benPage, "Hello, Ada", '[data-status="seen"]').waitFor();

  await message(benPage, "Hello, Ada").hover();
  await message(benPage, "Hello, Ada").getByTestId("message-menu").click();
  await benPage.getByTestId("edit").click();
  await write(benPage, "Hello, dear Ada");
  await message(adaPage, "Hello, dear Ada").waitFor();

  await message(adaPage, "Hello, dear Ada").hover();
  await message(adaPage, "Hello, dear Ada").getByTestId("message-menu").click();
  await adaPage.getByTestId("reply").click();
  await write(adaPage, "And to you");
  await message(benPage, "And to you").filter({ hasText: "Hello, dear Ada" }).waitFor();

  await adaPage.getByTestId("attach").setInputFiles([PICTURE, { name: "notes.txt", mimeType: "text/plain", buffer: Buffer.from("notes") }]);
  await adaPage.getByTestId("attachment-preview").nth(1).waitFor();
  await write(adaPage, "With files");
  await message(benPage, "With files").filter({ hasText: "notes.txt" }).waitFor();
  await message(benPage, "With files").locator("img").first().waitFor();

  await message(adaPage, "And to you").hover();
  await message(adaPage, "And to you").getByTestId("message-menu").click();
  await adaPage.getByTestId("delete").click();
  await adaPage.getByRole("dialog").getByRole("button", { name: "Delete" }).click();
  await message(benPage, "And to you").waitFor({ state: "detached" });

  await benPage.getByTestId("tab-search").click();
  await benPage.getByTestId("search-input").fill("files");
  await benPage.getByTestId("search-result").first().click();
  await message(benPage, "With files").waitFor();

  await adaPage.reload();
  await message(adaPage, "Hello, dear Ada").waitFor();
  await adaPage.getByTestId("tab-profile").click();
  await adaPage.getByTestId("session").first().waitFor();
  await adaPage.getByTestId("logout").click();
  await adaPage.getByTestId("login-form").waitFor();
  await adaPage.reload();
  await adaPage.getByTestId("login-form").waitFor();
  await adas.close();
  await bens.close();
});

async function pair() {
  const [ada, ben] = [await signUp(natter, "ada"), await signUp(natter, "ben")];
  return { ada, ben, conversation: await befriend(ada, ben) };
}

test("unread messages are counted until they are looked at", async () => {
  const { ada, ben, conversation } = await pair();
  const page = await openPage(await openBrowser(browser), natter);
  await logIn(page, ada.username);
  const row = page.getByTestId("conversation");
  const badge = page.getByTestId("tab-conversations").locator(".badge");
  for (const [index, text] of ["first", "second"].entries()) {
    await ben.conversation(conversation).send({ text }).acked;
    await row.getByTestId("unread").filter({ hasText: `${index + 1}` }).waitFor();
    await badge.filter({ hasText: new RegExp(`^${index + 1} unread messages$`) }).waitFor();
    await page.waitForFunction((title) => document.title === title, `(${index + 1}) Natter`);
  }
  await row.click();
  await page.getByRole("separator").filter({ hasText: "New messages" }).waitFor();
  await row.getByTestId("unread").waitFor({ state: "hidden" });
  await badge.waitFor({ state: "hidden" });
  await page.waitForFunction(() => document.title === "Natter");
  await page.context().close();
});

test("a friend's presence is shown as it changes", async () => {
  const { ada, ben, conversation } = await pair();
  const page = await openChat(browser, natter, ada, conversation);
  const status = page.locator(".chat-header .chat-status");
  const row = page.getByTestId("conversation");
  await status.filter({ hasText: /^online$/ }).waitFor();
  await row.filter({ hasText: "(online)" }).waitFor();
  ben.close();
  await status.filter({ hasText: /^last seen just now$/ }).waitFor({ timeout: 60_000 });
  await row.filter({ hasNotText: "(online)" }).waitFor();
  await ben.connect();
  await status.filter({ hasText: /^online$/ }).waitFor();
  await page.context().close();
});

test("days are told apart", async () => {
  const { ada, ben, conversation } = await pair();
  for (const text of ["of yesterday", "of today"]) await ben.conversation(conversation).send({ text }).acked;
  const context = await openBrowser(browser);
  // The same messages, the first of them sent a day earlier.
  await context.route("**/messages/?*", async (route) => {
    const response = await route.fetch();
    const page = await response.json();
    const first = page.results.find(({ message }) => message.content === "of yesterday")?.message;
    if (first) first.created_at = new Date(new Date(first.created_at) - 86_400_000).toISOString();
    await route.fulfill({ response, json: page });
  });
  const page = await openPage(context, natter);
  await logIn(page, ada.username);
  await page.getByTestId("conversation").click();
  await message(page, "of today").waitFor();
  const shown = await page.locator(".messages > :is(.day, .message)").evaluateAll((all) => all.map((each) => (each.matches(".day") ? each : each.querySelector(".text")).textContent));
  assert.deepEqual(shown, ["Yesterday", "of yesterday", "Today", "of today"]);
  await context.close();
});

test("a request is rejected: whoever asked is told, and cannot ask again", async () => {
  const [ada, ben] = [await signUp(natter, "ada"), await signUp(natter, "ben")];
  await ben.friends.ask(ada.user);
  const [adaPage, benPage] = [await openPage(await openBrowser(browser), natter, "#/people"), await openPage(await openBrowser(browser), natter, "#/people")];
  await logIn(adaPage, ada.username);
  await logIn(benPage, ben.username);
  const badge = adaPage.getByTestId("tab-people").locator(".badge");
  await badge.waitFor();
  await adaPage.getByRole("region", { name: "Requests" }).getByTestId("reject").click();
  await adaPage.getByRole("region", { name: "Rejected" }).getByText("rejected by you").waitFor();
  await badge.waitFor({ state: "hidden" });
  const row = benPage.getByRole("region", { name: "Rejected" }).getByTestId("person");
  await row.filter({ hasText: "does not want to be asked" }).waitFor();
  assert.equal(await row.getByRole("button").count(), 0);
  await adaPage.context().close();
  await benPage.context().close();
});

test("a message that was refused is tried again, or discarded", async () => {
  const { ada, ben, conversation } = await pair();
  const bens = await ben.conversation(conversation).send({ text: "What Ben says" }).acked;
  const page = await openChat(browser, natter, ada, conversation);
  await goOffline(page);
  for (const text of ["to be tried again", "to be discarded"]) {
    await write(page, text);
    await message(page, text, '[data-status="pending"]').waitFor();
  }
  await decide(ben, "reject", bens, "What Ben says");
  await page.context().setOffline(false);
  const failed = (text) => message(page, text, '[data-status="failed"]');
  for (const text of ["to be tried again", "to be discarded"]) await failed(text).getByTestId("retry").waitFor();
  await page.reload();
  await failed("to be discarded").getByTestId("discard").click();
  await page.getByRole("dialog").getByRole("button", { name: "Cancel" }).click();
  await failed("to be discarded").getByTestId("discard").click();
  await page.getByRole("dialog").getByRole("button", { name: "Discard" }).click();
  await failed("to be discarded").waitFor({ state: "detached" });
  await decide(ben, "accept", bens, "What Ben says");
  await failed("to be tried again").getByTestId("retry").click();
  await message(page, "to be tried again", '[data-status="received"]').waitFor();
  await page.reload();
  await message(page, "to be tried again", '[data-status="received"]').waitFor();
  assert.equal(await message(page, "to be").count(), 1);
  await page.context().close();
});

test("another device is logged out from the list of devices", async () => {
  const ada = await signUp(natter, "ada");
  const userAgent = "Mozilla/5.0 (Windows NT 10.0; rv:140.0) Gecko/20100101 Firefox/140.0";
  const [here, there] = [await openPage(await openBrowser(browser), natter), await openPage(await openBrowser(browser, { userAgent }), natter)];
  await logIn(there, ada.username);
  await logIn(here, ada.username);
  await here.getByTestId("tab-profile").click();
  const device = here.getByTestId("session").filter({ hasText: "Firefox on Windows" });
  await here.getByTestId("session").filter({ hasText: "This device" }).waitFor();
  await device.getByTestId("end-session").click();
  await there.getByTestId("login-form").waitFor();
  await device.waitFor({ state: "detached" });
  await here.getByTestId("session").filter({ hasText: "This device" }).waitFor();
  await here.context().close();
  await there.context().close();
});

test("what was sent without a network outlives a crash of the tab, and goes out once and in order", async () => {
  const { ada, ben, conversation } = await pair();
  const page = await openChat(browser, natter, ada, conversation);
  const context = page.context();
  await goOffline(page);
  const texts = ["one", "two", "three"];
  for (const text of texts) {
    await write(page, text);
    await message(page, text, '[data-status="pending"]').waitFor();
  }
  await page.getByTestId("composer").fill("not sent yet");
  await crash(page);
  await context.setOffline(false);
  const again = await openPage(context, natter, `#/c/${conversation}`);
  for (const text of texts) await message(again, text, '[data-status]:not([data-status="pending"])').waitFor();
  assert.equal(await again.getByTestId("composer").inputValue(), "not sent yet");
  const stored = [];
  const all = new Promise((resolve) =>
    ben.conversation(conversation).subscribe((window) => window.messages.length >= texts.length && resolve(window.messages)),
  );
  stored.push(...(await all).map(({ content }) => content));
  assert.deepEqual(stored, texts);
  await context.close();
});

test("a page outlives a restart of the server", async () => {
  const { ada, ben, conversation } = await pair();
  const page = await openChat(browser, natter, ada, conversation);
  await natter.down();
  await page.getByTestId("offline-banner").waitFor();
  await write(page, "written while the server was away");
  await natter.up();
  // Both sides wait the longer between their tries, the longer the server was away.
  await message(page, "written while", '[data-status="received"]').waitFor({ timeout: 120_000 });
  await page.getByTestId("offline-banner").waitFor({ state: "hidden" });
  assert.ok(ben.user);
  await page.context().close();
});

test("two tabs share one connection, and the second goes on when the first is closed", async () => {
  const { ada, ben, conversation } = await pair();
  const opened = [];
  const context = await openBrowser(browser);
  context.on("page", (page) => page.on("websocket", () => opened.push(page)));
  const first = await openPage(context, natter);
  await logIn(first, ada.username);
  const second = await openPage(context, natter, `#/c/${conversation}`);
  await write(second, "from the second tab");
  await message(second, "from the second tab", '[data-status="received"]').waitFor();
  assert.deepEqual(opened.map((page) => page === first), [true]);
  await first.close();
  const sent = ben.conversation(conversation).send({ text: "to the tab that is left" });
  await sent.acked;
  await message(second, "to the tab that is left").waitFor();
  await write(second, "and back");
  await message(second, "and back", '[data-status="received"]').waitFor();
  assert.deepEqual(opened.map((page) => page === first), [true, false]);
  await context.close();
});

test("a tab shows how far a file is that another tab sends", async () => {
  const { ada, conversation } = await pair();
  const context = await openBrowser(browser);
  const first = await openPage(context, natter);
  await logIn(first, ada.username);
  const second = await openPage(context, natter, `#/c/${conversation}`);
  await second.getByTestId("composer").waitFor();
  const devtools = await context.newCDPSession(first);
  const slow = (uploadThroughput) => devtools.send("Network.emulateNetworkConditions", { offline: false, latency: 0, downloadThroughput: -1, uploadThroughput });
  // Some minutes' worth.
  await slow(20_000);
  await second.getByTestId("attach").setInputFiles({ name: "long.bin", mimeType: "application/octet-stream", buffer: Buffer.alloc(4_000_000) });
  await second.getByTestId("send").click();
  await second.waitForFunction(() => {
    const bar = document.querySelector(".message progress");
    return bar && bar.value > 0 && bar.value < 1;
  });
  await slow(-1);
  await message(second, "long.bin", '[data-status="received"]').waitFor({ timeout: 120_000 });
  await context.close();
});

test("a friendship is ended and taken back, live on both sides; a profile and the theme are changed", async () => {
  const { ada, ben, conversation } = await pair();
  const adaPage = await openChat(browser, natter, ada, conversation);
  const benPage = await openChat(browser, natter, ben, conversation);
  await adaPage.getByTestId("tab-people").click();
  const bensRow = adaPage.locator(`[data-testid="person"][data-user="${ben.username}"]`);
  await bensRow.getByTestId("reject").click();
  await adaPage.getByRole("dialog").getByRole("button").last().click();
  for (const page of [adaPage, benPage]) await page.getByTestId("composer").waitFor({ state: "hidden" });
  await bensRow.getByTestId("accept").click();
  for (const page of [adaPage, benPage]) await page.getByTestId("composer").waitFor();

  await adaPage.getByTestId("tab-profile").click();
  await adaPage.locator('[name="first_name"]').fill("Augusta");
  await adaPage.getByRole("button", { name: "Save" }).click();
  await benPage.reload();
  await benPage.locator("header").getByText("Augusta").waitFor();
  const scheme = () => adaPage.evaluate(() => getComputedStyle(document.documentElement).colorScheme);
  const before = await scheme();
  await adaPage.getByTestId("theme-toggle").click();
  const toggled = await scheme();
  assert.notEqual(toggled, before);
  await adaPage.reload();
  await adaPage.getByTestId("theme-toggle").waitFor();
  assert.equal(await scheme(), toggled);
  await adaPage.context().close();
  await benPage.context().close();
});

test("files come by paste and by drop", async () => {
  const { ada, ben, conversation } = await pair();
  const page = await openChat(browser, natter, ada, conversation);
  const give = (type, name) =>
    page.getByTestId("composer").evaluate(
      (composer, [type, name]) => {
        const files = new DataTransfer();
        files.items.add(new File(["content"], name, { type: "text/plain" }));
        const detail = { bubbles: true, cancelable: true };
        const event = type === "paste" ? new ClipboardEvent(type, { ...detail, clipboardData: files }) : new DragEvent(type, { ...detail, dataTransfer: files });
        composer.dispatchEvent(event);
      },
      [type, name],
    );
  await give("paste", "pasted.txt");
  await page.getByTestId("attachment-preview").waitFor();
  await give("drop", "dropped.txt");
  await page.getByTestId("attachment-preview").nth(1).waitFor();
  await write(page, "two files");
  await message(page, "two files", '[data-status="received"]').waitFor();
  const { results } = await ben.search("two files");
  assert.deepEqual(results[0].media.map(({ filename }) => filename), ["pasted.txt", "dropped.txt"]);
  await page.context().close();
});

test("two people in two tabs of one browser are two people", async () => {
  const { ada, ben, conversation } = await pair();
  const context = await openBrowser(browser);
  const tabs = [await openPage(context, natter), await openPage(context, natter)];
  for (const [index, { username }] of [ada, ben].entries()) {
    await logIn(tabs[index], username);
    await tabs[index].goto(`${natter.url}/#/c/${conversation}`);
  }
  await write(tabs[1], "from Ben");
  await message(tabs[0], "from Ben", '[data-mine="false"]').waitFor();
  await write(tabs[0], "from Ada");
  await message(tabs[1], "from Ada", '[data-mine="false"]').waitFor();
  await message(tabs[1], "from Ben", '[data-mine="true"]').waitFor();
  await context.close();
});

test("a logout in one tab is one in all, and what a closed tab had under way is sent by another", async () => {
  const { ada, ben, conversation } = await pair();
  const context = await openBrowser(browser);
  const first = await openPage(context, natter);
  await logIn(first, ada.username);
  const second = await openPage(context, natter, `#/c/${conversation}`);
  await second.getByTestId("composer").waitFor();
  await context.setOffline(true);
  await write(second, "written in the second tab");
  await message(second, "written in the second tab", '[data-status="pending"]').waitFor();
  await first.close();
  await context.setOffline(false);
  await message(second, "written in the second tab", '[data-status="received"]').waitFor({ timeout: 90_000 });
  const { results } = await ben.search("second tab");
  assert.equal(results.length, 1);
  const third = await openPage(context, natter);
  await third.getByTestId("tab-profile").click();
  await third.getByTestId("logout").click();
  for (const page of [second, third]) {
    await page.getByTestId("login-form").waitFor();
    const left = await page.evaluate(() => document.documentElement.outerHTML);
    assert.ok(!left.includes("second tab") && !left.includes(ben.username), "nothing of what was read is left in the page");
    assert.deepEqual(await page.evaluate(() => [document.title, location.hash]), ["Natter", "#/"]);
  }
  await context.close();
});

test("a session that is ended elsewhere closes the page's", async () => {
  const { ada, conversation } = await pair();
  const page = await openChat(browser, natter, ada, conversation);
  const sessions = await ada.profile.sessions();
  await ada.profile.endSession(sessions.find((session) => !session.current).sid);
  await page.getByTestId("login-form").waitFor();
  await page.context().close();
});

test("a long conversation is scrolled back to its beginning with few elements in the page", async () => {
  const { ada, ben, conversation } = await pair();
  const count = 600;
  const chat = ben.conversation(conversation);
  const sent = Array.from({ length: count }, (_, index) => chat.send({ text: `number ${index}.` }));
  await sent.at(-1).acked;
  const page = await openChat(browser, natter, ada, conversation);
  await message(page, `number ${count - 1}.`).waitFor();
  const devtools = await page.context().newCDPSession(page);
  /** Nodes and listeners that the page holds, in the document or not. */
  const held = async () => {
    await devtools.send("HeapProfiler.collectGarbage");
    const { nodes, jsEventListeners } = await devtools.send("Memory.getDOMCounters");
    return nodes + jsEventListeners;
  };
  const rounds = [];
  for (let round = 0; round < 3; round++) {
    let most = 0;
    for (;;) {
      most = Math.max(most, await messages(page).count());
      if (await message(page, "number 0.").count()) break;
      await page.getByTestId("scroller").evaluate((scroller) => scroller.scrollTo(0, 0));
    }
    assert.ok(most <= 200, `${most} messages in the page`);
    rounds.push(await held());
    await page.getByTestId("to-latest").click();
    await message(page, `number ${count - 1}.`).waitFor();
  }
  assert.ok(rounds.at(-1) < rounds[0] * 1.1, `flat: ${rounds}`);
  await page.context().close();
});

test("who goes from a message that was found down to the end stays there, whatever was unread", async () => {
  const { ada, ben, conversation } = await pair();
  const chat = ben.conversation(conversation);
  const sent = Array.from({ length: 120 }, (_, index) => chat.send({ text: `number ${index}.` }));
  await sent.at(-1).acked;
  const page = await openPage(await openBrowser(browser), natter);
  await logIn(page, ada.username);
  await page.getByTestId("conversation").getByTestId("unread").filter({ hasText: "120" }).waitFor();
  await page.goto(`${natter.url}/#/c/${conversation}/${sent[5].id}`);
  await message(page, "number 5.").waitFor();
  const scroller = page.getByTestId("scroller");
  for (const giveUp = Date.now() + 30_000; !(await message(page, "number 119.").count()); ) {
    assert.ok(Date.now() < giveUp, "the end is not reached");
    await scroller.evaluate((element) => element.scrollTo(0, element.scrollHeight));
  }
  // Its being seen is told, and shown.
  await scroller.evaluate((element) => element.scrollTo(0, element.scrollHeight));
  await page.getByTestId("conversation").getByTestId("unread").waitFor({ state: "hidden" });
  await page.getByTestId("to-latest").waitFor({ state: "hidden" });
  const below = await scroller.evaluate((element) => element.scrollHeight - element.scrollTop - element.clientHeight);
  assert.ok(below < 40, `${below} pixels below`);
  await page.context().close();
});

test("a conversation opens at what is unread, also where that is further back than the first page of it", async () => {
  const { ada, ben, conversation } = await pair();
  const chat = ben.conversation(conversation);
  const sent = Array.from({ length: 80 }, (_, index) => chat.send({ text: `number ${index}.` }));
  await sent.at(-1).acked;
  const page = await openPage(await openBrowser(browser), natter);
  await logIn(page, ada.username);
  const row = page.getByTestId("conversation");
  await row.getByTestId("unread").filter({ hasText: "80" }).waitFor();
  await row.click();
  await page.getByRole("separator").filter({ hasText: "New messages" }).waitFor();
  await page.getByTestId("to-latest").filter({ hasText: "80 new" }).waitFor();
  await page.getByTestId("to-latest").click();
  await row.getByTestId("unread").waitFor({ state: "hidden" });
  await page.context().close();
});
