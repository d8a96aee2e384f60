// The quick start page: its two examples are run as they stand there. And what all pages have in common.

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

test("the way in leads to it", async () => {
  await page.goto(natter.url);
  await page.getByRole("link", { name: "Quick start for developers" }).click();
  await page.getByRole("heading", { name: "Quick start" }).waitFor();
});

test("every file has the policy that admits nothing from elsewhere, also one that is not there", async () => {
  for (const [path, status] of [["/", 200], ["/web/app.js", 200], ["/client/index.js", 200], ["/web/none.js", 404], ["/client/none.js", 404]]) {
    const answer = await fetch(`${natter.url}${path}`);
    assert.equal(answer.status, status, path);
    assert.match(answer.headers.get("content-security-policy") ?? "", /^default-src 'none'; script-src 'self';/, path);
  }
});
