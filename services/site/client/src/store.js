// Where the session and what was not sent yet are kept.

export class MemoryStore {
  #values = new Map();

  async get(key) {
    return this.#values.get(key);
  }

  async set(key, value) {
    this.#values.set(key, structuredClone(value));
  }

  async delete(key) {
    this.#values.delete(key);
  }

  async entries(prefix) {
    const pairs = [...this.#values].filter(([key]) => key.startsWith(prefix));
    return structuredClone(pairs.sort(([a], [b]) => (a < b ? -1 : 1)));
  }
}

export class IndexedDbStore {
  #database;

  constructor(database = "natter") {
    this.name = database;
  }

  get(key) {
    return this.#do("readonly", (values) => values.get(key));
  }

  async set(key, value) {
    await this.#do("readwrite", (values) => values.put(value, key));
  }

  async delete(key) {
    await this.#do("readwrite", (values) => values.delete(key));
  }

  async entries(prefix) {
    const range = IDBKeyRange.bound(prefix, `${prefix}\uffff`);
    const [keys, values] = await Promise.all([
      this.#do("readonly", (all) => all.getAllKeys(range)),
      this.#do("readonly", (all) => all.getAll(range)),
    ]);
    // Something came or went between the two requests, and the pairs do not match: reads them again.
    if (keys.length !== values.length) return this.entries(prefix);
    return keys.map((key, index) => [key, values[index]]);
  }

  async #do(mode, work) {
    const forget = () => (this.#database = undefined);
    this.#database ??= open(this.name, forget).catch((error) => {
      forget();
      throw error;
    });
    const transaction = (await this.#database).transaction("values", mode, { durability: "strict" });
    const request = work(transaction.objectStore("values"));
    return new Promise((resolve, reject) => {
      transaction.oncomplete = () => resolve(request.result);
      transaction.onabort = transaction.onerror = () => reject(transaction.error ?? request.error);
    });
  }
}

/** `onClose`: the browser has closed it, when the site's data were deleted for instance. */
function open(name, onClose) {
  return new Promise((resolve, reject) => {
    const request = indexedDB.open(name, 1);
    request.onupgradeneeded = () => request.result.createObjectStore("values");
    request.onsuccess = () => {
      request.result.onclose = onClose;
      resolve(request.result);
    };
    request.onerror = () => reject(request.error);
  });
}
