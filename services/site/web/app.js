// The start: is there a session, then the conversations, else the way in.

import { NatterClient } from "../client/index.js";
import { fill, sentence, toast } from "./dom.js";
import { Shell } from "./shell.js";
import { welcome } from "./welcome.js";

const client = new NatterClient({ url: location.origin });
const root = document.getElementById("root");
let shell = null;

function enter() {
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
  fill(root, welcome(client, { notice, done: enter }));
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

if (await client.restore().catch(() => false)) enter();
else leave();
