// The files of a message: pictures, audio and video inline, the rest to download. Contents come through
// the library as blobs once they are near the visible part, and go with their element.

import { act, fill, h, hidden } from "./dom.js";
import { icon } from "./icons.js";
import { bytes } from "./format.js";
import { lightbox } from "./dialog.js";

/** What browsers show inline. SVG is not among it: it can carry scripts. */
const SHOWN = /^(image\/(png|jpeg|gif|webp|avif|bmp)|audio\/.+|video\/.+)$/;
/** How near, in pixels, a file must be to be fetched. */
const NEAR = "400px";

const loaders = new WeakMap();
const near = new IntersectionObserver(
  (entries) => {
    for (const { isIntersecting, target } of entries) {
      if (!isIntersecting) continue;
      near.unobserve(target);
      loaders.get(target)?.();
    }
  },
  { rootMargin: NEAR },
);

function kindOf(media) {
  return SHOWN.test(media.content_type) ? media.content_type.split("/")[0] : "file";
}

/** Calls `load` once `element` is near the visible part. */
export function whenNear(element, load) {
  loaders.set(element, load);
  near.observe(element);
}

function save(blob, filename) {
  const url = URL.createObjectURL(blob);
  h("a", { href: url, download: filename }).click();
  setTimeout(() => URL.revokeObjectURL(url), 60_000);
}

export class MediaTile {
  #client;
  #media;
  #kind;
  #url = null;
  #closed = false;
  #content = h("div", { class: "tile-content" });
  #progress = h("progress", { class: "tile-progress", max: "1", value: "0", "aria-label": "Upload" });

  constructor(client, media) {
    this.#client = client;
    this.#media = media;
    this.#kind = kindOf(media);
    this.element = h("div", { class: `tile tile-${this.#kind}` }, this.#content, this.#progress);
    if (this.#kind === "file") fill(this.#content, this.#downloadButton());
    else if (media.blob) this.#show(media.blob);
    else {
      fill(this.#content, h("span", { class: "tile-waiting" }, hidden(`Loading ${media.filename}`)));
      whenNear(this.element, () => this.#load());
    }
    this.update(media, false);
  }

  /** Whether this tile can go on to show `media`: the same file, perhaps uploaded meanwhile. */
  shows(media) {
    return this.#media.filename === media.filename && this.#media.size === media.size;
  }

  update(media, uploading) {
    this.#media = media;
    this.#progress.hidden = !uploading || media.id !== null;
    if (!this.#progress.hidden) this.#progress.value = media.progress;
  }

  close() {
    this.#closed = true;
    near.unobserve(this.element);
    if (this.#url) URL.revokeObjectURL(this.#url);
  }

  async #load() {
    try {
      const blob = await this.#client.download(this.#media);
      if (!this.#closed) this.#show(blob);
    } catch {
      if (!this.#closed) fill(this.#content, this.#againButton());
    }
  }

  #show(blob) {
    const { filename } = this.#media;
    this.#url = URL.createObjectURL(blob);
    const source = { src: this.#url, "aria-label": filename, controls: true, preload: "metadata" };
    if (this.#kind === "image") {
      const image = h("img", { src: this.#url, alt: filename, draggable: "false" });
      fill(this.#content, h("button", { type: "button", class: "tile-open", onclick: () => lightbox(this.#url, filename) }, image));
    } else fill(this.#content, h(this.#kind, source));
  }

  #againButton() {
    const again = () => {
      fill(this.#content, h("span", { class: "tile-waiting" }, hidden(`Loading ${this.#media.filename}`)));
      this.#load();
    };
    return h("button", { type: "button", class: "tile-again", onclick: again }, icon("retry"), "Load again");
  }

  #downloadButton() {
    const { filename, size } = this.#media;
    const download = async () => {
      const media = this.#media;
      save(media.blob ?? (await this.#client.download(media)), filename);
    };
    return h(
      "button",
      { type: "button", class: "tile-file-button", onclick: (event) => act(event.currentTarget, download) },
      h("span", { class: "tile-file-icon" }, icon("file"), hidden("Download ")),
      h("span", { class: "tile-file-words" }, h("span", { class: "tile-file-name", dir: "auto", title: filename }, filename), h("span", { class: "tile-file-size" }, bytes(size))),
    );
  }
}
