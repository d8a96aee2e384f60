// What can be done with a message: answer, copy, edit, delete, discard.

import { ask } from "./dialog.js";
import { sentence, toast } from "./dom.js";
import { openMenu } from "./menu.js";

/** `chat` is `{ conversation, composer, isOpen, friend }`. */
export function openActions(message, anchor, chat) {
  const { conversation, composer, isOpen, friend } = chat;
  const known = message.id && !message.deleted;
  const own = known && isOpen && message.mine;
  const items = [
    known && isOpen && { name: "reply", icon: "reply", text: "Reply", run: () => composer.startReply(message) },
    !message.deleted && message.content && { name: "copy", icon: "copy", text: "Copy text", run: () => copy(message) },
    own && { name: "edit", icon: "edit", text: "Edit", run: () => composer.startEdit(message) },
    own && { name: "delete", icon: "trash", text: "Delete", danger: true, run: () => remove(message, conversation, friend) },
    message.status === "pending" && !message.id && { name: "discard", icon: "trash", text: "Discard", danger: true, run: () => discard(message, conversation) },
  ].filter(Boolean);
  if (items.length) openMenu(anchor, items);
}

/** A message that is not sent, or a change that was refused. */
export async function discard(message, conversation) {
  const { edit } = message;
  const title = edit ? "Discard this change?" : "Discard this message?";
  const text = edit ? "The message stays as it is." : "It was not sent, and will not be.";
  if (await ask({ title, text, action: "Discard" })) conversation.discard(edit?.client_id ?? message.client_id);
}

async function copy(message) {
  try {
    await navigator.clipboard.writeText(message.content);
  } catch {
    toast("This browser does not allow copying here.");
  }
}

async function remove(message, conversation, friend) {
  const text = `It is deleted for you and for ${friend}.`;
  if (!(await ask({ title: "Delete this message?", text, action: "Delete" }))) return;
  conversation.delete(message.id).catch((error) => toast(`Not deleted: ${sentence(error)}`));
}
