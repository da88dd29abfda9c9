/* The time a plugin lives in: the real one, or one that a test moves. */

export interface Timer {
  /** It is not called any more. */
  clear(): void;
}

export interface Clock {
  /** Seconds since the epoch. */
  now(): number;
  /** Call it in so many seconds, unless it is cleared before. */
  setTimeout(run: () => void, seconds: number): Timer;
}

const LONGEST = 2 ** 31 - 1; // milliseconds; above it timers fire at once

/** Seconds that pass by themselves. */
export const realClock: Clock = {
  now: () => Date.now() / 1000,
  setTimeout(run, seconds) {
    const timer = setTimeout(run, Math.min(seconds * 1000, LONGEST));
    return { clear: () => clearTimeout(timer) };
  },
};
