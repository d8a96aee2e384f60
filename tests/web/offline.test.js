// Without a connection: the page says so as long as it lasts, and what is sent meanwhile arrives once.

import assert from "node:assert/strict";
import { test } from "node:test";
import { logIn, message, openBrowser, openPage, write } from "./support/browser.js";
import { befriend, signUp } from "./support/people.js";
import { startSite } from "./support/site.js";

const { natter, browser } = await startSite();

/**
 * A person's page whose WebSockets `net.answer` treats, and whose calls go through unless `net.isDown`;
 * the page itself can always be loaded. `net.tries` are the WebSockets opened so far.
 */
async function openBehind(net) {
  const [ada, ben] = [await signUp(natter, "ada"), await signUp(natter, "ben")];
  const conversation = await befriend(ada, ben);
  const context = await openBrowser(browser);
  net.tries = 0;
  net.tried = () => {};
  await context.routeWebSocket("**/ws/messages/", (socket) => {
    net.tries++;
    net.tried();
    if (net.isDown) socket.close();
    else net.answer(socket);
  });
  await context.route("**/api/**", (route) => (net.isDown ? route.abort() : route.fallback()));
  const page = await openPage(context, natter);
  await logIn(page, ada.username);
  await page.goto(`${natter.url}/#/c/${conversation}`);
  await page.getByTestId("composer").waitFor();
  return { page, banner: page.getByTestId("offline-banner"), ben, conversation };
}

/** Waits for that many more tries to connect. */
function tries(net, more) {
  const wanted = net.tries + more;
  return new Promise((resolve) => (net.tried = () => net.tries >= wanted && resolve()));
}

const pass = (net) => (socket) => {
  net.sockets = [...(net.sockets ?? []), socket];
  socket.connectToServer();
};

test("the banner stays from one try to the next, and goes with the connection", async () => {
  const net = {};
  net.answer = pass(net);
  const { page, banner } = await openBehind(net);
  await page.locator(".chat-status", { hasText: "online" }).waitFor();
  await page.evaluate(() => {
    window.shown = [];
    const banner = document.querySelector('[data-testid="offline-banner"]');
    window.shown.push(!banner.hidden);
    new MutationObserver(() => window.shown.push(!banner.hidden)).observe(banner, { attributeFilter: ["hidden"] });
  });
  net.isDown = true;
  const tried = tries(net, 3);
  for (const socket of net.sockets) socket.close();
  await banner.waitFor();
  await tried;
  net.isDown = false;
  await banner.waitFor({ state: "hidden" });
  assert.deepEqual(await page.evaluate(() => window.shown), [false, true, false]);
  await page.context().close();
});

test("a first connection that does not come is missed", async () => {
  const net = { answer: (socket) => socket.onClose(() => (net.isGivenUp = true)) };
  const { page, banner } = await openBehind(net);
  await banner.waitFor();
  assert.ok(!net.isGivenUp, "it is said while the first try lasts");
  net.answer = pass(net);
  await banner.waitFor({ state: "hidden" });
  await page.context().close();
});

test("a page that another one took the place of says so, and is used again on demand", async () => {
  const net = {};
  net.answer = pass(net);
  const { page, banner, ben, conversation } = await openBehind(net);
  await page.locator(".chat-status", { hasText: "online" }).waitFor();
  for (const socket of net.sockets) await socket.close({ code: 4009, reason: "too many connections" });
  await banner.filter({ hasText: "too many places" }).waitFor();
  await ben.conversation(conversation).send({ text: "while it was not used" }).acked;
  assert.equal(await message(page, "while it was not used").count(), 0);
  await page.getByTestId("use-here").focus();
  await page.keyboard.press("Enter");
  await message(page, "while it was not used").waitFor();
  await banner.waitFor({ state: "hidden" });
  await page.context().close();
});

test("a message that waits outlives a reload without a connection, and arrives once", async () => {
  const net = {};
  net.answer = pass(net);
  const { page, banner, ben, conversation } = await openBehind(net);
  await page.locator(".chat-status", { hasText: "online" }).waitFor();
  net.isDown = true;
  for (const socket of net.sockets) socket.close();
  await banner.waitFor();
  await write(page, "written before the reload");
  await message(page, "written before the reload", '[data-status="pending"]').waitFor();
  await page.reload();
  await banner.waitFor();
  await message(page, "written before the reload", '[data-status="pending"]').waitFor();
  net.isDown = false;
  await message(page, "written before the reload", '[data-status="received"]').waitFor();
  await page.reload();
  await message(page, "written before the reload", '[data-status="received"]').waitFor();
  assert.equal(await message(page, "written before the reload").count(), 1);
  const { results } = await ben.search("before the reload");
  assert.equal(results.length, 1);
  await page.context().close();
});
