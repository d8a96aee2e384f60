// What the web client feels like with a conversation of 100,000 messages: `node tests/web/speed.js`.
// Prints figures and asserts nothing; `--messages 1000` for a smaller one.

import { parseArgs } from "node:util";
import { once } from "node:events";
import { WebSocket } from "ws";
import { launch, logIn, message, messages, openBrowser, openPage } from "./support/browser.js";
import { Natter } from "./support/natter.js";
import { PASSWORD, befriend, closeAll, signUp } from "./support/people.js";

const { values } = parseArgs({ options: { messages: { type: "string", default: "100000" } } });
const count = Number(values.messages);
/** Frames that wait for their `ack`. */
const UNDER_WAY = 500;

const natter = await Natter.start();
const browser = await launch();
try {
  const [ada, ben, chloe] = [await signUp(natter, "ada"), await signUp(natter, "ben"), await signUp(natter, "chloe")];
  const conversation = await befriend(ada, ben);
  const other = await befriend(ada, chloe);
  for (let number = 1; number <= 100; number++) await chloe.conversation(other).send({ text: `Message ${number} of some, of a length that people write.` }).acked;
  await fill(ben, conversation);
  const context = await openBrowser(browser);
  const page = await openPage(context, natter);
  await logIn(page, ada.username);
  await page.goto(`${natter.url}/#/c/${conversation}`);
  await message(page, `Message ${count} of many`).waitFor();

  await page.evaluate(() => {
    window.keys = [];
    window.clicks = [];
    window.frames = [];
    const watch = (type, found) => new PerformanceObserver((list) => list.getEntries().forEach(found)).observe({ type, durationThreshold: 16 });
    watch("event", ({ name, duration }) => (name.startsWith("key") ? window.keys : window.clicks).push(duration));
    watch("long-animation-frame", ({ duration }) => window.frames.push(duration));
  });
  const devtools = await context.newCDPSession(page);
  const heap = async () => {
    await devtools.send("HeapProfiler.collectGarbage");
    return (await devtools.send("Runtime.getHeapUsage")).usedSize / 2 ** 20;
  };
  const before = await heap();
  const scrolled = Math.min(5_000, count - 300);
  let most = 0;
  const steps = [];
  while (!(await message(page, `Message ${count - scrolled} of many`).count())) {
    steps.push(await page.evaluate(step));
    await page.getByTestId("composer").press("x");
    most = Math.max(most, await messages(page).count());
  }
  const after = await heap();
  const [longest, frame] = await page.evaluate(() => [window.keys, window.frames].map((all) => Math.max(0, ...all)));
  await page.getByTestId("composer").fill("");

  const opened = [];
  for (let times = 0; times < 10; times++) {
    for (const [id, text] of [[other, "of some"], [conversation, "of many"]]) {
      const shown = page.evaluate(untilOpen, text);
      await page.locator(`[data-testid="conversation"][href="#/c/${id}"]`).click();
      opened.push(await shown);
    }
  }
  const click = await page.evaluate(() => Math.max(0, ...window.clicks));

  await page.reload();
  await messages(page).first().waitFor();
  const shown = await page.evaluate(() => performance.now());
  const paint = await page.evaluate(() => performance.getEntriesByName("first-contentful-paint")[0].startTime);
  console.log(`${count} messages: first paint after ${Math.round(paint)} ms, messages after ${Math.round(shown)} ms`);
  console.log(`${scrolled} messages scrolled back: at most ${most} in the page, the longest key press ${longest} ms, the longest frame ${Math.round(frame)} ms,`);
  console.log(`older messages after ${median(steps)} ms at the median and ${Math.max(...steps)} ms at most,`);
  console.log(`the page's heap ${before.toFixed(1)} MiB before and ${after.toFixed(1)} MiB after`);
  console.log(`a conversation opened: the longest click ${click} ms, its messages after ${median(opened)} ms at the median and ${Math.max(...opened)} ms at most`);
} finally {
  closeAll();
  await browser.close();
  await natter.stop();
}

function median(all) {
  return all.toSorted((a, b) => a - b)[all.length >> 1];
}

/** In the page: scrolls to the top, and says after how many milliseconds older messages stand there. */
async function step() {
  const first = () => document.querySelector('[data-testid="message"]').dataset.id;
  const [began, was] = [performance.now(), first()];
  document.querySelector('[data-testid="scroller"]').scrollTo(0, 0);
  while (first() === was) await new Promise(requestAnimationFrame);
  return Math.round(performance.now() - began);
}

/** In the page: after how many milliseconds from the next click messages with this text are shown. */
async function untilOpen(text) {
  const began = await new Promise((resolve) => addEventListener("click", () => resolve(performance.now()), { capture: true, once: true }));
  while (!document.querySelector('[data-testid="message"]')?.textContent.includes(text)) await new Promise(requestAnimationFrame);
  return Math.round(performance.now() - began);
}

/** Sends the messages over one connection. */
async function fill({ username }, channel) {
  const answer = await fetch(`${natter.url}/api/users/login/`, {
    method: "POST",
    headers: { "Content-Type": "application/json" },
    body: JSON.stringify({ username, password: PASSWORD }),
  });
  const { access, refresh } = await answer.json();
  const socket = new WebSocket(`${natter.url.replace("http", "ws")}/ws/messages/`, {
    headers: { Authorization: `Bearer ${access}`, refresh },
  });
  await once(socket, "open");
  let [sent, acked] = [0, 0];
  const send = (number) => socket.send(JSON.stringify({ type: "friendship", channel, client_id: `${number}`, payload: `Message ${number} of many, of a length that people write.` }));
  const more = () => {
    while (sent < count && sent - acked < UNDER_WAY) send(++sent);
  };
  await new Promise((resolve, reject) => {
    socket.on("message", (data) => {
      const frame = JSON.parse(data);
      if (frame.type === "error" && frame.code === "unavailable") return void setTimeout(send, 500, frame.client_id);
      if (frame.type === "error") reject(new Error(frame.detail));
      if (frame.type !== "ack") return;
      acked++;
      if (acked === count) resolve();
      else more();
    });
    more();
  });
  socket.close();
}
