// Chromium, headless: a browser with a profile of its own for each person.

import { mkdirSync } from "node:fs";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import { chromium } from "playwright-core";
import { PASSWORD } from "./people.js";

/** Where screenshots of the main views are left for whoever wants to look at them. */
export const SCREENSHOTS = join(dirname(fileURLToPath(import.meta.url)), "../../../target/screenshots");
mkdirSync(SCREENSHOTS, { recursive: true });

export function launch() {
  const executablePath = process.env.NATTER_TEST_CHROMIUM ?? "/usr/bin/chromium";
  return chromium.launch({ executablePath, args: ["--no-sandbox"] });
}

/** A person's browser: what its pages complain of is kept in `complaints`. */
export async function openBrowser(browser, options = {}) {
  const context = await browser.newContext({ viewport: { width: 1280, height: 800 }, reducedMotion: "reduce", ...options });
  context.setDefaultTimeout(30_000);
  context.complaints = [];
  return context;
}

export async function openPage(context, natter, hash = "") {
  const page = await context.newPage();
  page.on("pageerror", (error) => context.complaints.push(String(error)));
  page.on("console", (message) => {
    const text = message.text();
    // What the network does is the test's doing; a refused policy or an error of the page is not.
    if (message.type() === "error" && !text.startsWith("Failed to load resource") && !text.includes("WebSocket connection")) {
      context.complaints.push(text);
    }
  });
  await page.goto(`${natter.url}/${hash}`);
  return page;
}

export async function logIn(page, username) {
  const form = page.getByTestId("login-form");
  await form.locator('[name="username"]').fill(username);
  await form.locator('[name="password"]').fill(PASSWORD);
  await form.locator('button[type="submit"]').click();
  await page.getByTestId("tab-conversations").waitFor();
}

/** A person's browser, logged in and with a conversation open. */
export async function openChat(browser, natter, { username }, conversation, options) {
  const context = await openBrowser(browser, options);
  const page = await openPage(context, natter);
  await logIn(page, username);
  await page.goto(`${natter.url}/#/c/${conversation}`);
  await page.getByTestId("composer").waitFor();
  return page;
}

export async function write(page, text) {
  await page.getByTestId("composer").fill(text);
  await page.getByTestId("composer").press("Enter");
}

export function messages(page, attributes = "") {
  return page.locator(`[data-testid="message"]${attributes}`);
}

export function message(page, text, attributes = "") {
  return messages(page, attributes).filter({ hasText: text });
}
