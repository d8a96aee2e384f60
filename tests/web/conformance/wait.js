// Waiting for what is to come about: asked again and again until a deadline, never a fixed time.

/** By the clock of the world that it is called in: see `simulation.js`. */
export function sleep(ms) {
  return new Promise((resolve) => setTimeout(resolve, ms));
}

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
  let clock;
  const late = new Promise((_, reject) => {
    clock = setTimeout(() => reject(new Error(`${what} took longer than ${ms} ms`)), ms);
  });
  try {
    return await Promise.race([promise, late]);
  } finally {
    clearTimeout(clock);
  }
}
