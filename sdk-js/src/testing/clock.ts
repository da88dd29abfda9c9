/* A clock that stands still until a test moves it. */

import type { Timer } from "../clock.ts";

const START = 1_800_000_000; // seconds since the epoch; some day in 2027

interface Due {
  at: number;
  run: () => void;
}

/** Timers wait until `advance` has passed their time. */
export class MovedClock {
  #now = START;
  #timers = new Set<Due>();

  now(): number {
    return this.#now;
  }

  /** @internal */
  setTimeout(run: () => void, seconds: number): Timer {
    const due = { at: this.#now + seconds, run };
    this.#timers.add(due);
    return { clear: () => void this.#timers.delete(due) };
  }

  /** Let seconds pass: what was to happen until then happens, in its order, with all that it brings about. */
  async advance(seconds: number): Promise<void> {
    const until = this.#now + seconds;
    for (let due = this.#next(until); due !== undefined; due = this.#next(until)) {
      this.#timers.delete(due);
      this.#now = Math.max(this.#now, due.at);
      due.run();
      await settled();
    }
    this.#now = until;
    await settled();
  }

  /** How many timers have not come yet. */
  get waiting(): number {
    return this.#timers.size;
  }

  #next(until: number): Due | undefined {
    const due = [...this.#timers].filter((each) => each.at <= until);
    return due.sort((one, other) => one.at - other.at)[0];
  }
}

/** When everything that was ready to run has run. */
function settled(): Promise<void> {
  return new Promise((resolve) => setImmediate(resolve));
}
