/* In whose course a function runs: of a request, of a command, or of neither. Who waits in it stops when it is over. */

/** What is asked of broker belongs to the course it is asked in. */
export class Course {
  #controller: AbortController | undefined;
  #reason: DOMException | undefined;
  readonly #waits = new Set<(reason: unknown) => void>();

  /** How broker knows what this belongs to, as JSON. */
  get about(): string | undefined {
    return undefined;
  }

  get cancelled(): boolean {
    return this.#reason !== undefined;
  }

  get signal(): AbortSignal {
    if (this.#controller === undefined) {
      this.#controller = new AbortController();
      if (this.#reason !== undefined) this.#controller.abort(this.#reason);
    }
    return this.#controller.signal;
  }

  /** Nobody wants what is done here any more. */
  abort(why: string): void {
    if (this.#reason !== undefined) return;
    this.#reason = new DOMException(why, "AbortError");
    for (const stop of [...this.#waits]) stop(this.#reason);
    this.#controller?.abort(this.#reason);
  }

  /**
   * A promise that is rejected when the course is aborted. `begin` starts what is waited for, and may return what
   * undoes it then.
   */
  waiting<T>(
    begin: (resolve: (value: T) => void, reject: (error: unknown) => void) => (() => void) | void,
  ): Promise<T> {
    return new Promise<T>((resolve, reject) => {
      if (this.#reason !== undefined) {
        reject(this.#reason);
        return;
      }
      let undo: (() => void) | void = undefined;
      const stop = (reason: unknown): void => {
        this.#waits.delete(stop);
        undo?.();
        reject(reason);
      };
      const left =
        <V>(settle: (value: V) => void) =>
        (value: V): void => {
          this.#waits.delete(stop);
          settle(value);
        };
      this.#waits.add(stop);
      undo = begin(left(resolve), left(reject));
    });
  }
}

/**
 * A course of its own that belongs to something: a command that broker has the plugin run, or what is told by the
 * way.
 */
export class Errand extends Course {
  readonly #about: string | undefined;

  constructor(about: string | undefined) {
    super();
    this.#about = about;
  }

  override get about(): string | undefined {
    return this.#about;
  }
}
