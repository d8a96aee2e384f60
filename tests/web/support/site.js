// What the tests of pages run against: a Natter and a Chromium of the file's own.

import assert from "node:assert/strict";
import { after, afterEach } from "node:test";
import { launch, takeComplaints } from "./browser.js";
import { Natter } from "./natter.js";
import { closeAll } from "./people.js";

/** Starts both, and ends them after the file's last test. No page may have complained of anything in any test. */
export async function startSite() {
  // Chromium ends with this process, whatever happens; a Natter has to be stopped.
  const browser = await launch();
  const natter = await Natter.start();
  afterEach(() => assert.deepEqual(takeComplaints(), [], "the pages complained"));
  after(async () => {
    closeAll();
    await browser.close();
    await natter.stop();
  });
  return { natter, browser };
}
