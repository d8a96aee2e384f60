// Requests to the server: with the token, with a deadline, and with errors that say what to do.

import { NatterError, isPassing } from "./errors.js";

export class Http {
  #core;

  constructor(core) {
    this.#core = core;
  }

  get(path, options) {
    return this.request("GET", path, options);
  }

  post(path, options) {
    return this.request("POST", path, options);
  }

  /**
   * `token`: false for none, a string for that one, else the session's. `retries`: how often it is
   * repeated when the server was not reached; only for what may be repeated.
   */
  async request(method, path, options = {}) {
    for (let left = options.retries ?? 0; ; left--) {
      try {
        return await this.#authorized(method, path, options);
      } catch (error) {
        if (left <= 0 || !isPassing(error)) throw error;
        await this.#core.sleep(error.retryAfter ?? this.#core.timing.backoffMin);
      }
    }
  }

  async #authorized(method, path, options) {
    const { session } = this.#core;
    const own = options.token === undefined;
    // Once more with the token that another tab has got meanwhile, and once with one of its own.
    for (let left = 2; ; left--) {
      const token = own ? await session.access() : options.token;
      try {
        return await this.#send(method, path, options, token);
      } catch (error) {
        if (!own || !left || error.status !== 401 || error.code !== "token_not_valid") throw error;
        if (session.tokens?.access === token) await session.renew();
      }
    }
  }

  async #send(method, path, { query, json, form, signal, as = "json", onProgress, timeout }, token) {
    if (signal?.aborted) throw new NatterError("aborted", "The caller gave up.");
    const url = new URL(path, this.#core.options.url);
    for (const [name, value] of Object.entries(query ?? {})) {
      if (value !== undefined) url.searchParams.set(name, value);
    }
    const headers = {};
    if (token) headers.Authorization = `Bearer ${token}`;
    if (json !== undefined) headers["Content-Type"] = "application/json";
    const { requestTimeout } = this.#core.timing;
    const deadline = timeout ?? requestTimeout * (form ? 20 : 1);
    const body = json !== undefined ? JSON.stringify(json) : form;
    let answer;
    try {
      answer =
        onProgress && typeof XMLHttpRequest !== "undefined"
          ? await withProgress({ method, url, headers, body, signal, onProgress, deadline })
          : await fetchWithin(deadline, url, { method, headers, body, signal }, as === "blob");
    } catch (error) {
      if (signal?.aborted) throw new NatterError("aborted", "The caller gave up.");
      throw new NatterError("offline", `The server was not reached: ${error.message}`);
    }
    if (answer.status >= 400) throw await refusal(answer);
    onProgress?.(1);
    if (answer.status === 204) return null;
    try {
      return await answer[as]();
    } catch (error) {
      throw new NatterError("offline", `The answer broke off: ${error.message}`);
    }
  }
}

/** Where the messages of a conversation are. */
export function historyOf(channel) {
  return `/api/messages/status/friendship/${encodeURIComponent(channel)}/messages/`;
}

/** The whole answer comes within the deadline; of a large one, its beginning and each further part do. */
async function fetchWithin(deadline, url, request, isLarge) {
  const late = new AbortController();
  const abort = () => late.abort();
  let timer = setTimeout(abort, deadline);
  request.signal?.addEventListener("abort", abort);
  try {
    const { status, headers, body } = await fetch(url, { ...request, signal: late.signal, cache: "no-store" });
    const parts = [];
    const reader = body?.getReader();
    for (let part; reader && !(part = await reader.read()).done; parts.push(part.value)) {
      if (!isLarge) continue;
      clearTimeout(timer);
      timer = setTimeout(abort, deadline);
    }
    const whole = new Blob(parts, { type: headers.get("Content-Type") ?? "" });
    return { status, headers, blob: async () => whole, json: async () => JSON.parse(await whole.text()) };
  } finally {
    clearTimeout(timer);
    request.signal?.removeEventListener("abort", abort);
  }
}

async function refusal(answer) {
  const body = await answer.json().catch(() => ({}));
  const seconds = Number(answer.headers.get("Retry-After"));
  return new NatterError(
    body.code ?? (answer.status >= 500 ? "unavailable" : `http_${answer.status}`),
    body.error ?? body.detail ?? `The server answered ${answer.status}.`,
    { status: answer.status, ...(seconds > 0 && { retryAfter: seconds * 1000 }) },
  );
}

/** `fetch` says nothing of how far an upload is. */
function withProgress({ method, url, headers, body, signal, onProgress, deadline }) {
  return new Promise((resolve, reject) => {
    const request = new XMLHttpRequest();
    request.open(method, url);
    for (const name in headers) request.setRequestHeader(name, headers[name]);
    request.upload.onprogress = (event) => event.lengthComputable && onProgress((0.99 * event.loaded) / event.total);
    request.onload = () =>
      resolve({
        status: request.status,
        headers: { get: (name) => request.getResponseHeader(name) },
        json: async () => JSON.parse(request.responseText),
      });
    request.timeout = deadline;
    request.ontimeout = request.onerror = () => reject(new Error("the upload broke off"));
    request.onabort = () => reject(new Error("aborted"));
    signal?.addEventListener("abort", () => request.abort());
    request.send(body);
  });
}
