// What the tests of pages run against: a Natter and a Chromium of the file's own.

import { after } from "node:test";
import { launch } from "./browser.js";
import { Natter } from "./natter.js";
import { closeAll } from "./people.js";

/** Starts both, and ends them after the file's last test. */
export async function startSite() {
  // Chromium ends with this process, whatever happens; a Natter has to be stopped.
  const browser = await launch();
  const natter = await Natter.start();
  after(async () => {
    closeAll();
    await browser.close();
    await natter.stop();
  });
  return { natter, browser };
}
