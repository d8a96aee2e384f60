// The one kind of error that the library throws.

export class NatterError extends Error {
  constructor(code, message = code, more = {}) {
    super(message);
    this.name = "NatterError";
    this.code = code;
    Object.assign(this, more);
  }
}

/** A listener's error is not the library's: it is thrown where nothing else is under way. */
export function call(fn, ...values) {
  try {
    fn(...values);
  } catch (error) {
    queueMicrotask(() => {
      throw error;
    });
  }
}

/** Whether it is worth trying again without a change. */
export function isPassing(error) {
  return ["offline", "unavailable", "rate_limited"].includes(error?.code) || error?.status >= 500;
}
