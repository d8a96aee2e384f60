// FakeNatter: a whole Natter in this process, on a port of its own, whose promises hold except where
// a test injects a fault.

import { createServer } from "node:http";
import { once } from "node:events";

import { Gateway } from "./gateway.js";
import { HttpDoor } from "./http.js";
import { Model } from "./log.js";

export class FakeNatter {
  model = new Model();
  http = new HttpDoor(this.model);
  gateway = new Gateway(this.model);
  #server = createServer((request, response) => this.http.handle(request, response));
  #sockets = new Set();
  #isDown = false;

  static async start() {
    const natter = new FakeNatter();
    await natter.#listen();
    return natter;
  }

  async #listen() {
    this.#server.on("connection", (socket) => {
      // A port that is given up may become another world's: connections are cut in its place.
      if (this.#isDown) {
        socket.destroy();
        return;
      }
      this.#sockets.add(socket);
      socket.on("close", () => this.#sockets.delete(socket));
      socket.on("error", () => {});
    });
    this.#server.on("upgrade", (request, socket, head) => this.gateway.upgrade(request, socket, head));
    this.#server.listen(0, "127.0.0.1");
    await once(this.#server, "listening");
    this.url = `http://127.0.0.1:${this.#server.address().port}`;
    this.model.url = this.url;
  }

  /** Cuts every connection; new ones are cut too, until `up`. */
  down() {
    this.#isDown = true;
    for (const socket of this.#sockets) socket.destroy();
  }

  up() {
    this.#isDown = false;
  }

  /** No more faults; every connection is cut once, so that clients notice what they missed. */
  heal() {
    this.up();
    this.http.heal();
    this.gateway.refusing = null;
    for (const socket of this.#sockets) socket.destroy();
  }

  async stop() {
    this.#server.close();
    this.down();
    await once(this.#server, "close");
  }
}
