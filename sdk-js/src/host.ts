/*
 * The second channel: what a plugin asks of broker, and what broker tells it, beside MCP.
 *
 * Broker hands a connected socket to the plugins it starts, its number in `BROKER_HOST_FD`: one JSON-RPC message a
 * line. Without it the plugin runs in some other client, and every operation says so (`HostUnavailable`) unless its
 * caller knows a replacement.
 */

import { Buffer } from "node:buffer";
import type { Course } from "./course.ts";
import { HostError, HostUnavailable, INTERNAL, Refusal, ToolError } from "./errors.ts";
import type { Json } from "./schema.ts";
import { isObject } from "./validate.ts";
import { encode, errorLine, message, resultLine, tokenAt } from "./wire.ts";
import type { Id, Message } from "./wire.ts";

export const VARIABLE = "BROKER_HOST_FD";
/** Bytes of a line, in both directions. */
export const MAX_HOST_LINE = 1 << 20;
const HELLO = 5; // seconds that the first call of an author's function waits for what broker says first
const MAX_OPEN = 1024; // requests without an answer

/** Lines to broker and from it: a socket, or what a test puts in its place. */
export interface Channel {
  /** `line`: without its end. */
  write(line: string): void;
  onLine(take: (line: string) => void): void;
  onEnd(ended: () => void): void;
  close(): void;
}

/** What broker says first. */
export interface Hello {
  readonly plugin: string;
  readonly operations: ReadonlySet<string>;
  config: Json;
}

/** What broker asks of the plugin, and tells it. */
export interface Served {
  /** A request of broker's; `course` is aborted when nobody waits any more. */
  serve(method: string, params: Json, id: Id): { readonly course: Course; readonly work: Promise<unknown> };
  hear(event: string, params: Json): void;
}

interface Waiting {
  resolve(value: unknown): void;
  reject(error: unknown): void;
}

/** The channel to broker. */
export class Host {
  readonly #served: Served;
  readonly #waiting = new Map<string, Waiting>();
  readonly #serving = new Map<Id, Course>();
  #channel: Channel | undefined;
  #last = 0;
  #greeted: Promise<void> | undefined;
  #greet: () => void = () => undefined;
  hello: Hello = { plugin: "", operations: new Set(), config: {} };

  constructor(served: Served) {
    this.#served = served;
  }

  /** Whether there is a broker. */
  get available(): boolean {
    return this.#channel !== undefined;
  }

  /** What broker grants this plugin. */
  get operations(): ReadonlySet<string> {
    return this.hello.operations;
  }

  /** Use this channel, and close it in the end. */
  connect(channel: Channel): void {
    this.#channel = channel;
    this.#greeted = new Promise((resolve) => {
      const timer = setTimeout(resolve, HELLO * 1000);
      this.#greet = () => {
        clearTimeout(timer);
        this.#greeted = undefined;
        resolve();
      };
    });
    channel.onLine((line) => this.#take(line));
    channel.onEnd(() => this.#lost());
  }

  /** Wait until broker has said what this plugin may do; at once if there is no broker. */
  async ready(): Promise<void> {
    if (this.#greeted === undefined) return;
    await this.#greeted;
    this.#greeted = undefined;
  }

  /** Have broker do something in this course; its result. Throws `HostUnavailable`, `HostError`. */
  async request(operation: string, params: Json, course: Course): Promise<any> {
    if (this.#channel === undefined) throw new HostUnavailable(operation);
    if (this.#waiting.size >= MAX_OPEN) {
      throw new HostError(`more than ${MAX_OPEN} requests wait for broker`, "overloaded");
    }
    const id = String((this.#last += 1));
    const line = `{"jsonrpc":"2.0","id":${id},"method":${encode(operation)},"params":${marked(params, course.about)}}`;
    if (isTooLong(line)) {
      throw new HostError(`the params have more than ${MAX_HOST_LINE >> 20} MiB`, "frame-too-large");
    }
    return this.#asked(id, line, course);
  }

  async #asked(id: string, line: string, course: Course): Promise<unknown> {
    try {
      return await course.waiting<unknown>((resolve, reject) => {
        this.#waiting.set(id, { resolve, reject });
        this.#channel?.write(line);
        return () => this.#channel?.write(`{"jsonrpc":"2.0","method":"cancel","params":{"id":${id}}}`);
      });
    } finally {
      this.#waiting.delete(id);
    }
  }

  close(): void {
    this.#channel?.close();
    this.#lost();
    for (const course of this.#serving.values()) course.abort("the plugin ends");
  }

  #lost(): void {
    this.#channel = undefined;
    this.#greet();
    for (const waiting of this.#waiting.values()) waiting.reject(new HostUnavailable("the operation"));
  }

  #take(line: string): void {
    let found: Message;
    try {
      found = message(line);
    } catch {
      return; // broker's fault, which costs its message
    }
    const params = isObject(found.params) ? found.params : {};
    if (found.method === undefined) this.#settle(found);
    else if (found.id !== undefined) void this.#serve(found.id, found.method, params);
    else if (found.method === "hello") this.#hear(params);
    else if (found.method === "cancel") this.#cancel(tokenAt(found, ["params", "id"]));
    else if (found.method === "event") {
      this.#served.hear(String(params.name ?? ""), isObject(params.params) ? params.params : {});
    }
  }

  #hear(params: Json): void {
    const operations = Array.isArray(params.operations) ? params.operations.map(String) : [];
    const config = isObject(params.config) ? params.config : {};
    this.hello = { plugin: String(params.plugin ?? ""), operations: new Set(operations), config };
    this.#greet();
  }

  #cancel(id: Id | undefined): void {
    if (id !== undefined) this.#serving.get(id)?.abort("broker does not wait any more");
  }

  #settle(found: Message): void {
    const waiting = found.id === undefined ? undefined : this.#waiting.get(found.id);
    if (waiting === undefined) return;
    if (found.error === undefined || found.error === null) waiting.resolve(found.result);
    else waiting.reject(failure(found.error));
  }

  async #serve(id: Id, method: string, params: Json): Promise<void> {
    const { course, work } = this.#served.serve(method, params, id);
    this.#serving.set(id, course);
    let line: string;
    try {
      line = resultLine(id, await work);
      if (isTooLong(line)) throw new ToolError(`the result has more than ${MAX_HOST_LINE >> 20} MiB`);
    } catch (error) {
      const known = error instanceof ToolError ? new Refusal(INTERNAL, error.message) : error;
      line = errorLine(id, known instanceof Refusal ? known : new Refusal(INTERNAL, "it failed in the plugin"));
    }
    this.#serving.delete(id);
    if (!course.cancelled) this.#channel?.write(line.trimEnd());
  }
}

function isTooLong(line: string): boolean {
  return 3 * line.length > MAX_HOST_LINE && Buffer.byteLength(line) > MAX_HOST_LINE;
}

function marked(params: Json, about: string | undefined): string {
  const text = encode(params);
  if (about === undefined) return text;
  return `${text.slice(0, -1)}${text === "{}" ? "" : ","}"_meta":${about}}`;
}

function failure(error: unknown): HostError {
  const fault = isObject(error) ? error : {};
  const data = isObject(fault.data) ? fault.data : {};
  const code = String(data.name ?? data.code ?? "host-failed");
  return new HostError(String(fault.message ?? "broker refused"), code, String(data.hint ?? ""));
}
