/*
 * A plugin being served: one client on one pair of pipes, and perhaps broker on a channel beside it.
 *
 * Rule 1: every request is answered exactly once, unless its client cancelled it; ids are its own and never converted.
 * Rule 2: what is wrong with a message is said in its answer; nothing a client sends ends the plugin.
 * Rule 3: of an error that is not a `ToolError` a client learns only that it happened; the author reads it on stderr.
 */

import { Buffer } from "node:buffer";
import { Beside } from "./beside.ts";
import { Parked } from "./calls.ts";
import type { Call, Outcome } from "./calls.ts";
import { realClock } from "./clock.ts";
import type { Clock } from "./clock.ts";
import { Course } from "./course.ts";
import { Ctx } from "./ctx.ts";
import { LATEST_LEGACY, LEVELS, metaOf, stamped, SUBSCRIPTION } from "./eras.ts";
import { CannotAsk, INTERNAL, MISSING_CAPABILITY, Refusal, REQUEST, ToolError } from "./errors.ts";
import { Host } from "./host.ts";
import type { Channel } from "./host.ts";
import { take } from "./methods.ts";
import type { Offered, Plugin } from "./plugin.ts";
import type { Json } from "./schema.ts";
import { isObject } from "./validate.ts";
import { BadLine, decode, encode, errorLine, isBlank, Lines, resultLine, tokenAt } from "./wire.ts";
import type { Id, Message } from "./wire.ts";

const MOST_CALLS = 1024; // in flight
/** Seconds that calls in flight have when the client is gone, and again what stops the plugin. */
export const ENDING = 1;

/** Who is on the other side of a legacy connection; of a modern one each request says it. */
export interface Client {
  version: string;
  capabilities: Json;
  info: Json;
  opened: boolean;
  initialized: boolean;
  level: string;
}

export interface ServerOptions {
  clock?: Clock | undefined;
  channel?: Channel | undefined;
}

interface Asked {
  resolve(answer: Json): void;
  reject(error: Error): void;
}

/** Serves a plugin: bytes come in by `feed`, and lines go out by `write`, each with its end. */
export class Server {
  readonly plugin: Plugin;
  readonly clock: Clock;
  readonly host: Host;
  readonly info: Json;
  readonly client: Client = {
    version: LATEST_LEGACY,
    capabilities: {},
    info: {},
    opened: false,
    initialized: false,
    level: "info",
  };
  /** What `ctx.state` keeps without broker. */
  readonly state = new Map<string, unknown>();
  readonly subscribed = new Set<string>();
  /** What modern clients listen to, by the ids of their requests. */
  readonly listens = new Map<Id, Json>();
  /** Of what runs in nobody's course. */
  readonly beside: Beside;
  readonly #write: (line: string) => void;
  readonly #lines = new Lines();
  readonly #calls = new Map<Id, Call>();
  readonly #parked = new Parked();
  readonly #asked = new Map<Id, Asked>();
  #numbers = 0;
  #idle: (() => void) | undefined;

  constructor(plugin: Plugin, write: (line: string) => void, options: ServerOptions = {}) {
    this.plugin = plugin;
    this.#write = write;
    this.clock = options.clock ?? realClock;
    const { name, version, title } = plugin;
    this.info = title === undefined ? { name, version } : { name, version, title };
    this.beside = new Beside(this);
    this.host = new Host(this.beside);
    if (options.channel !== undefined) this.host.connect(options.channel);
    plugin.server = this;
  }

  /** Run what the plugin starts with. Feed it only then. */
  async start(): Promise<void> {
    await this.beside.start();
  }

  // Lines in

  /** Take what the client wrote. */
  feed(data: Uint8Array | string): void {
    const bytes = typeof data === "string" ? Buffer.from(data) : data;
    this.#lines.feed(bytes, (line, whole) => {
      if (!isBlank(line)) this.#read(line, whole);
    });
  }

  #read(line: Uint8Array, whole: boolean): void {
    let message: Message;
    try {
      message = decode(line, whole);
    } catch (error) {
      if (!(error instanceof BadLine)) throw error;
      const known = error.id !== undefined && !this.#calls.has(error.id);
      this.#write(errorLine(known ? error.id : undefined, error));
      return;
    }
    if (message.method === undefined) this.#answered(message);
    else if (message.id !== undefined) this.#requested(message, message.id, message.method);
    else this.#told(message);
  }

  #requested(message: Message, id: Id, method: string): void {
    if (this.#calls.has(id) || this.listens.has(id)) {
      this.#write(errorLine(undefined, new Refusal(REQUEST, "a request with this id is in flight")));
      return;
    }
    try {
      if (this.#calls.size >= MOST_CALLS) throw new Refusal(INTERNAL, `more than ${MOST_CALLS} requests are in flight`);
      const meta = metaOf(message);
      take(this, id, method, message.params as Json, meta);
    } catch (error) {
      this.#write(errorLine(id, this.#refusal(error, method, false)));
    }
  }

  #told(message: Message): void {
    if (message.method === "notifications/initialized") this.client.initialized = true;
    else if (message.method === "notifications/cancelled") this.#cancelled(message);
  }

  #cancelled(message: Message): void {
    const id = tokenAt(message, ["params", "requestId"]);
    if (id === undefined) return;
    this.listens.delete(id);
    const call = this.#calls.get(id);
    this.#over(id);
    call?.cancel();
  }

  #answered(message: Message): void {
    const asked = message.id === undefined ? undefined : this.#asked.get(message.id);
    if (asked === undefined) return;
    if (isObject(message.result)) asked.resolve(message.result);
    else asked.reject(new ToolError(`the client refused: ${whyNot(message)}`));
  }

  // Requests

  /** A new call is in flight, or one that was parked is again. */
  enter(call: Call, id: Id): void {
    this.#calls.set(id, call);
  }

  /** A client came back to a call that was parked. Throws `Refusal`. */
  resume(state: string, again: Call, id: Id, responses: Json): void {
    const call = this.#parked.take(state, again.key);
    this.enter(call, id);
    call.resume(id, again.meta, responses);
    if (call.outcome !== undefined) this.finished(call, call.outcome);
  }

  /** The client is asked, and has to come back with this state. */
  park(call: Call, state: string): void {
    this.#parked.add(call, state);
    if (call.id !== undefined) this.#over(call.id);
  }

  /** The work of a call is done: answer it, unless it is parked or nobody waits. */
  finished(call: Call, outcome: Outcome): void {
    const id = call.id;
    if (id === undefined) return;
    this.#over(id);
    try {
      if ("error" in outcome) throw outcome.error;
      this.reply(id, call.modern ? stamped(call.method, outcome.result, this.info) : outcome.result);
    } catch (error) {
      this.#write(errorLine(id, this.#refusal(error, `${call.method} ${call.name}`, call.modern)));
    }
  }

  #over(id: Id): void {
    this.#calls.delete(id);
    if (this.#calls.size === 0) this.#idle?.();
  }

  #refusal(error: unknown, what: string, modern: boolean): Refusal {
    if (error instanceof Refusal) return error;
    if (error instanceof CannotAsk) {
      const data = { requiredCapabilities: { [error.capability]: {} } };
      return new Refusal(modern ? MISSING_CAPABILITY : INTERNAL, error.message, data);
    }
    if (error instanceof ToolError) return new Refusal(INTERNAL, error.message);
    this.failed(what, error);
    return new Refusal(INTERNAL, `${what.split(" ", 1)[0]} failed in the plugin`);
  }

  reply(id: Id, result: Json): void {
    this.#write(resultLine(id, result));
  }

  // What the plugin says

  /** `params`: as JSON. */
  notify(method: string, params?: string): void {
    this.#write(`{"jsonrpc":"2.0","method":"${method}"${params === undefined ? "" : `,"params":${params}`}}\n`);
  }

  /** The answer to a request of ours, in the legacy era. Throws `ToolError`. */
  async askClient(method: string, params: Json, course: Course): Promise<Json> {
    const id = `"ask-${(this.#numbers += 1)}"`;
    try {
      return await course.waiting<Json>((resolve, reject) => {
        this.#asked.set(id, { resolve, reject });
        this.#write(`{"jsonrpc":"2.0","id":${id},"method":"${method}","params":${encode(params)}}\n`);
        return () => this.notify("notifications/cancelled", `{"requestId":${id}}`);
      });
    } finally {
      this.#asked.delete(id);
    }
  }

  /** Send a log message if the client wants it, else write it to stderr. */
  log(data: unknown, level: string, call: Call | undefined): void {
    const modern = call?.modern === true;
    const wanted = modern ? call.meta.level : this.client.level;
    const least = wanted === undefined ? -1 : LEVELS.indexOf(wanted);
    if (!(modern || this.client.initialized) || least < 0 || LEVELS.indexOf(level) < least) {
      this.complain(typeof data === "string" ? data : encode(data));
      return;
    }
    this.notify("notifications/message", encode({ level, logger: this.plugin.name, data }));
  }

  /** A list is no longer what it was. */
  changed(kind: keyof Offered): void {
    if (kind === "commands") {
      void this.beside.register();
      return;
    }
    const method = `notifications/${kind}/list_changed`;
    if (this.client.initialized) this.notify(method);
    for (const [id, wanted] of this.listens) {
      if (wanted[`${kind}ListChanged`]) this.notify(method, `{"_meta":{"${SUBSCRIPTION}":${id}}}`);
    }
  }

  /** A resource has another content. */
  updated(uri: string): void {
    const method = "notifications/resources/updated";
    if (this.subscribed.has(uri)) this.notify(method, encode({ uri }));
    for (const [id, { resourceSubscriptions: wanted }] of this.listens) {
      if (!Array.isArray(wanted) || !wanted.includes(uri)) continue;
      this.notify(method, `{"uri":${encode(uri)},"_meta":{"${SUBSCRIPTION}":${id}}}`);
    }
  }

  // Running an author's functions

  /** What a function returns. */
  async run(work: () => unknown): Promise<unknown> {
    await this.host.ready();
    return work();
  }

  /** In the course of a request of the client's, of a command that broker has run, or of neither. */
  ctx(course: Course = new Course(), call?: Call): Ctx {
    return new Ctx(this, course, call);
  }

  /** Tell the author of an error. */
  failed(what: string, error: unknown): void {
    const shown = error instanceof Error ? (error.stack ?? String(error)) : String(error);
    this.complain(`${what} failed:\n${shown}`);
  }

  /** A line for the author, on stderr. */
  complain(text: string): void {
    process.stderr.write(`${this.plugin.name}: ${text}\n`);
  }

  // Its end

  /** The client is gone: let what is in flight end for a moment, and end the rest. */
  async close(): Promise<void> {
    await this.beside.stop();
    if (this.#calls.size > 0) await this.#quiet();
    this.#parked.close();
    for (const call of this.#calls.values()) call.end(new Refusal(INTERNAL, "the plugin ended the request"));
    for (const asked of this.#asked.values()) asked.reject(new ToolError("the plugin ends"));
    this.host.close();
    this.plugin.server = undefined;
  }

  async #quiet(): Promise<void> {
    await new Promise<void>((resolve) => {
      const timer = setTimeout(resolve, ENDING * 1000);
      this.#idle = () => {
        clearTimeout(timer);
        resolve();
      };
    });
    this.#idle = undefined;
  }
}

function whyNot(message: Message): string {
  if ("result" in message && message.result !== undefined) return "its answer is none";
  const said = isObject(message.error) ? message.error["message"] : undefined;
  return typeof said === "string" ? said : "it did not say why";
}
