export { NatterClient } from "./src/client.js";
export { NatterError } from "./src/errors.js";
export { IndexedDbStore, MemoryStore } from "./src/store.js";
