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
  const [ada, ben] = [await signUp(natter, "ada"), await signUp(natter, "ben")];
  const conversation = await befriend(ada, ben);
  await fill(ben, conversation);
  const context = await openBrowser(browser);
  const page = await openPage(context, natter);
  await logIn(page, ada.username);
  await page.goto(`${natter.url}/#/c/${conversation}`);
  await message(page, `Message ${count} `).waitFor();

  await page.evaluate(() => {
    window.interactions = [];
    new PerformanceObserver((list) => window.interactions.push(...list.getEntries().map(({ duration }) => duration))).observe({ type: "event", durationThreshold: 16 });
  });
  const devtools = await context.newCDPSession(page);
  const heap = async () => {
    await devtools.send("HeapProfiler.collectGarbage");
    return (await devtools.send("Runtime.getHeapUsage")).usedSize / 2 ** 20;
  };
  const before = await heap();
  const scrolled = Math.min(5_000, count - 300);
  let most = 0;
  while (!(await message(page, `Message ${count - scrolled} `).count())) {
    await page.getByTestId("scroller").evaluate((scroller) => scroller.scrollTo(0, 0));
    await page.getByTestId("composer").press("x");
    most = Math.max(most, await messages(page).count());
  }
  const after = await heap();
  const longest = await page.evaluate(() => Math.max(0, ...window.interactions));
  await page.getByTestId("composer").fill("");

  await page.reload();
  await messages(page).first().waitFor();
  const shown = await page.evaluate(() => performance.now());
  const paint = await page.evaluate(() => performance.getEntriesByName("first-contentful-paint")[0].startTime);
  console.log(`${count} messages: first paint after ${Math.round(paint)} ms, messages after ${Math.round(shown)} ms`);
  console.log(`${scrolled} messages scrolled back: at most ${most} in the page, the longest key press ${longest} ms,`);
  console.log(`the page's heap ${before.toFixed(1)} MiB before and ${after.toFixed(1)} MiB after`);
} finally {
  closeAll();
  await browser.close();
  await natter.stop();
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
  const more = () => {
    while (sent < count && sent - acked < UNDER_WAY) {
      sent++;
      socket.send(JSON.stringify({ type: "friendship", channel, client_id: `${sent}`, payload: `Message ${sent} of many, of a length that people write.` }));
    }
  };
  await new Promise((resolve, reject) => {
    socket.on("message", (data) => {
      const frame = JSON.parse(data);
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
