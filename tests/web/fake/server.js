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

  /** On a port of this machine, or of a network that is simulated. */
  static async start(network = null) {
    const natter = new FakeNatter();
    await natter.#listen(network);
    return natter;
  }

  async #listen(network) {
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
    if (!network) {
      this.#server.listen(0, "127.0.0.1");
      await once(this.#server, "listening");
    }
    const port = network ? network.listen((socket) => this.#server.emit("connection", socket)) : this.#server.address().port;
    this.url = `http://127.0.0.1:${port}`;
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
    const closed = this.#server.listening && once(this.#server, "close");
    this.#server.close();
    this.down();
    await closed;
  }
}
