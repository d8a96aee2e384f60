// Where devices keep what must outlive their pages, with what a disk does: it takes its time, may be
// full, and a process that crashes has written what it has written.

import { IndexedDbStore, MemoryStore } from "../../../services/site/client/index.js";

export class Disk {
  static #disks = 0;
  #name = `disk ${++Disk.#disks}`;
  #values = new MemoryStore();
  #last = Promise.resolve();
  #delay;
  /** Whether nothing more can be written. */
  isFull = false;

  /** `delay` is waited for before each access. */
  constructor(delay = async () => {}) {
    this.#delay = delay;
  }

  /** The store of one page. Pages with shared ones are the tabs of a browser. */
  open({ isShared = false } = {}) {
    return new (isShared ? SharedStore : OwnStore)(this.#name, (work) => this.#inTurn(work));
  }

  /** One access after the other, as transactions are. */
  #inTurn(work) {
    const done = this.#last.then(this.#delay).then(() => work(this.#values, this));
    this.#last = done.catch(() => {});
    return done;
  }
}

const onDisk = (Base) =>
  class extends Base {
    #access;
    #isCut = false;

    constructor(name, access) {
      super(name);
      this.#access = (work) =>
        access((values, disk) => {
          if (this.#isCut) throw new Error("The page has crashed");
          return work(values, disk);
        });
    }

    /** The page has crashed: what it was about to write is not written. */
    cut() {
      this.#isCut = true;
    }

    get(key) {
      return this.#access((values) => values.get(key));
    }

    set(key, value) {
      const copy = structuredClone(value);
      return this.#access((values, { isFull }) => {
        if (isFull) throw new Error("The disk is full");
        return values.set(key, copy);
      });
    }

    delete(key) {
      return this.#access((values) => values.delete(key));
    }

    entries(prefix) {
      return this.#access((values) => values.entries(prefix));
    }
  };

const OwnStore = onDisk(Object);
/** The library shares a connection where the store is its own one. */
const SharedStore = onDisk(IndexedDbStore);
