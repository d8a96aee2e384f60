// Where a message is written: text, files, what it answers, or the message that is changed. All of it is
// kept as a draft at each input, and after sending until the library keeps it.

import { h, arrange, fill, sentence, setText, toast } from "./dom.js";
import { Draft } from "./drafts.js";
import { bytes } from "./format.js";
import { icon } from "./icons.js";
import { MAX_TEXT_BYTES, byteLength, split } from "./text.js";

const MAX_FILES = 10;
const MAX_FILE_BYTES = 25 * 1024 * 1024;
/** How long what was sent may wait before it is said that nothing keeps it. */
const UNKEPT_MS = 1_000;
/** The part of the page's height that the text may take. */
const MAX_HEIGHT = 0.4;

export class Composer {
  #client;
  #conversation;
  #chat;
  #draft;
  /** Whether the draft would outlive the page: its text, its files. */
  #isKept = { text: true, files: true };
  /** What was sent, is under way and would not outlive the page. */
  #unkept = new Set();
  #isClosed = false;
  #files = [];
  #previews = new Map();
  #replyTo = null;
  #editing = null;
  /** What was being written when an edit began. */
  #kept = "";

  #context = h("div", { class: "composer-context", hidden: true });
  #attachments = h("ul", { class: "attachments", "aria-label": "Files to send", hidden: true });
  #note = h("p", { class: "composer-note", role: "status" });
  #text = h("textarea", { class: "composer-text", rows: "1", dir: "auto", placeholder: "Message", "aria-label": "Message", enterkeyhint: "send", "data-testid": "composer" });
  #picker = h("input", { type: "file", multiple: true, hidden: true, "data-testid": "attach", "aria-label": "Files" });
  #send = h("button", { type: "submit", class: "send-button", "data-testid": "send", "aria-label": "Send" }, icon("send"));
  #attach = h("button", { type: "button", class: "icon-button", "aria-label": "Attach files", title: "Attach files" }, icon("attach"));

  /**
   * `chat` knows what is around: `find(id)` a message that is shown, `quote(id)` what any says,
   * `lastOwn()` the last that can be changed, `friend()` the other's name; `sent()` is called when
   * something was sent.
   */
  constructor(client, conversation, chat) {
    this.#client = client;
    this.#conversation = conversation;
    this.#chat = chat;
    this.#draft = this.#newDraft();
    this.element = h(
      "form",
      { class: "composer", "aria-label": "Write a message", "aria-busy": "true" },
      this.#context,
      this.#attachments,
      this.#note,
      h("div", { class: "composer-row" }, this.#picker, this.#attach, this.#text, this.#send),
    );
    this.element.addEventListener("submit", (event) => {
      event.preventDefault();
      this.#submit();
    });
    // The text keeps the focus, and a phone its keyboard.
    this.#send.addEventListener("mousedown", (event) => event.preventDefault());
    this.#attach.addEventListener("click", () => this.#picker.click());
    this.#picker.addEventListener("change", () => {
      this.addFiles(this.#picker.files);
      this.#picker.value = "";
      this.focus();
    });
    this.#text.addEventListener("input", () => {
      this.#conversation.typing.keystroke();
      this.#textChanged();
    });
    this.#text.addEventListener("keydown", (event) => this.#key(event));
    this.#restore();
  }

  focus() {
    this.#text.focus({ preventScroll: true });
  }

  /** To be called when the element is in the page, where texts have a height. */
  fit() {
    const area = this.#text;
    // Its place is held meanwhile: a conversation that grew for a moment would leave its end.
    this.element.style.minHeight = `${this.element.offsetHeight}px`;
    area.style.height = "auto";
    const borders = area.offsetHeight - area.clientHeight;
    area.style.height = `${Math.min(area.scrollHeight + borders, innerHeight * MAX_HEIGHT)}px`;
    this.element.style.minHeight = "";
  }

  startReply(message) {
    if (this.#editing) this.#endEdit();
    this.#replyTo = message.id;
    this.#changed();
    this.focus();
  }

  /** Begins to change a message, or goes on with a change that was refused. */
  startEdit(message) {
    if (!this.#editing) this.#kept = this.#text.value;
    this.#editing = message.id;
    this.#setText(message.edit?.content ?? message.content);
    this.focus();
  }

  addFiles(list) {
    if (this.#editing) return toast("Files cannot be added to a message that was sent.");
    const files = [...list];
    const large = files.filter((file) => file.size > MAX_FILE_BYTES);
    const fitting = files.filter((file) => file.size <= MAX_FILE_BYTES);
    const room = MAX_FILES - this.#files.length;
    this.#files.push(...fitting.slice(0, room));
    if (large.length) toast(`“${large[0].name}” has ${bytes(large[0].size)}. A file may have up to 25 MiB.`);
    if (fitting.length > room) toast(`A message takes up to ${MAX_FILES} files.`);
    this.#filesChanged();
  }

  /** The context shows a message whose text may have come or changed. */
  refresh() {
    this.#showContext();
  }

  close() {
    this.#isClosed = true;
    this.#draft.close();
    for (const { url } of this.#previews.values()) if (url) URL.revokeObjectURL(url);
    this.#conversation.typing.stop();
  }

  #newDraft() {
    return new Draft(this.#client.user, this.#conversation.id);
  }

  async #restore() {
    this.#update();
    const draft = await Draft.open(this.#client.user, this.#conversation.id);
    const files = await draft.readFiles();
    this.element.removeAttribute("aria-busy");
    const isUntouched = !this.#text.value && !this.#files.length && !this.#editing && !this.#replyTo;
    // What was there waits for the next time, if something was begun meanwhile.
    if (this.#isClosed || !isUntouched) return draft.close();
    this.#draft.close();
    this.#draft = draft;
    const { text, replyTo, editing, kept } = draft.read() ?? {};
    this.#text.value = text ?? "";
    this.#replyTo = replyTo ?? null;
    this.#editing = editing ?? null;
    this.#kept = kept ?? "";
    this.#files = files;
    this.#showFiles();
    this.#update();
    this.fit();
  }

  #key(event) {
    // 229: in Safari the Enter that ends a composition comes after its end.
    if (event.isComposing || event.keyCode === 229) return;
    if (event.key === "Enter" && !event.shiftKey) {
      event.preventDefault();
      this.#submit();
    } else if (event.key === "Escape" && (this.#editing || this.#replyTo)) {
      event.preventDefault();
      this.#cancel();
    } else if (event.key === "ArrowUp" && !this.#text.value && !this.#editing) {
      const message = this.#chat.lastOwn();
      if (!message) return;
      event.preventDefault();
      this.startEdit(message);
    }
  }

  #submit() {
    const text = this.#text.value.trim();
    if (this.#editing) return this.#submitEdit(text);
    const parts = split(text);
    if (!parts.length && !this.#files.length) return;
    let sent;
    try {
      const first = { text: parts[0] ?? "", media: this.#files, replyTo: this.#replyTo ?? undefined };
      sent = [first, ...parts.slice(1).map((text) => ({ text }))].map((message) => this.#conversation.send(message));
    } catch (error) {
      return toast(sentence(error));
    }
    this.#leave(sent);
    this.#conversation.typing.stop();
    this.#replyTo = null;
    this.#files = [];
    this.#filesChanged();
    this.#setText("");
    this.focus();
    this.#chat.sent();
  }

  #submitEdit(text) {
    const id = this.#editing;
    const message = this.#chat.find(id);
    if (byteLength(text) > MAX_TEXT_BYTES) return;
    if (!text && !message?.media.length) return;
    this.#conversation.typing.stop();
    if (message?.content === text && !message.edit) return this.#endEdit();
    const acked = this.#conversation.edit(id, text);
    this.#draft.write({ text, replyTo: null, editing: id, kept: "" });
    this.#leave([{ kept: acked.kept, acked }]);
    this.#endEdit();
    // What waits for the next message is in its draft now.
    this.#writeFiles();
    acked.catch((error) => {
      // Where the message is shown, it says so itself.
      const isShown = !this.#isClosed && this.#chat.find(id);
      if (!isShown && error.code !== "discarded") toast(`Not changed: ${sentence(error)}`);
    });
  }

  #cancel() {
    if (this.#editing) this.#endEdit();
    else this.#replyTo = null;
    this.#changed();
    this.focus();
  }

  #endEdit() {
    this.#editing = null;
    const kept = this.#kept;
    this.#kept = "";
    this.#setText(kept);
  }

  #setText(text) {
    this.#text.value = text;
    this.#textChanged();
  }

  #textChanged() {
    this.#changed();
    this.fit();
  }

  /** The draft of what was sent goes once the library has stored it, else once it is settled. */
  async #leave(sent) {
    const draft = this.#draft;
    this.#draft = this.#newDraft();
    const settled = sent.map(async (one) => {
      try {
        await one.kept;
        if (this.#client.persistent) return true;
      } catch {
        // It is sent all the same.
      }
      const late = setTimeout(() => this.#showUnkept(one, true), UNKEPT_MS);
      const isDone = await one.acked.then(
        () => true,
        (error) => error.code === "discarded",
      );
      clearTimeout(late);
      // What was refused can be sent again from this page alone.
      this.#showUnkept(one, !isDone);
      return isDone;
    });
    if ((await Promise.all(settled)).every(Boolean)) draft.forget();
  }

  #showUnkept(one, isUnkept) {
    if (isUnkept) this.#unkept.add(one);
    else this.#unkept.delete(one);
    this.#showNote();
  }

  #changed() {
    this.#writeDraft();
    this.#update();
  }

  #writeDraft() {
    this.#isKept.text = this.#draft.write({
      text: this.#text.value,
      replyTo: this.#replyTo,
      editing: this.#editing,
      kept: this.#kept,
    });
  }

  async #writeFiles() {
    this.#isKept.files = await this.#draft.writeFiles(this.#files);
    this.#showNote();
  }

  #update() {
    this.#showContext();
    this.#showNote();
    // They wait for the next message while another one is changed.
    this.#attachments.hidden = !this.#files.length || Boolean(this.#editing);
    this.#attach.hidden = Boolean(this.#editing);
    const files = this.#editing ? this.#chat.find(this.#editing)?.media : this.#files;
    this.#send.classList.toggle("ready", Boolean(this.#text.value.trim() || files?.length));
    this.#send.setAttribute("aria-label", this.#editing ? "Save" : "Send");
  }

  #showContext() {
    const id = this.#editing ?? this.#replyTo;
    const quote = id && this.#chat.quote(id);
    const author = quote?.mine ? "yourself" : this.#chat.friend();
    const title = this.#editing ? "Edit message" : `Reply to ${author}`;
    const key = id ? JSON.stringify([id, title, quote?.text]) : "";
    if (this.#context.dataset.shows === key) return;
    this.#context.dataset.shows = key;
    this.#context.hidden = !id;
    if (!id) return fill(this.#context);
    const cancel = h("button", { type: "button", class: "icon-button", "aria-label": "Cancel", onclick: () => this.#cancel() }, icon("close"));
    fill(
      this.#context,
      icon(this.#editing ? "edit" : "reply"),
      h("div", { class: "composer-context-words" }, h("strong", { dir: "auto" }, title), h("span", { dir: "auto" }, quote?.text ?? "")),
      cancel,
    );
  }

  #showNote() {
    // Bytes are at most three times the length: most texts need no counting.
    const text = this.#text.value.length * 3 > MAX_TEXT_BYTES ? this.#text.value.trim() : "";
    const size = byteLength(text);
    const notes = [];
    if (size > MAX_TEXT_BYTES) {
      notes.push(
        this.#editing
          ? `This text has ${size.toLocaleString()} bytes; a message takes up to ${MAX_TEXT_BYTES.toLocaleString()}. Please shorten it.`
          : `A long text: it will be sent as ${split(text).length} messages.`,
      );
    }
    if (!this.#isKept.text || !this.#isKept.files) notes.push("This browser cannot keep your draft. It is lost if you close this page before you send it.");
    if (this.#unkept.size) notes.push("This browser cannot keep what is not sent yet. Please leave this page open until it is sent.");
    setText(this.#note, notes.join(" "));
  }

  #filesChanged() {
    this.#showFiles();
    this.#update();
    this.#writeFiles();
  }

  #showFiles() {
    for (const [file, { url }] of this.#previews) {
      if (this.#files.includes(file)) continue;
      if (url) URL.revokeObjectURL(url);
      this.#previews.delete(file);
    }
    for (const file of this.#files) if (!this.#previews.has(file)) this.#previews.set(file, this.#preview(file));
    arrange(this.#attachments, this.#files.map((file) => this.#previews.get(file).element));
  }

  #preview(file) {
    const url = /^image\/(?!svg)/.test(file.type) ? URL.createObjectURL(file) : null;
    const remove = () => {
      this.#files = this.#files.filter((other) => other !== file);
      this.#filesChanged();
      this.focus();
    };
    const face = url ? h("img", { src: url, alt: "" }) : h("span", { class: "attachment-icon" }, icon("file"));
    const element = h(
      "li",
      { class: "attachment", "data-testid": "attachment-preview", title: file.name },
      face,
      h("span", { class: "attachment-words" }, h("span", { class: "attachment-name", dir: "auto" }, file.name), h("span", { class: "attachment-size" }, bytes(file.size))),
      h("button", { type: "button", class: "attachment-remove", "aria-label": `Remove ${file.name}`, onclick: remove }, icon("close")),
    );
    return { url, element };
  }
}
