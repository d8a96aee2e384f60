// A whole Natter of a test's own, by the command that a newcomer uses: `deploy/up`.

import { spawn } from "node:child_process";
import { once } from "node:events";
import { mkdtempSync, rmSync } from "node:fs";
import { createServer } from "node:net";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { createInterface } from "node:readline";
import { fileURLToPath } from "node:url";

const root = join(dirname(fileURLToPath(import.meta.url)), "../../..");

export class Natter {
  #data = mkdtempSync(join(tmpdir(), "natter-web-"));
  #port;
  #process = null;
  url;

  static async start() {
    const natter = new Natter();
    natter.#port = await freePort();
    natter.url = `http://127.0.0.1:${natter.#port}`;
    await natter.up();
    return natter;
  }

  async up() {
    const env = { ...process.env, NATTER_RATE_LIMITS: "off", RUST_LOG: "warn" };
    const command = [join(root, "deploy/up"), "--port", String(this.#port), "--data", this.#data];
    this.#process = spawn("python3", command, { env, stdio: ["ignore", "pipe", "pipe"] });
    const said = [];
    for (const stream of [this.#process.stdout, this.#process.stderr]) {
      createInterface({ input: stream }).on("line", (line) => said.push(line));
    }
    const ended = once(this.#process, "exit").then(([code]) => {
      throw new Error(`deploy/up ended with ${code}:\n${said.join("\n")}`);
    });
    const ready = (async () => {
      while (!said.includes(`${this.url}/`)) await new Promise((resolve) => setTimeout(resolve, 50));
    })();
    await Promise.race([ready, ended]);
    ended.catch(() => {});
  }

  async down() {
    const ended = once(this.#process, "exit");
    this.#process.kill("SIGTERM");
    await ended;
  }

  async stop() {
    if (this.#process.exitCode === null) await this.down();
    rmSync(this.#data, { recursive: true, force: true });
  }
}

async function freePort() {
  const server = createServer().listen(0, "127.0.0.1");
  await once(server, "listening");
  const { port } = server.address();
  server.close();
  await once(server, "close");
  return port;
}
