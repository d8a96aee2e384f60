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

  async get(key) {
    const [value] = await this.#do("readonly", (values) => [values.get(key)]);
    return value;
  }

  async set(key, value) {
    await this.#do("readwrite", (values) => [values.put(value, key)]);
  }

  async delete(key) {
    await this.#do("readwrite", (values) => [values.delete(key)]);
  }

  async entries(prefix) {
    const range = IDBKeyRange.bound(prefix, `${prefix}\uffff`);
    const both = (all) => [all.getAllKeys(range), all.getAll(range)];
    const [keys, values] = await this.#do("readonly", both);
    return keys.map((key, index) => [key, values[index]]);
  }

  /** The results of the requests that `work` makes, all in one transaction. */
  async #do(mode, work) {
    const forget = () => (this.#database = undefined);
    this.#database ??= open(this.name, forget).catch((error) => {
      forget();
      throw error;
    });
    const transaction = (await this.#database).transaction("values", mode, { durability: "strict" });
    const requests = work(transaction.objectStore("values"));
    return new Promise((resolve, reject) => {
      transaction.oncomplete = () => resolve(requests.map(({ result }) => result));
      // A request that fails aborts its transaction with its own error.
      transaction.onabort = () => reject(transaction.error ?? new Error("the storage was closed"));
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
