// How the web client looks and whether everybody can use it: each main view at desktop and phone width,
// light and dark, checked by axe and kept as a screenshot in `target/screenshots`.

import assert from "node:assert/strict";
import { createRequire } from "node:module";
import { join } from "node:path";
import { readFileSync } from "node:fs";
import { before, test } from "node:test";
import { SCREENSHOTS, goOffline, logIn, message, messages, openBrowser, openPage, write } from "./support/browser.js";
import { befriend, decide, signUp } from "./support/people.js";
import { startSite } from "./support/site.js";

const axe = readFileSync(createRequire(import.meta.url).resolve("axe-core/axe.min.js"), "utf8");

const { natter, browser } = await startSite();
let ada;
let chat;
let lake;
before(async () => {
  lake = await picture();
  ada = await signUp(natter, "ada", { first_name: "Ada", last_name: "Lovelace" });
  const friends = [
    ["ben", "Ben", "Okafor"],
    ["chloe", "Chloé", "Martin"],
    ["dmitri", "Dmitri", "Volkov"],
  ];
  for (const [name, first_name, last_name] of friends) {
    const friend = await signUp(natter, name, { first_name, last_name });
    const id = await befriend(friend, ada);
    const [theirs, hers] = [friend.conversation(id), ada.conversation(id)];
    await theirs.send({ text: `Hi Ada, it's ${first_name}` }).acked;
    const asked = await theirs.send({ text: "Shall we walk around the lake on Sunday? The weather looks fine, and Erin would like to come along." }).acked;
    if (name === "dmitri") {
      await hers.send({ text: "Of course! When?", replyTo: asked.message }).acked;
      await theirs.send({ text: "Ten o'clock, by the boathouse", media: [new File([lake], "lake.png", { type: "image/png" })] }).acked;
      const wrong = await hers.send({ text: "Perfekt" }).acked;
      await hers.edit(wrong.message, "Perfect, see https://example.org/lake");
      const gone = await hers.send({ text: "Wrong chat" }).acked;
      await hers.delete(gone.message);
      chat = id;
    }
  }
  const asking = await signUp(natter, "erin", { first_name: "Erin", last_name: "Doyle" });
  await asking.friends.ask(ada.user);
});

/** A photograph, more or less. */
async function picture() {
  const page = await browser.newPage();
  const encoded = await page.evaluate(() => {
    const canvas = Object.assign(document.createElement("canvas"), { width: 640, height: 400 });
    const paint = canvas.getContext("2d");
    const sky = paint.createLinearGradient(0, 0, 0, 400);
    for (const [at, colour] of [[0, "#87b6e8"], [0.6, "#f6d5a8"], [0.61, "#3f6d8c"], [1, "#1d3b52"]]) sky.addColorStop(at, colour);
    paint.fillStyle = sky;
    paint.fillRect(0, 0, 640, 400);
    return canvas.toDataURL("image/png").split(",")[1];
  });
  await page.close();
  return Buffer.from(encoded, "base64");
}

const VIEWS = {
  conversations: async (page) => page.getByTestId("conversation").nth(2).waitFor(),
  chat: async (page) => {
    await page.goto(`${natter.url}/#/c/${chat}`);
    await message(page, "Perfect").waitFor();
    await messages(page).locator("img").first().waitFor();
  },
  lightbox: async (page) => {
    await page.locator(".tile-open").first().click();
    await page.getByRole("dialog", { name: "lake.png" }).waitFor();
  },
  menu: async (page) => {
    await page.keyboard.press("Escape");
    await page.getByRole("dialog").waitFor({ state: "detached" });
    await message(page, "Perfect").hover();
    await message(page, "Perfect").getByTestId("message-menu").click();
    await page.getByTestId("edit").waitFor();
  },
  dialog: async (page) => {
    await page.getByTestId("delete").click();
    await page.getByRole("dialog").waitFor();
  },
  people: async (page) => {
    await page.keyboard.press("Escape");
    await page.goto(`${natter.url}/#/people`);
    await page.getByTestId("accept").waitFor();
  },
  search: async (page) => {
    await page.goto(`${natter.url}/#/search`);
    await page.getByTestId("search-input").fill("lake");
    await page.getByTestId("search-result").first().waitFor();
  },
  profile: async (page) => {
    await page.goto(`${natter.url}/#/profile`);
    await page.getByTestId("session").first().waitFor();
  },
  account: async (page) => page.getByTestId("delete-account").scrollIntoViewIfNeeded(),
  writing: async (page) => {
    await page.goto(`${natter.url}/#/c/${chat}`);
    await message(page, "Ten o'clock").hover();
    await message(page, "Ten o'clock").getByTestId("message-menu").click();
    await page.getByTestId("reply").click();
    await page.getByTestId("composer").fill("Fine! I bring what is on the list,\nand something to drink.");
    const list = { name: "what to bring.txt", mimeType: "text/plain", buffer: Buffer.from("apples") };
    await page.getByTestId("attach").setInputFiles([{ name: "lake.png", mimeType: "image/png", buffer: lake }, list]);
    await page.getByTestId("attachment-preview").nth(1).waitFor();
  },
};

async function check(page, name) {
  await page.screenshot({ path: join(SCREENSHOTS, `${name}.png`), animations: "disabled" });
  // By the debugger, past the page's policy.
  await page.evaluate(axe);
  const { violations } = await page.evaluate(() => axe.run(document, { resultTypes: ["violations"] }));
  const serious = violations.filter(({ impact }) => impact === "serious" || impact === "critical");
  const told = serious.map(({ id, nodes }) => `${id}: ${nodes.map(({ html }) => html).join(" | ").slice(0, 500)}`);
  assert.deepEqual(told, [], name);
}

/** Where there is nothing yet, nothing works or something was refused; each begins where the one before it ends. */
const STATES = {
  "empty-conversations": async (page) => page.getByText("No conversations yet").waitFor(),
  "empty-people": async (page) => {
    await page.getByTestId("tab-people").click();
    await page.getByText("Nobody here yet").waitFor();
  },
  "empty-search": async (page) => {
    await page.getByTestId("tab-search").click();
    await page.getByTestId("search-input").waitFor();
  },
  "nothing-found": async (page) => {
    await page.getByTestId("search-input").fill("xylophone");
    await page.getByText("Nobody is called").waitFor();
    await page.getByText("No message has").waitFor();
  },
  "empty-chat": async (page, { noor, olu }) => {
    await page.goto(`${natter.url}/#/c/${await befriend(olu, noor)}`);
    await page.getByText("Say hello").waitFor();
    await page.locator(".chat-status", { hasText: "online" }).waitFor();
  },
  offline: async (page, { olu }) => {
    const [{ id }] = await olu.conversations.list();
    olu.sent = await olu.conversation(id).send({ text: "Did you find the map?" }).acked;
    await write(page, "Yes, it was in the other drawer");
    await message(page, "other drawer", '[data-status="received"]').waitFor();
    await goOffline(page);
    await write(page, "I'll bring it tomorrow");
    await message(page, "bring it", '[data-status="pending"]').waitFor();
    await message(page, "other drawer").hover();
    await message(page, "other drawer").getByTestId("message-menu").click();
    await page.getByTestId("edit").click();
    await write(page, "Yes, it was in the blue drawer");
    const changed = message(page, "blue drawer", '[data-status="pending"]');
    await changed.locator(".meta", { hasText: "edited" }).waitFor();
  },
  ended: async (page, { olu }) => {
    await decide(olu, "reject", olu.sent, "Did you find the map?");
    await page.context().setOffline(false);
    await page.getByText("You are not friends any more").waitFor();
    await page.getByTestId("refused-edit").waitFor();
    await page.getByTestId("discard").nth(1).waitFor();
  },
  failed: async (page, { olu }) => {
    await decide(olu, "accept", olu.sent, "Did you find the map?");
    await page.getByTestId("composer").waitFor();
    await page.getByTestId("offline-banner").waitFor({ state: "hidden" });
  },
  "taken-over": async (page) => {
    await page.getByTestId("composer").fill("Is this still connected?");
    for (const socket of page.sockets) await socket.close({ code: 4009, reason: "too many connections" });
    await page.getByTestId("use-here").waitFor();
  },
};

for (const [width, viewport] of [["desktop", { width: 1280, height: 800 }], ["phone", { width: 390, height: 844 }]]) {
  for (const colorScheme of ["light", "dark"]) {
    test(`${width}, ${colorScheme}: every view can be used by everybody`, async () => {
      const context = await openBrowser(browser, { viewport, colorScheme, hasTouch: width === "phone" });
      const page = await openPage(context, natter);
      const name = (view) => `${width}-${colorScheme}-${view}`;
      await page.getByTestId("login-form").waitFor();
      await check(page, name("log-in"));
      await page.getByRole("button", { name: "Sign up" }).click();
      await page.getByTestId("signup-form").waitFor();
      await check(page, name("sign-up"));
      await page.getByRole("button", { name: "Sign up" }).last().click();
      await page.getByText("Please fill this in.").first().waitFor();
      await check(page, name("sign-up-errors"));
      await page.getByRole("button", { name: "Log in" }).click();
      await logIn(page, ada.username);
      for (const [view, show] of Object.entries(VIEWS)) {
        await show(page);
        await check(page, name(view));
      }
      await page.goto(`${natter.url}/web/quick-start.html`);
      await check(page, name("quick-start"));
      await context.close();
    });

    test(`${width}, ${colorScheme}: so it is where there is nothing yet, nothing works or something was refused`, async () => {
      const noor = await signUp(natter, "noor", { first_name: "Noor", last_name: "Haddad" });
      const olu = await signUp(natter, "olu", { first_name: "Olu", last_name: "Adeyemi" });
      const context = await openBrowser(browser, { viewport, colorScheme, hasTouch: width === "phone" });
      const sockets = [];
      await context.routeWebSocket("**/ws/messages/", (socket) => {
        sockets.push(socket);
        socket.connectToServer();
      });
      const page = Object.assign(await openPage(context, natter), { sockets });
      await logIn(page, noor.username);
      for (const [state, show] of Object.entries(STATES)) {
        await show(page, { noor, olu });
        await check(page, `${width}-${colorScheme}-${state}`);
      }
      await context.close();
    });

    test(`${width}, ${colorScheme}: so it is where the browser keeps nothing`, async () => {
      const context = await openBrowser(browser, { viewport, colorScheme, hasTouch: width === "phone" });
      await context.addInitScript(() => Object.defineProperty(window, "indexedDB", { value: undefined }));
      const page = await openPage(context, natter);
      await page.getByText("This browser keeps nothing").waitFor();
      await check(page, `${width}-${colorScheme}-log-in-unkept`);
      await context.close();
    });
  }
}

test("by keyboard alone a conversation is opened, written in, and a message changed and deleted", async () => {
  const context = await openBrowser(browser);
  const page = await openPage(context, natter);
  await logIn(page, ada.username);
  await page.getByTestId("conversation").first().waitFor();
  const focused = (selector) => page.evaluate((wanted) => document.activeElement?.matches(wanted), selector);
  const reach = async (selector, key = "Tab") => {
    for (let presses = 0; !(await focused(selector)); presses++) {
      assert.ok(presses < 60, `${key} reaches ${selector}`);
      await page.keyboard.press(key);
    }
  };
  const choose = async (action) => {
    await reach('[data-testid="message"]', "Shift+Tab");
    await page.keyboard.press("End");
    await page.keyboard.press("Enter");
    await reach(`[data-testid="${action}"]`, "ArrowDown");
    await page.keyboard.press("Enter");
  };
  await reach('[data-testid="conversation"]');
  await page.keyboard.press("Enter");
  await page.getByTestId("composer").waitFor();
  await reach('[data-testid="composer"]');
  const NOT_PENDING = ':not([data-status="pending"])';
  await page.keyboard.type("By keyboard");
  await page.keyboard.press("Enter");
  await message(page, "By keyboard", NOT_PENDING).waitFor();
  await choose("edit");
  await page.locator('[data-testid="composer"]:focus').waitFor();
  assert.equal(await page.getByTestId("composer").inputValue(), "By keyboard");
  await page.keyboard.press("End");
  await page.keyboard.type(" alone");
  await page.keyboard.press("Enter");
  await message(page, "By keyboard alone", NOT_PENDING).waitFor();
  await choose("delete");
  await page.getByRole("dialog").waitFor();
  await reach('dialog [type="submit"]');
  await page.keyboard.press("Enter");
  await page.getByRole("dialog").waitFor({ state: "detached" });
  await message(page, "By keyboard alone").waitFor({ state: "detached" });
  assert.ok(await focused('[data-testid="message"]'), "the focus is where it was");
  await context.close();
});
