// Uploads in a browser, where the library makes them with XMLHttpRequest to tell how far they are: against the fake
// Natter, at the page's own origin.

import assert from "node:assert/strict";
import { createServer } from "node:http";
import { once } from "node:events";
import { readFileSync } from "node:fs";
import { after, afterEach, test } from "node:test";

import { PASSWORD } from "./conformance/device.js";
import { eventually, within } from "./conformance/wait.js";
import { HttpDoor } from "./fake/http.js";
import { Model } from "./fake/log.js";
import { launch, openBrowser, takeComplaints } from "./support/browser.js";

const CLIENT = new URL("../../services/site/client/", import.meta.url);
/** More than what lies between a page and a server that does not read. */
const LARGE = 64 * 1024 * 1024;

const model = new Model();
const http = new HttpDoor(model);
/** What an upload waits for before the server reads it. */
let reading = Promise.resolve();

const server = createServer(async (request, response) => {
  const { url } = request;
  if (url === "/") answer(response, "text/html", "<!doctype html><title>Uploads</title>");
  else if (url.startsWith("/client/")) answer(response, "text/javascript", readFileSync(new URL(url.slice(8), CLIENT)));
  else {
    request.on("error", () => {});
    if (url.includes("/media/")) await reading;
    http.handle(request, response);
  }
});
function answer(response, type, body) {
  response.writeHead(200, { "Content-Type": type });
  response.end(body);
}

server.listen(0, "127.0.0.1");
await once(server, "listening");
model.url = `http://127.0.0.1:${server.address().port}`;
model.addUser({ username: "ada", password: PASSWORD });

const browser = await launch();
const page = await (await openBrowser(browser)).newPage();
await page.goto(model.url);
await page.evaluate(async (password) => {
  const { NatterClient } = await import("/client/index.js");
  const client = new NatterClient({ url: location.origin });
  await client.logIn({ username: "ada", password });
  /** How far the upload is, each time that it was told. */
  window.told = [];
  window.upload = (size, signal) => {
    window.told = [];
    const file = new File([new Uint8Array(size).fill(7)], "sevens.bin");
    return client.upload(file, { onProgress: (part) => window.told.push(part), signal });
  };
}, PASSWORD);

afterEach(() => assert.deepEqual(takeComplaints(), [], "the page complained"));
after(async () => {
  await browser.close();
  server.closeAllConnections();
  server.close();
});

const told = () => page.evaluate(() => window.told);
/** The upload of so many bytes, as what becomes of it. */
const upload = (size) => page.evaluate((bytes) => window.upload(bytes).catch(({ code }) => ({ code })), size);

/** Lets uploads wait; answers what lets them go on. */
function hold() {
  let release;
  reading = new Promise((resolve) => (release = resolve));
  return release;
}

test("an upload tells how far it is while it goes on, and 1 at its end", async () => {
  const release = hold();
  const uploaded = upload(LARGE);
  // Some of it is under way, and the rest cannot be.
  await eventually(async () => assert.ok((await told()).length > 0), 30_000);
  const before = await told();
  assert.ok(before.every((part) => part > 0 && part < 1), `${before}`);
  release();
  const { id, size, filename } = await within(uploaded, 60_000, "uploading");
  assert.deepEqual([size, filename, model.media.get(id).bytes.equals(Buffer.alloc(LARGE, 7))], [LARGE, "sevens.bin", true]);
  const parts = await told();
  assert.deepEqual(parts, [...parts].sort((one, other) => one - other));
  assert.equal(parts.at(-1), 1);
  assert.equal(parts.filter((part) => part === 1).length, 1);
});

test("an upload that is refused is never told as done", async () => {
  http.fault({ path: /media/, status: 413, code: "too_large" });
  assert.deepEqual(await upload(1_000), { code: "too_large" });
  assert.ok((await told()).every((part) => part < 1));
});

for (const cut of ["before", "middle"]) {
  test(`an upload that breaks off (${cut === "before" ? "before" : "in the middle of"} its answer) is \`offline\`, and never told as done`, async () => {
    // Chromium tries again where a connection that it had used before is cut.
    http.fault({ path: /media/, cut, times: Infinity });
    assert.deepEqual(await upload(1_000), { code: "offline" });
    assert.ok((await told()).every((part) => part < 1));
    http.heal();
  });
}

test("an upload can be given up", async () => {
  const release = hold();
  const { size: count } = model.media;
  await page.evaluate((bytes) => {
    window.giveUp = new AbortController();
    window.givenUp = window.upload(bytes, window.giveUp.signal).then(
      () => "uploaded",
      ({ code }) => code,
    );
  }, LARGE);
  await eventually(async () => assert.ok((await told()).length > 0), 30_000);
  await page.evaluate(() => window.giveUp.abort());
  assert.equal(await within(page.evaluate(() => window.givenUp), 30_000, "giving up"), "aborted");
  assert.ok((await told()).every((part) => part < 1));
  release();
  assert.equal((await within(upload(3), 30_000, "another upload")).size, 3);
  assert.equal(model.media.size, count + 1);
});
