// Cross-site scripting: markup and code in every field that a person can fill stays text, wherever the web
// client shows it, to others and to oneself.

import assert from "node:assert/strict";
import { test } from "node:test";
import { goOffline, logIn, message, messages, openBrowser, openChat, openPage, write } from "./support/browser.js";
import { PASSWORD, befriend, decide, nameFor, signUp } from "./support/people.js";
import { startSite } from "./support/site.js";

const { natter, browser } = await startSite();

const ATTACK = `<img src=x onerror="window.attacked=1"><script>window.attacked=1</script>`;
const CODE = "javascript:window.attacked=1";
/** A picture, one pixel wide. */
const PIXEL = Buffer.from(
  "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNkYPhfDwAChwGA60e6kgAAAABJRU5ErkJggg==",
  "base64",
);

/** The text is there to be read. */
function shown(place, text = ATTACK) {
  return place.getByText(text).first().waitFor();
}

/** Nothing of it was made an element, an address or run. What the page's policy stopped is a complaint. */
async function assertHarmless(page) {
  assert.equal(await page.locator('[src="x"], [onerror], body script').count(), 0, "an element was made");
  for (const href of await page.locator("a[href]").evaluateAll((links) => links.map((one) => one.href))) {
    assert.match(href, /^(https?|blob):/);
  }
  assert.equal(await page.evaluate(() => window.attacked), undefined, "code was run");
  assert.deepEqual(page.context().complaints, []);
}

test("what others write stays text: names, messages, links, quotes, captions, file names, previews", async () => {
  const ada = await signUp(natter, "ada", { first_name: ATTACK, last_name: ATTACK });
  const ben = await signUp(natter, "ben");
  const conversation = await befriend(ada, ben);
  const chat = ada.conversation(conversation);
  const svg = new File(["<script>window.attacked=1</script>"], `"><img src=x onerror=alert(1)>.svg`, { type: "image/svg+xml" });
  const picture = new File([PIXEL], `"><img src=x onerror=alert(1)>.png`, { type: "image/png" });
  await chat.send({ text: ATTACK }).acked;
  const links = await chat.send({ text: `${CODE} https://example.org/"onmouseover="window.attacked=1 [a](${CODE})` }).acked;
  const first = await chat.send({ text: ATTACK, replyTo: links.message, media: [svg, picture] }).acked;
  await chat.send({ text: "An answer", replyTo: first.message }).acked;

  const page = await openChat(browser, natter, ben, conversation);
  await messages(page).nth(3).waitFor();
  await shown(page.locator(".message .text"));
  await shown(page.locator(".quote"));
  await shown(page.locator(".chat-header"));
  await shown(page.locator(".tile-file-name"), svg.name);
  await shown(page.getByTestId("conversation"));
  await assertHarmless(page);

  await page.locator(".tile-open").click();
  await shown(page.getByRole("dialog"), picture.name);
  await assertHarmless(page);
  await page.keyboard.press("Escape");

  // The name again: in the title of a dialog and above an answer.
  await page.getByTestId("tab-people").click();
  await page.getByTestId("people-search").fill(ada.username);
  const found = page.locator(`[data-testid="person"][data-user="${ada.username}"]:visible`);
  await found.getByTestId("reject").click();
  await shown(page.getByRole("dialog"));
  await assertHarmless(page);
  await page.keyboard.press("Escape");
  await message(page, "An answer").hover();
  await message(page, "An answer").getByTestId("message-menu").click();
  await page.getByTestId("reply").click();
  await shown(page.locator(".composer-context"));
  await assertHarmless(page);

  // In the list, as the last message.
  await chat.send({ text: ATTACK }).acked;
  await page.getByTestId("tab-conversations").click();
  await shown(page.getByTestId("conversation").locator(".row-last"));
  await assertHarmless(page);

  await page.getByTestId("tab-search").click();
  await page.getByTestId("search-input").fill("script");
  await page.getByTestId("search-result").first().waitFor();
  await assertHarmless(page);
  await page.context().close();
});

test("what one writes oneself stays text: searches, a draft and its files, a message and its change", async () => {
  const [ada, ben] = [await signUp(natter, "ada"), await signUp(natter, "ben")];
  const conversation = await befriend(ada, ben);
  await befriend(ada, await signUp(natter, "chloe"));
  const page = await openChat(browser, natter, ada, conversation);
  await page.getByTestId("tab-search").click();
  await page.getByTestId("search-input").fill(ATTACK);
  await shown(page, `No message has “${ATTACK}”.`);
  await shown(page, `Nobody is called “${ATTACK}”.`);
  await assertHarmless(page);
  await page.getByTestId("tab-people").click();
  await page.getByTestId("people-search").fill(ATTACK);
  await shown(page, `Nobody is called “${ATTACK}”.`);
  await assertHarmless(page);

  const file = { name: `${ATTACK.replaceAll("/", "")}.png`, mimeType: "image/png", buffer: PIXEL };
  await page.getByTestId("composer").fill(ATTACK);
  await page.getByTestId("attach").setInputFiles(file);
  await shown(page.getByTestId("attachment-preview"), file.name);
  // Too large for a message: a sentence says so, with its name.
  await page.getByTestId("composer").evaluate((composer, name) => {
    const clipboardData = new DataTransfer();
    clipboardData.items.add(new File([new Uint8Array(26 * 1024 * 1024)], name));
    composer.dispatchEvent(new ClipboardEvent("paste", { bubbles: true, cancelable: true, clipboardData }));
  }, file.name);
  await shown(page.locator(".toast"), file.name);
  await assertHarmless(page);

  await page.reload();
  await shown(page.getByTestId("attachment-preview"), file.name);
  assert.equal(await page.getByTestId("composer").inputValue(), ATTACK);
  await assertHarmless(page);
  // Its beginning stands in the list while another conversation is open.
  await page.getByTestId("tab-conversations").click();
  await page.getByTestId("conversation").filter({ hasText: "chloe" }).click();
  await shown(page.getByTestId("conversation"), `Draft: ${ATTACK}`);
  await assertHarmless(page);
  await page.getByTestId("conversation").filter({ hasText: "Draft" }).click();
  await shown(page.getByTestId("attachment-preview"), file.name);

  await page.getByTestId("composer").press("Enter");
  await message(page, ATTACK, '[data-status="received"]').waitFor();
  await message(page, ATTACK).hover();
  await message(page, ATTACK).getByTestId("message-menu").click();
  await page.getByTestId("edit").click();
  await shown(page.locator(".composer-context"));
  await write(page, `changed ${ATTACK}`);
  await message(page, `changed ${ATTACK}`).waitFor();
  await assertHarmless(page);

  // A change that is refused.
  const bens = await ben.conversation(conversation).send({ text: "What Ben says" }).acked;
  await goOffline(page);
  await message(page, `changed ${ATTACK}`).hover();
  await message(page, `changed ${ATTACK}`).getByTestId("message-menu").click();
  await page.getByTestId("edit").click();
  await write(page, `refused ${ATTACK}`);
  await decide(ben, "reject", bens, "What Ben says");
  await page.context().setOffline(false);
  await shown(page.locator(".failure"), `refused ${ATTACK}`);
  await assertHarmless(page);
  await page.context().close();
});

test("what is in forms and in the profile stays text: username, email, names, passwords, devices", async () => {
  const context = await openBrowser(browser, { userAgent: ATTACK });
  const page = await openPage(context, natter);
  const username = nameFor("ada");
  await page.getByRole("button", { name: "Sign up" }).click();
  const form = page.getByTestId("signup-form");
  const fill = (name, value) => form.locator(`[name="${name}"]`).fill(value);
  const submit = () => form.locator('button[type="submit"]').click();
  for (const name of ["username", "email", "password", "first_name", "last_name"]) await fill(name, ATTACK);
  await form.locator('input[type="file"]').setInputFiles({ name: `${ATTACK.replaceAll("/", "")}.png`, mimeType: "image/png", buffer: PIXEL });
  await submit();
  await form.locator(".field-error:not(:empty)").first().waitFor();
  await assertHarmless(page);
  // Such an address is allowed: its first part is quoted.
  const email = `"<img/src=x/onerror=window.attacked=1>${username}"@example.com`;
  await fill("username", username);
  await fill("email", email);
  await fill("password", PASSWORD);
  await submit();
  await page.getByTestId("tab-profile").click();
  await shown(page, email);
  await shown(page.getByTestId("session"));
  assert.equal(await page.locator('[name="first_name"]').inputValue(), ATTACK);
  await assertHarmless(page);
  await page.locator('[name="last_name"]').fill(`${ATTACK} again`);
  await page.getByRole("button", { name: "Save" }).click();
  await shown(page, "Your profile is saved.");
  await page.reload();
  await shown(page, email);
  assert.equal(await page.locator('[name="last_name"]').inputValue(), `${ATTACK} again`);
  await page.locator('[name="current"]').fill(ATTACK);
  await page.locator('[name="new"]').fill(ATTACK);
  await page.getByRole("button", { name: "Change password" }).click();
  await page.locator(".field-error:not(:empty)").first().waitFor();
  await assertHarmless(page);

  await page.getByTestId("logout").click();
  await page.getByTestId("login-form").locator('[name="username"]').fill(ATTACK);
  await page.getByTestId("login-form").locator('[name="password"]').fill(ATTACK);
  await page.getByTestId("login-form").locator('button[type="submit"]').click();
  await page.getByTestId("login-form").locator(".field-error:not(:empty)").first().waitFor();
  await assertHarmless(page);
  await context.close();
});

test("addresses stay addresses", async () => {
  const [ada, ben] = [await signUp(natter, "ada"), await signUp(natter, "ben")];
  const conversation = await befriend(ada, ben);
  const context = await openBrowser(browser);
  const page = await openPage(context, natter);
  await logIn(page, ada.username);
  const encoded = encodeURIComponent(ATTACK);
  const addresses = [
    `?${encoded}`,
    `?next=${CODE}#/`,
    `#/${encoded}`,
    `#/${ATTACK}`,
    `#${CODE}`,
    `#/c/${encoded}`,
    `#/c/${ATTACK}`,
    `#/c/"]${ATTACK}/"]${ATTACK}`,
    `#/c/${conversation}/${encoded}`,
    `#/c/../../../../client/index.js`,
  ];
  for (const address of addresses) {
    await page.goto(`${natter.url}/${address}`);
    await page.getByTestId("tab-conversations").waitFor({ state: "attached" });
    await page.getByTestId("conversation").first().waitFor();
    await assertHarmless(page);
  }
  await context.close();
});
