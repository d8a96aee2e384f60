// The start: is there a session, then the conversations, else the way in.

import { NatterClient } from "../client/index.js";
import { fill, sentence, toast } from "./dom.js";
import { adoptDrafts } from "./drafts.js";
import { Shell } from "./shell.js";
import { welcome } from "./welcome.js";

const client = new NatterClient({ url: location.origin });
const root = document.getElementById("root");
let shell = null;

async function enter() {
  await adoptDrafts(client.user);
  // It may have ended meanwhile.
  if (!client.user) return leave();
  shell = new Shell(client);
  fill(root, shell.element);
  shell.opened();
  client.connect().catch((error) => {
    if (client.user) toast(sentence(error));
  });
}

function leave(notice) {
  shell?.close();
  shell = null;
  for (const dialog of document.querySelectorAll("dialog")) dialog.close();
  const notices = [notice, !client.persistent && "This browser keeps nothing for Natter: you stay logged in only until this page is closed or reloaded."];
  fill(root, welcome(client, { notice: notices.filter(Boolean).join(" "), done: enter }));
}

client.on("session", (session) => {
  if (session || !shell) return;
  // Whoever logs in next begins anew.
  history.replaceState(null, "", "#/");
  leave("You are logged out.");
});

// A file that is dropped beside a conversation would replace the page.
for (const type of ["dragover", "drop"]) {
  addEventListener(type, (event) => event.dataTransfer.types.includes("Files") && event.preventDefault());
}

if (await client.restore().catch(() => false)) await enter();
else leave();
