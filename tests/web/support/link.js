// A TCP link to a server that can be cut, reset, or left open and silent.

import { once } from "node:events";
import { connect, createServer } from "node:net";

export class Link {
  #pairs = new Set();
  #server;
  url;

  static async to(target) {
    const link = new Link();
    const { hostname, port } = new URL(target);
    link.#server = createServer((near) => link.#join(near, connect(Number(port), hostname)));
    link.#server.listen(0, "127.0.0.1");
    await once(link.#server, "listening");
    link.url = `http://127.0.0.1:${link.#server.address().port}`;
    return link;
  }

  #join(near, far) {
    const pair = { near, far };
    this.#pairs.add(pair);
    near.pipe(far);
    far.pipe(near);
    for (const end of [near, far]) {
      end.on("error", () => {});
      end.on("close", () => {
        this.#pairs.delete(pair);
        near.destroy();
        far.destroy();
      });
    }
  }

  cut() {
    for (const { near } of this.#pairs) near.destroy();
  }

  reset() {
    for (const { near } of this.#pairs) near.resetAndDestroy();
  }

  /** Nothing passes any more in either direction, and nobody is told. */
  silence() {
    for (const { near, far } of this.#pairs) {
      near.unpipe(far);
      far.unpipe(near);
    }
  }

  close() {
    this.cut();
    this.#server.close();
  }
}
