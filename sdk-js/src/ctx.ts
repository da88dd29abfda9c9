/*
 * `Ctx`: what a plugin's function may do besides returning. The same names in every language broker has an SDK for.
 *
 * Whatever needs broker has a replacement in any other client, or says that it has none (`HostUnavailable`):
 *
 * | here                      | without broker                                                      |
 * | `log`, `toast`, `status`  | the client's log if it wants one, else stderr; status: nothing      |
 * | `progress`                | the same: MCP has it                                                |
 * | `ask`                     | the same: MCP has it, for clients that can ask                      |
 * | `config`                  | `BROKER_CONFIG_<KEY>` in the environment, as JSON or text           |
 * | `secrets`                 | `BROKER_SECRET_<NAME>` in the environment                           |
 * | `state`                   | kept in memory, as long as the plugin runs                          |
 * | `call`, `show`, `editor`  | `HostUnavailable`                                                   |
 */

import { asking } from "./asking.ts";
import type { Ask } from "./asking.ts";
import type { Call } from "./calls.ts";
import { Errand } from "./course.ts";
import type { Course } from "./course.ts";
import { HostError, HostUnavailable, ToolError } from "./errors.ts";
import type { Options, Secret, Unlisted } from "./known.ts";
import type { Operation, ParamsOf, ResultOf } from "./operations.ts";
import { Progress } from "./progress.ts";
import type { Json } from "./schema.ts";
import type { Server } from "./server.ts";
import { isObject } from "./validate.ts";
import { encode } from "./wire.ts";

export type Level = "debug" | "info" | "warn" | "error";

/** `ctx.log("text")`, or with a level: `ctx.log.warn("text")`; any JSON will do. */
export interface Log {
  (message: unknown, level?: Level): void;
  debug(message: unknown): void;
  info(message: unknown): void;
  warn(message: unknown): void;
  error(message: unknown): void;
}

/** What a client's model may be asked besides. */
export interface SampleOptions {
  maxTokens?: number;
  /** How a modern client sees the question named. */
  key?: string;
  /** Other params of `sampling/createMessage`. */
  [param: string]: unknown;
}

/** Of one call, command or event. */
export class Ctx {
  readonly #server: Server;
  readonly #course: Course;
  readonly #call: Call | undefined;
  readonly host: HostOf;

  /** @internal */
  constructor(server: Server, course: Course, call?: Call) {
    this.#server = server;
    this.#course = course;
    this.#call = call;
    this.host = new HostOf(server, course);
  }

  // Its parts, made when they are wanted: most calls want few

  /** Tell who reads the log. */
  get log(): Log {
    return logOf(this.#server, this.host, this.#call);
  }

  /** Ask the person. */
  get ask(): Ask {
    return asking(this, this.#call);
  }

  get status(): Status {
    return new Status(this.host);
  }

  get config(): Config {
    return new Config(this.#server);
  }

  get secrets(): Secrets {
    return new Secrets(this.host);
  }

  get state(): State {
    return new State(this.#server, this.host);
  }

  get editor(): Editor {
    return new Editor(this.host);
  }

  // What is going on

  /** Aborted when nobody waits for the result any more. */
  get signal(): AbortSignal {
    return this.#course.signal;
  }

  /** Whether nobody waits for the result any more. */
  get cancelled(): boolean {
    return this.#course.cancelled;
  }

  /** What the client calls itself: `{ name, version }`. */
  get client(): Json {
    const info = this.#call?.meta.info;
    return isObject(info) ? info : this.#server.client.info;
  }

  /** Whether the client of this call can be asked that. */
  can(what: "elicitation" | "sampling" | "roots"): boolean {
    return this.#call !== undefined && what in this.#call.capabilities;
  }

  // What can be said and asked

  /**
   * Tell how far this call is: `using p = ctx.progress("Scanning", { total: 10 }); p.step();`
   *
   * In a command or an event it is work that broker shows by itself, and `p.cancelled` says when to stop.
   */
  progress(title = "", options: { total?: number | undefined } = {}): Progress {
    return new Progress(this, this.#call, title, options.total);
  }

  /** Show the person a short message; never waits, never fails. */
  toast(title: string, options: { message?: string; kind?: "info" | "warn" | "error" } = {}): void {
    const { message = "", kind = "info" } = options;
    if (!this.host.tell("toast", { title, message, kind })) this.log(message ? `${title}: ${message}` : title, kind);
  }

  /** Open a file in the editor, or a page of https in the browser; whether somebody is there to see it. */
  async show(uri: string, options: { range?: ParamsOf<"show">["range"]; focus?: boolean } = {}): Promise<boolean> {
    return (await this.host.request("show", { uri, focus: true, ...options })).shown;
  }

  /** The result of another plugin's tool: its data if it has any, else its text. Throws `ToolError`. */
  async call(plugin: string, tool: string, args: Json = {}): Promise<any> {
    return valueOf(await this.host.request("call", { plugin, tool, arguments: args }));
  }

  /** What the client's model says to a prompt. */
  async sample(prompt: string, options: SampleOptions = {}): Promise<string> {
    const { maxTokens = 1000, key, ...more } = options;
    const messages = [{ role: "user", content: { type: "text", text: prompt } }];
    const { content } = await this.request("sampling/createMessage", { messages, maxTokens, ...more }, { key });
    return isObject(content) ? String(content.text ?? "") : "";
  }

  /** The folders that the client has open, as URIs. */
  async roots(options: { key?: string } = {}): Promise<string[]> {
    const { roots } = await this.request("roots/list", {}, options);
    return Array.isArray(roots) ? roots.map((root: unknown) => String(isObject(root) ? root.uri : "")) : [];
  }

  /**
   * The client's answer to any request of MCP, in either era: `elicitation/create`, `sampling/createMessage`,
   * `roots/list`. `key`: how a modern client sees the question named.
   */
  async request(method: string, params: Json, options: { key?: string | undefined } = {}): Promise<Json> {
    if (this.#call === undefined) {
      throw new ToolError(`${method} can be asked only while a tool, a prompt or a resource is asked for`);
    }
    return this.#call.ask(method, params, options.key);
  }

  // Time

  /** Seconds since the epoch; a test can move them. */
  now(): number {
    return this.#server.clock.now();
  }

  /** Until so many seconds passed; a test can move the time. Rejected when nobody waits for the result any more. */
  sleep(seconds: number): Promise<void> {
    return this.#course.waiting<void>((resolve) => {
      const timer = this.#server.clock.setTimeout(() => resolve(), seconds);
      return () => timer.clear();
    });
  }
}

function logOf(server: Server, host: HostOf, call: Call | undefined): Log {
  const log = (message: unknown, level: Level = "info"): void => {
    const text = typeof message === "string" ? message : encode(message);
    if (host.tell("log", { message: text.slice(0, 8192), level })) return;
    server.log(message, level === "warn" ? "warning" : level, call);
  };
  return Object.assign(log, {
    debug: (message: unknown) => log(message, "debug"),
    info: (message: unknown) => log(message, "info"),
    warn: (message: unknown) => log(message, "warn"),
    error: (message: unknown) => log(message, "error"),
  });
}

/** Short texts beside the plugin's name, as long as it runs; broker only. */
export class Status {
  readonly #host: HostOf;

  /** @internal */
  constructor(host: HostOf) {
    this.#host = host;
  }

  /** Show `text` (at most 200 characters) under a key of yours. */
  set(key: string, text: string): void {
    this.#host.tell("set_status", { key, value: text.slice(0, 200) });
  }

  /** Take it away. */
  clear(key: string): void {
    this.set(key, "");
  }
}

/** The kind of value that a default is one of. */
type Wide<T> = T extends string ? string : T extends number ? number : T extends boolean ? boolean : T;

/** The plugin's own options: `ctx.config.get("limit", 100)`. */
export class Config {
  readonly #server: Server;

  /** @internal */
  constructor(server: Server) {
    this.#server = server;
  }

  /** One of them; `otherwise` if it is not there. */
  get(key: Unlisted): any;
  get<T>(key: Unlisted, otherwise: T): Wide<T>;
  get<K extends keyof Options & string>(key: K, otherwise?: Options[K]): Options[K];
  get<T>(key: string, otherwise?: T): T {
    const { host } = this.#server;
    if (host.available) return (Object.hasOwn(host.hello.config, key) ? host.hello.config[key] : otherwise) as T;
    const text = process.env[`BROKER_CONFIG_${variable(key)}`];
    return text === undefined ? (otherwise as T) : (decoded(text) as T);
  }

  /** Their names. */
  keys(): string[] {
    const { host } = this.#server;
    if (host.available) return Object.keys(host.hello.config);
    const found = Object.keys(process.env).filter((name) => name.startsWith("BROKER_CONFIG_"));
    return found.map((name) => name.slice("BROKER_CONFIG_".length).toLowerCase());
  }
}

/** Secrets that the person gave to this plugin. */
export class Secrets {
  readonly #host: HostOf;

  /** @internal */
  constructor(host: HostOf) {
    this.#host = host;
  }

  /** One of them. Throws `HostError` if it was not granted or is not there. */
  async get(name: Secret): Promise<string> {
    if (this.#host.available) {
      const { value } = await this.#host.request("secrets.get", { name });
      if (value === null || value === undefined)
        throw new HostError(`there is no secret \`${name}\``, "secret-missing");
      return String(value);
    }
    const found = process.env[`BROKER_SECRET_${variable(name)}`];
    if (found === undefined) throw new HostUnavailable(`secrets.get ${name}`);
    return found;
  }

  /** Keep one in the keyring of the system. Throws `HostUnavailable`, `HostError`. */
  async set(name: Secret, value: string): Promise<void> {
    await this.#host.request("secrets.set", { name, value });
  }

  /** Forget one. Throws as `set`. */
  async delete(name: Secret): Promise<void> {
    await this.#host.request("secrets.delete", { name });
  }
}

/** JSON values that are kept for this plugin, also after it ends (without broker: until then). */
export class State {
  readonly #server: Server;
  readonly #host: HostOf;

  /** @internal */
  constructor(server: Server, host: HostOf) {
    this.#server = server;
    this.#host = host;
  }

  /** What was kept under a key; `otherwise` if there is nothing. */
  async get<T = any>(key: string, otherwise?: T): Promise<Wide<T>> {
    const { available } = this.#host;
    const found: unknown = available ? await this.#host.request("state.get", { key }) : this.#server.state.get(key);
    return (found ?? otherwise) as Wide<T>;
  }

  /** Keep a value; null takes it away. */
  async set(key: string, value: unknown): Promise<void> {
    if (this.#host.available) await this.#host.request("state.set", { key, value: value as null });
    else this.#server.state.set(key, decoded(encode(value)));
  }

  /** Take it away. */
  async delete(key: string): Promise<void> {
    await this.set(key, null);
  }
}

/** The editor that the person works in; every operation throws `HostError` where there is none (`not-in-client`). */
export class Editor {
  readonly #host: HostOf;

  /** @internal */
  constructor(host: HostOf) {
    this.#host = host;
  }

  /** The document that the person works on. */
  async active(): Promise<ResultOf<"editor.active">> {
    return this.#host.request("editor.active", {});
  }

  /** The text of an open document, with what is not saved yet. */
  async read(uri: string): Promise<string> {
    return (await this.#host.request("editor.read", { uri })).text;
  }

  /** Change documents: uri -> `[{ range: { start, end }, newText }]`; whether it was done. */
  async edit(changes: ParamsOf<"editor.edit">["changes"], label = ""): Promise<boolean> {
    return (await this.#host.request("editor.edit", { changes, label })).applied;
  }

  /** Mark places in a document, in the place of what was marked: `[{ range, message, severity? }]`. */
  async diagnostics(uri: string, diagnostics: ParamsOf<"editor.diagnostics">["diagnostics"]): Promise<void> {
    await this.#host.request("editor.diagnostics", { uri, diagnostics });
  }
}

/**
 * Broker's operations by name, for what has no method of its own: `await ctx.host.request("fs.read", { path: "a" })`.
 */
export class HostOf {
  readonly #server: Server;
  readonly #course: Course;

  /** @internal */
  constructor(server: Server, course: Course) {
    this.#server = server;
    this.#course = course;
  }

  /** Whether the plugin runs under broker. */
  get available(): boolean {
    return this.#server.host.available;
  }

  /** The operations that were granted. */
  get operations(): ReadonlySet<string> {
    return this.#server.host.operations;
  }

  /** Its result. Throws `HostUnavailable`, `HostError`. */
  request<O extends Operation>(operation: O, params: ParamsOf<O>): Promise<ResultOf<O>>;
  request<O extends string>(operation: O extends Operation ? never : O, params?: object): Promise<any>;
  request(operation: string, params: object = {}): Promise<any> {
    return this.#server.host.request(operation, params as Json, this.#course);
  }

  /** Have it done some time; whether there is a broker that takes it. `then` has its result. */
  tell(operation: string, params: object, then?: (result: unknown) => void): boolean {
    const { host } = this.#server;
    if (!host.available || !host.operations.has(operation)) return false;
    const course = new Errand(this.#course.about); // it goes on when this one is over
    host.request(operation, params as Json, course).then(then, (error: Error) => {
      if (host.available) this.#server.complain(`${operation}: ${error.message}`);
    });
    return true;
  }
}

function variable(name: string): string {
  return name.replace(/[^\p{L}\p{N}]/gu, "_").toUpperCase();
}

function decoded(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return text;
  }
}

/** The value in a tool's result. */
function valueOf(result: unknown): unknown {
  if (!isObject(result)) return result;
  const content = (Array.isArray(result.content) ? result.content : []) as Json[];
  const said = content
    .filter((each) => each.type === "text")
    .map((each) => String(each.text ?? ""))
    .join("\n");
  if (result.isError) throw new ToolError(said || "the tool failed");
  return "structuredContent" in result ? result.structuredContent : said;
}
