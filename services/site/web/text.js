// Texts of messages: links in them, their size, their preview.

/** What the server takes in one message. */
export const MAX_TEXT_BYTES = 8192;

const encoder = new TextEncoder();
const LINK = /https?:\/\/[^\s<>"]+/gi;
const AFTER_LINK = ".,;:!?'\")]}";

/** Few emoji and nothing else: they are shown larger. */
const EMOJI = /^(?:\p{RGI_Emoji}\s?){1,3}$/v;

export function isEmoji(text) {
  return EMOJI.test(text);
}

export function byteLength(text) {
  return encoder.encode(text).length;
}

/** Without what the sentence around it put at its end; a `)` that the address itself opened stays. */
function withoutEnd(address) {
  let end = address.length;
  let unopened = address.split(")").length - address.split("(").length;
  for (; AFTER_LINK.includes(address[end - 1]); end--) {
    if (address[end - 1] === ")" && unopened-- <= 0) break;
  }
  return address.slice(0, end);
}

/** The text as nodes, http and https addresses in it as links. */
export function linked(text) {
  const nodes = [];
  let from = 0;
  for (const match of text.matchAll(LINK)) {
    const address = withoutEnd(match[0]);
    if (!URL.canParse(address)) continue;
    const link = document.createElement("a");
    link.href = address;
    link.target = "_blank";
    link.rel = "noopener noreferrer nofollow";
    link.textContent = address;
    nodes.push(text.slice(from, match.index), link);
    from = match.index + address.length;
  }
  nodes.push(text.slice(from));
  return nodes;
}

/** Cuts a text into parts that fit into a message each, where possible between lines or words. */
export function split(text) {
  const parts = [];
  let rest = text;
  while (byteLength(rest) > MAX_TEXT_BYTES) {
    const buffer = new Uint8Array(MAX_TEXT_BYTES);
    const { read } = encoder.encodeInto(rest, buffer);
    const head = rest.slice(0, read);
    const space = Math.max(head.lastIndexOf("\n"), head.lastIndexOf(" "));
    const end = space > read / 2 ? space : read;
    parts.push(rest.slice(0, end).trim());
    rest = rest.slice(end).trim();
  }
  parts.push(rest);
  return parts.filter(Boolean);
}

/** A message in one line. */
export function preview(message) {
  if (message.deleted) return "Deleted message";
  if (message.content) return message.content.slice(0, 200).replace(/\s+/g, " ");
  const [file] = message.media;
  if (!file) return "";
  if (message.media.length > 1) return `${message.media.length} files`;
  if (file.content_type.startsWith("image/")) return "Photo";
  if (file.content_type.startsWith("video/")) return "Video";
  if (file.content_type.startsWith("audio/")) return "Audio";
  return file.filename;
}
