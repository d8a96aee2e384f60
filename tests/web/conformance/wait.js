// Waiting for what is to come about: asked again and again until a deadline, never a fixed time.

import { setTimeout as sleep } from "node:timers/promises";

/** Runs `check` until it does not throw, and answers its value; throws its last error at the deadline. */
export async function eventually(check, ms = 5_000) {
  const deadline = performance.now() + ms;
  for (let wait = 1; ; wait = Math.min(30, wait * 1.5)) {
    try {
      return await check();
    } catch (error) {
      if (performance.now() > deadline) throw error;
    }
    await sleep(wait);
  }
}

/** The value of a promise, or an error once `ms` have passed. */
export async function within(promise, ms, what) {
  const clock = new AbortController();
  const late = sleep(ms, null, { signal: clock.signal }).then(
    () => Promise.reject(new Error(`${what} took longer than ${ms} ms`)),
    () => {},
  );
  try {
    return await Promise.race([promise, late]);
  } finally {
    clock.abort();
  }
}
