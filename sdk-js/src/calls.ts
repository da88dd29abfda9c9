/*
 * A request in flight: its deadline, what its client is asked meanwhile, and how it waits for the answer.
 *
 * Rule 1: the function runs once, whatever the era. In the legacy era a question is a request to the client. In the
 *         modern one the request is answered with the question and the call is parked; the client repeats the request
 *         with the answer, and the function goes on.
 * Rule 2: questions asked at once (`Promise.all`) go to a modern client together.
 * Rule 3: `requestState` is a number nobody can guess, for one round only; what is repeated must be the same request.
 * Rule 4: a client that starts afresh with answers (no state) has them ready, by their keys, and is asked for the rest.
 * Rule 5: while a person is asked the deadline stands still. A client that never comes back costs `PARKED` seconds.
 * Rule 6: nothing can stop a function that goes on after it was cancelled; its `signal` says so, what it waits for by
 *         its `ctx` fails, and nobody hears of its result.
 */

import type { Timer } from "./clock.ts";
import { Course } from "./course.ts";
import { asking, NEEDS, TITLED_CHOICES } from "./eras.ts";
import type { RequestMeta } from "./eras.ts";
import { CannotAsk, PARAMS, Refusal, ToolError } from "./errors.ts";
import type { Json } from "./schema.ts";
import type { Server } from "./server.ts";
import { isObject } from "./validate.ts";
import type { Id } from "./wire.ts";

const PARKED = 600; // seconds that a call waits for its client to come back
const MOST_PARKED = 256; // calls; the oldest goes first

/** What a modern client adds when it repeats a request. */
export interface Retry {
  readonly responses: Json;
  readonly state: string | undefined;
}

/** Something that a client is asked and has not answered yet. */
interface Question {
  readonly request: Json;
  settle: ((answer: Json) => void) | undefined;
}

/** How a call ended. */
export type Outcome = { readonly result: Json } | { readonly error: unknown };

/** One request of the client, under the id it has now: none while it is parked. */
export class Call extends Course {
  readonly server: Server;
  readonly method: string;
  readonly name: string;
  /** What makes two requests the same. */
  readonly key: string;
  meta: RequestMeta;
  id: Id | undefined;
  #outcome: Outcome | undefined;
  #late: (() => Outcome) | undefined;
  #early: Map<string, unknown>;
  #open = new Map<string, Question>();
  #asked = 0;
  #deadline: Timer | undefined;
  #seconds: number | null = null;
  #flushing = false;

  constructor(server: Server, id: Id, method: string, name: string, meta: RequestMeta, args?: unknown, retry?: Retry) {
    super();
    this.server = server;
    this.id = id;
    this.method = method;
    this.name = name;
    this.key = JSON.stringify([method, name, args]);
    this.meta = meta;
    this.#early = new Map(Object.entries(retry?.responses ?? {}));
  }

  override get about(): string | undefined {
    return this.id === undefined ? undefined : `{"requestId":${this.id}}`;
  }

  get modern(): boolean {
    return this.meta.modern;
  }

  // Its life

  /** Run `work`, whose result is the answer; after `seconds` (null: never) `late` is the answer instead. */
  start(work: () => Promise<Json>, seconds: number | null, late: () => Outcome): void {
    this.#seconds = seconds;
    this.#late = late;
    this.#wind();
    work().then(
      (result) => this.#end({ result }),
      (error: unknown) => this.#end({ error }),
    );
  }

  /** Nobody waits for the answer any more. */
  cancel(): void {
    this.id = undefined;
    this.#stopClock();
    this.#outcome = { error: undefined };
    this.abort("the client cancelled the request");
  }

  /** The result, for a client that came back after it was there. */
  get outcome(): Outcome | undefined {
    return this.#outcome;
  }

  /** It ends with this error, whatever its function does. */
  end(error: unknown): void {
    this.abort("the plugin ends");
    this.#end({ error });
  }

  #end(outcome: Outcome): void {
    if (this.#outcome !== undefined) return;
    this.#outcome = outcome;
    this.#stopClock();
    this.server.finished(this, outcome);
  }

  #wind(): void {
    if (this.#seconds === null || this.#outcome !== undefined) return;
    this.#deadline = this.server.clock.setTimeout(() => this.#expire(), this.#seconds);
  }

  #expire(): void {
    const late = this.#late?.() ?? { error: undefined };
    this.abort(`it took longer than ${this.#seconds} s`);
    this.#end(late);
  }

  #stopClock(): void {
    this.#deadline?.clear();
    this.#deadline = undefined;
  }

  // What it says to its client

  /** What the client says it can be asked. */
  get capabilities(): Json {
    return this.meta.capabilities ?? (this.modern ? {} : this.server.client.capabilities);
  }

  /** Whether the choices of a form may have titles. */
  get titledChoices(): boolean {
    return this.modern || this.server.client.version >= TITLED_CHOICES;
  }

  /** A notification in the course of this request; nothing, once it has been answered. `params`: as JSON. */
  tell(method: string, params: string): void {
    if (this.id !== undefined && this.#outcome === undefined) this.server.notify(method, params);
  }

  /** The client's answer. Throws `CannotAsk` when it cannot be asked, `ToolError` when it refuses. */
  async ask(method: string, params: Json, key?: string): Promise<Json> {
    const need = NEEDS[method] ?? method;
    if (!(need in this.capabilities)) throw new CannotAsk(need);
    this.#asked += 1;
    this.#stopClock();
    try {
      if (!this.modern) return await this.server.askClient(method, params, this);
      return await this.#askModern(method, params, key ?? `question-${this.#asked}`);
    } finally {
      if (this.#open.size === 0) {
        this.#stopClock();
        this.#wind();
      }
    }
  }

  async #askModern(method: string, params: Json, key: string): Promise<Json> {
    const early = this.#early.get(key);
    this.#early.delete(key);
    if (isObject(early)) return early;
    if (this.#open.has(key)) throw new ToolError(`two questions of one call have the key "${key}"`);
    const question: Question = { request: { method, params }, settle: undefined };
    this.#open.set(key, question);
    this.#flush();
    try {
      return await this.waiting<Json>((resolve) => {
        question.settle = resolve;
      });
    } finally {
      this.#open.delete(key);
    }
  }

  // Rounds of the modern era

  /** Ask what is open, once everything that is ready to run has had its turn. */
  #flush(): void {
    if (this.#flushing) return;
    this.#flushing = true;
    setImmediate(() => this.#park());
  }

  #park(): void {
    this.#flushing = false;
    if (this.id === undefined || this.#open.size === 0 || this.#outcome !== undefined) return;
    const state = crypto.randomUUID() + crypto.randomUUID();
    const id = this.id;
    this.server.park(this, state);
    this.id = undefined;
    const requests = Object.fromEntries([...this.#open].map(([key, question]) => [key, question.request]));
    this.server.reply(id, asking(requests, state, this.server.info));
  }

  /** The client came back, under another id. What it did not answer it is asked again. */
  resume(id: Id, meta: RequestMeta, responses: Json): void {
    this.id = id;
    this.meta = meta;
    let left = false;
    for (const [key, question] of this.#open) {
      const answer = Object.hasOwn(responses, key) ? responses[key] : undefined;
      if (isObject(answer)) question.settle?.(answer);
      else left = true;
    }
    if (left) this.#flush();
  }
}

/** The calls whose clients have to come back, by the state that was given to each. */
export class Parked {
  readonly #calls = new Map<string, { readonly call: Call; readonly timer: Timer }>();

  add(call: Call, state: string): void {
    for (const oldest of this.#calls.keys()) {
      if (this.#calls.size < MOST_PARKED) break;
      this.#giveUp(oldest);
    }
    this.#calls.set(state, { call, timer: call.server.clock.setTimeout(() => this.#giveUp(state), PARKED) });
  }

  /** The call that was given this state. Throws `Refusal` for a state or a request that is another. */
  take(state: string, key: string): Call {
    const found = this.#calls.get(state);
    if (found === undefined) {
      throw new Refusal(PARAMS, "no call waits for this requestState: it is over, or was never one of ours");
    }
    if (found.call.key !== key) throw new Refusal(PARAMS, "this requestState belongs to another request");
    found.timer.clear();
    this.#calls.delete(state);
    return found.call;
  }

  #giveUp(state: string): void {
    const found = this.#calls.get(state);
    this.#calls.delete(state);
    found?.timer.clear();
    found?.call.cancel();
  }

  close(): void {
    for (const state of [...this.#calls.keys()]) this.#giveUp(state);
  }
}
