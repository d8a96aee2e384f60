// Texts of messages in the web client, as far as they need no browser.

import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import { test } from "node:test";

const PLACE = new URL("../../services/site/web/text.js", import.meta.url).href;

globalThis.document = { createElement: () => ({}) };
const { isEmoji, linked } = await import(PLACE);

const linksIn = (text) => linked(text).filter((node) => node.href).map((link) => link.href);

test("links end before what the sentence around them put at their end", () => {
  for (const [text, ...links] of [
    ["See https://example.org/a.", "https://example.org/a"],
    ["(see http://example.org/a?b=c), or (http://example.org)!", "http://example.org/a?b=c", "http://example.org"],
    ["https://example.org/wiki/Foo_(bar)", "https://example.org/wiki/Foo_(bar)"],
    ["(https://example.org/wiki/Foo_(bar)).", "https://example.org/wiki/Foo_(bar)"],
    ["[https://example.org/wiki/Foo_(bar)_(baz)]", "https://example.org/wiki/Foo_(bar)_(baz)"],
    ["https://... and http://", ""],
    ["no link"],
  ]) {
    assert.deepEqual(linksIn(text), links.filter(Boolean), text);
    assert.equal(linked(text).map((node) => node.textContent ?? node).join(""), text);
  }
});

test("a long row of what may end a link takes no long time", () => {
  const script = `
    globalThis.document = { createElement: () => ({}) };
    const { linked } = await import(${JSON.stringify(PLACE)});
    for (const one of ["!", ")", "()", "(!"]) {
      const [, link] = linked("http://a" + one.repeat(1_000_000) + "a");
      if (link.href.length < 1_000_000) throw new Error("cut off");
    }`;
  execFileSync(process.execPath, ["--input-type=module", "--eval", script], { timeout: 20_000 });
});

test("up to three emoji and nothing else are shown larger", () => {
  for (const text of ["👍", "👍🏽 ❤️", "👨‍👩‍👧‍👦🇩🇪🎉"]) assert.ok(isEmoji(text), text);
  for (const text of ["", "1", "ok 👍", "👍👍👍👍"]) assert.ok(!isEmoji(text), text);
});
