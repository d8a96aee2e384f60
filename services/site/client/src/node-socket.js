// A WebSocket client for Node, with the surface of the browsers' one and with headers: Node 20 has none.

import http from "node:http";
import https from "node:https";
import { randomBytes } from "node:crypto";

const [TEXT, BINARY, CLOSE, PING, PONG] = [1, 2, 8, 9, 10];

export class NodeSocket {
  #socket = null;
  #request;
  #buffer = Buffer.alloc(0);
  #parts = [];
  #closed = false;
  #code = 1006;
  #reason = "";
  onmessage = null;
  onclose = null;

  constructor(url, protocols, headers) {
    const target = new URL(url.replace(/^ws/, "http"));
    this.#request = (target.protocol === "https:" ? https : http).request(target, {
      headers: {
        ...headers,
        Connection: "Upgrade",
        Upgrade: "websocket",
        "Sec-WebSocket-Version": "13",
        "Sec-WebSocket-Key": randomBytes(16).toString("base64"),
        "Sec-WebSocket-Protocol": protocols.join(", "),
      },
    });
    this.#request.on("upgrade", (_, socket, head) => this.#upgraded(socket, head));
    this.#request.on("response", (answer) => {
      answer.resume();
      // What a browser is told by a close code, a refused upgrade says by its status.
      this.#code = answer.statusCode === 401 ? 4001 : 1006;
      this.#end();
    });
    this.#request.on("error", () => this.#end());
    this.#request.end();
  }

  get bufferedAmount() {
    return this.#socket?.writableLength ?? 0;
  }

  send(text) {
    this.#write(TEXT, Buffer.from(text));
  }

  close(code = 1000) {
    if (!this.#socket) this.#request.destroy();
    else {
      const body = Buffer.alloc(2);
      body.writeUInt16BE(code);
      this.#write(CLOSE, body);
      this.#socket.end();
    }
    if (this.#code === 1006) this.#code = code;
    this.#end();
  }

  #upgraded(socket, head) {
    if (this.#closed) return socket.destroy();
    this.#socket = socket;
    socket.setNoDelay(true);
    socket.on("data", (data) => this.#read(data));
    socket.on("error", () => this.#end());
    socket.on("close", () => this.#end());
    this.#read(head);
  }

  #write(opcode, body) {
    if (this.#closed || !this.#socket) return;
    const long = body.length > 65_535;
    const head = Buffer.alloc(body.length < 126 ? 2 : long ? 10 : 4);
    head[0] = 0x80 | opcode;
    head[1] = 0x80 | (body.length < 126 ? body.length : long ? 127 : 126);
    if (long) head.writeBigUInt64BE(BigInt(body.length), 2);
    else if (head.length === 4) head.writeUInt16BE(body.length, 2);
    const mask = randomBytes(4);
    this.#socket.write(Buffer.concat([head, mask, body.map((byte, index) => byte ^ mask[index & 3])]));
  }

  #read(data) {
    this.#buffer = this.#buffer.length ? Buffer.concat([this.#buffer, data]) : data;
    for (let frame; !this.#closed && (frame = take(this.#buffer)); ) {
      this.#buffer = frame.rest;
      this.#got(frame);
    }
  }

  #got({ opcode, last, body }) {
    if (opcode === PING) this.#write(PONG, body);
    else if (opcode === CLOSE) {
      this.#code = body.length >= 2 ? body.readUInt16BE() : 1005;
      this.#reason = body.subarray(2).toString();
      this.#write(CLOSE, body);
      this.#socket.end();
      this.#end();
    } else if (opcode <= BINARY) {
      this.#parts.push(body);
      if (!last) return;
      const whole = Buffer.concat(this.#parts);
      this.#parts = [];
      this.onmessage?.({ data: whole.toString() });
    }
  }

  #end() {
    if (this.#closed) return;
    this.#closed = true;
    this.#request.destroy();
    // One that answers no more would keep the process alive.
    this.#socket?.setTimeout(1000, () => this.#socket.destroy());
    queueMicrotask(() => this.onclose?.({ code: this.#code, reason: this.#reason }));
  }
}

/** The first frame of what came, if all of it is there. */
function take(buffer) {
  if (buffer.length < 2) return null;
  let [length, at] = [buffer[1] & 127, 2];
  if (length === 126) [length, at] = [buffer.length < 4 ? Infinity : buffer.readUInt16BE(2), 4];
  else if (length === 127) [length, at] = [buffer.length < 10 ? Infinity : Number(buffer.readBigUInt64BE(2)), 10];
  if (buffer.length < at + length) return null;
  return {
    opcode: buffer[0] & 15,
    last: buffer[0] > 127,
    body: buffer.subarray(at, at + length),
    rest: buffer.subarray(at + length),
  };
}
