// The quick start page: its two examples are run as they stand there.

import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import { test } from "node:test";
import { openBrowser } from "./support/browser.js";
import { startSite } from "./support/site.js";

const { natter, browser } = await startSite();
const page = await (await openBrowser(browser)).newPage();
await page.goto(`${natter.url}/web/quick-start.html`);

test("the example with the library sends the first message", async () => {
  const code = await page.locator("#library").textContent();
  assert.ok(code.trim().split("\n").length <= 24, "about twenty lines");
  const said = new Promise((resolve) => {
    const lines = [];
    page.on("console", (line) => lines.push(line.text()) && lines.length === 2 && resolve(lines.sort()));
  });
  // A module as a page has it: the policy lets no other code in, the debugger does.
  const module = code.replace(/^import (\{.*\}) from "(.*)";$/m, 'const $1 = await import("$2");');
  await page.evaluate(`(async () => {${module}})()`);
  assert.deepEqual(await said, ["ben got: Hello, Ben", "committed as number 1"]);
});

test("the example with curl sends the first message", async () => {
  const code = await page.locator("#curl").textContent();
  const script = code.replace("http://127.0.0.1:8080", natter.url);
  assert.equal(execFileSync("bash", ["-c", script], { encoding: "utf8" }), "Hello, Ben\n");
});
