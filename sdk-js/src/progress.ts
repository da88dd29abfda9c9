/* How far a call is, or work beside any call. */

import type { Call } from "./calls.ts";
import type { Ctx } from "./ctx.ts";
import { isObject } from "./validate.ts";
import { encode } from "./wire.ts";

const PACE = 20; // milliseconds between two reports; those between are left out, unless they are the last
let works = 0;

/**
 * Reports of a call go under the token that its client gave, and nowhere if it gave none. Those of a command or an
 * event are broker's to show.
 *
 * It is over at the end of its block (`using p = ctx.progress(...)`), or when `end` says so.
 */
export class Progress {
  readonly #ctx: Ctx;
  readonly #call: Call | undefined;
  readonly #title: string;
  readonly #total: number | undefined;
  readonly #work: string;
  #done = 0;
  #at = 0;
  #stopped = false;
  #over = false;

  /** @internal */
  constructor(ctx: Ctx, call: Call | undefined, title: string, total: number | undefined) {
    this.#ctx = ctx;
    this.#call = call;
    this.#title = title;
    this.#total = total;
    this.#work = call === undefined ? `work-${(works += 1)}` : "";
    if (call !== undefined) this.#send("");
    else ctx.host.tell("progress.begin", { id: this.#work, title: title || "Working", cancellable: true });
  }

  /** Whether its person wants it to end. */
  get cancelled(): boolean {
    return this.#stopped || this.#ctx.cancelled;
  }

  /** So much more is done. */
  step(steps = 1, message = ""): void {
    this.at(this.#done + steps, message);
  }

  /** So much is done. It never goes back: a smaller number changes nothing. */
  at(done: number, message = ""): void {
    if (!(done > this.#done)) return;
    this.#done = done;
    const last = this.#total !== undefined && done >= this.#total;
    if (last || performance.now() - this.#at >= PACE) this.#send(message);
  }

  /** It is over. */
  end(): void {
    if (this.#over) return;
    this.#over = true;
    if (this.#call === undefined) this.#ctx.host.tell("progress.end", { id: this.#work });
    else if (this.#total !== undefined) this.at(this.#total);
  }

  [Symbol.dispose](): void {
    this.end();
  }

  #send(message: string): void {
    this.#at = performance.now();
    if (this.#call === undefined) {
      this.#report(message);
      return;
    }
    const { token } = this.#call.meta;
    if (token === undefined) return;
    const said = message || this.#title;
    const rest = encode({ progress: this.#done, total: this.#total, ...(said ? { message: said } : {}) });
    this.#call.tell("notifications/progress", `{"progressToken":${token},${rest.slice(1)}`);
  }

  #report(message: string): void {
    const percentage = this.#total ? { percentage: Math.min(100, (100 * this.#done) / this.#total) } : {};
    const params = { id: this.#work, message: message || null, ...percentage };
    this.#ctx.host.tell("progress.report", params, (result) => {
      if (isObject(result) && result.cancelled) this.#stopped = true;
    });
  }
}
