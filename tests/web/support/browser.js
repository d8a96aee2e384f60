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

const contexts = [];

/** A person's browser: what its pages complain of, a policy that was violated or an error, is kept in `complaints`. */
export async function openBrowser(browser, options = {}) {
  const context = await browser.newContext({ viewport: { width: 1280, height: 800 }, reducedMotion: "reduce", ...options });
  context.setDefaultTimeout(30_000);
  context.complaints = [];
  context.on("weberror", (error) => context.complaints.push(String(error.error())));
  context.on("console", (message) => {
    const text = message.text();
    // What the network does is the test's doing.
    if (message.type() === "error" && !text.startsWith("Failed to load resource") && !text.includes("WebSocket connection")) {
      context.complaints.push(text);
    }
  });
  // Not every violation of the policy is said on the console.
  await context.addInitScript(() => {
    document.addEventListener("securitypolicyviolation", ({ effectiveDirective, blockedURI }) => console.error(`${effectiveDirective}: ${blockedURI}`));
  });
  contexts.push(context);
  return context;
}

/** What all pages complained of since the last call. */
export function takeComplaints() {
  return contexts.flatMap((context) => context.complaints.splice(0));
}

export async function openPage(context, natter, hash = "") {
  const page = await context.newPage();
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

/** Ends the page as a crash does: nothing in it runs any more. */
export async function crash(page) {
  const crashed = page.waitForEvent("crash");
  const devtools = await page.context().newCDPSession(page);
  devtools.send("Page.crash").catch(() => {});
  await crashed;
  await page.close();
}

export async function goOffline(page) {
  await page.context().setOffline(true);
  await page.getByTestId("offline-banner").waitFor();
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
