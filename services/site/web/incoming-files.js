// Files that are pasted into a conversation or dropped on it.

import { h, toast } from "./dom.js";
import { icon } from "./icons.js";

/** Gives the files to `take` as long as `isOpen()`, and shows where they can be dropped. */
export function takeFiles(element, isOpen, take) {
  element.append(h("div", { class: "drop", "aria-hidden": "true" }, h("p", {}, icon("attach"), "Drop files to attach them")));
  const receive = (event, { files }) => {
    if (!files.length || !isOpen()) return;
    event.preventDefault();
    take(files);
  };
  const dragging = (event) => {
    if (!event.dataTransfer.types.includes("Files") || !isOpen()) return;
    event.preventDefault();
    element.classList.add("dropping");
  };
  element.addEventListener("paste", (event) => {
    const { clipboardData } = event;
    // What a word processor or a spreadsheet copies is text, and a picture of it; or a picture alone.
    const isText = clipboardData.types.includes("text/rtf") && clipboardData.getData("text/plain").trim();
    if (!isText) receive(event, clipboardData);
  });
  element.addEventListener("dragenter", dragging);
  element.addEventListener("dragover", dragging);
  element.addEventListener("dragleave", (event) => {
    if (!element.contains(event.relatedTarget)) element.classList.remove("dropping");
  });
  element.addEventListener("drop", (event) => {
    element.classList.remove("dropping");
    const { items } = event.dataTransfer;
    if (![...items].some((item) => item.webkitGetAsEntry?.()?.isDirectory)) return receive(event, event.dataTransfer);
    event.preventDefault();
    toast("Folders cannot be attached.");
  });
}
