/* A client of MCP for tests: it writes and reads lines, in either era, and answers what the plugin asks. */

import { ToolError } from "../errors.ts";
import { bounded } from "./host.ts";

export type Json = Record<string, any>;
export type Era = "modern" | "legacy";

/** How far a call is. */
export interface Report {
  progress: number;
  total?: number;
  message?: string;
}

const BOUND = 30_000; // ms for any answer; a first one may wait for slow imports
const ROUNDS = 10; // of questions in one call
const META = "io.modelcontextprotocol/";
const VERSIONS = { modern: "2026-07-28", legacy: "2025-11-25" };
const CAPABILITIES = { elicitation: {}, sampling: {}, roots: {} };
const INFO = { name: "broker-sdk-testing", version: "1" };

/** The plugin answered with an error of the protocol. */
export class Failed extends Error {
  readonly code: number;
  readonly data: unknown;

  /** @internal */
  constructor({ code, message, data }: Json) {
    super(message);
    this.name = "Failed";
    this.code = code;
    this.data = data;
  }
}

/** What a tool returned. */
export class Reply {
  readonly raw: Json;
  readonly progress: Report[];
  readonly content: Json[];
  readonly isError: boolean;

  /** @internal */
  constructor(raw: Json, progress: Report[]) {
    this.raw = raw;
    this.progress = progress;
    this.content = raw.content ?? [];
    this.isError = Boolean(raw.isError);
  }

  get text(): string {
    return this.content.flatMap((each) => (each.type === "text" ? [each.text] : [])).join("\n");
  }

  /** What it structured, without the wrapping of what is no object. */
  get data(): any {
    const found = this.raw.structuredContent;
    return Object.keys(found ?? {}).join() === "result" ? found.result : found;
  }

  /** Itself. Throws a `ToolError` with the tool's text when it failed. @internal */
  checked(): this {
    if (this.isError) throw new ToolError(this.text);
    return this;
  }
}

/** A request that has not been answered. */
export class Pending {
  id: number;
  readonly #client: Client;
  readonly #method: string;
  readonly #params: Json;

  /** @internal */
  constructor(client: Client, id: number, method: string, params: Json) {
    this.id = id;
    this.#client = client;
    this.#method = method;
    this.#params = params;
  }

  /** Say that nobody waits any more. No answer comes then. */
  cancel(): void {
    this.#client.tell("notifications/cancelled", { requestId: this.id });
  }

  /** The answer, once what the plugin asks has been answered. Throws `Failed`. */
  async result(): Promise<Json> {
    for (let round = 0; round < ROUNDS; round++) {
      const found = await this.#client.answerTo(this.id);
      if ("error" in found) throw new Failed(found.error);
      if (found.result.resultType !== "input_required") return found.result;
      this.id = this.#client.retry(this.#method, this.#params, found.result);
    }
    throw new Error(`${this.#method} asks on after ${ROUNDS} rounds`);
  }
}

/** `answer` gives what a person, a model or the roots say: method, params -> result. */
export class Client {
  /** Every notification, in order. */
  readonly told: Json[] = [];
  readonly era: Era;
  readonly #write: (line: string) => void;
  readonly #answer: (method: string, params: Json) => Json;
  readonly #replies = new Map<number, Promise<Json>>();
  readonly #settle = new Map<number, { resolve: (reply: Json) => void; reject: (error: Error) => void }>();
  #numbers = 0;
  #ended: Error | undefined;

  /** @internal */
  constructor(era: Era, write: (line: string) => void, answer: (method: string, params: Json) => Json) {
    this.era = era;
    this.#write = write;
    this.#answer = answer;
  }

  /** Open a legacy connection; a modern one has no opening. @internal */
  async open(): Promise<void> {
    if (this.era === "modern") return;
    const opening = { protocolVersion: VERSIONS.legacy, capabilities: CAPABILITIES, clientInfo: INFO };
    await this.request("initialize", opening);
    this.tell("notifications/initialized", {});
  }

  /** The result. Throws `Failed`. */
  request(method: string, params: Json): Promise<Json> {
    return this.begin(method, params).result();
  }

  /** Ask, and wait later. */
  begin(method: string, params: Json): Pending {
    const id = ++this.#numbers;
    const reply = new Promise<Json>((resolve, reject) => this.#settle.set(id, { resolve, reject }));
    reply.catch(() => {}); // whoever cancelled does not ask
    this.#replies.set(id, reply);
    if (this.#ended !== undefined) this.#settle.get(id)!.reject(this.#ended);
    else this.#say({ id, method, params: { ...params, _meta: { progressToken: id, ...this.#envelope() } } });
    return new Pending(this, id, method, params);
  }

  #envelope(): Json {
    if (this.era === "legacy") return {};
    const said = { protocolVersion: VERSIONS.modern, clientCapabilities: CAPABILITIES, clientInfo: INFO };
    return Object.fromEntries(Object.entries({ ...said, logLevel: "debug" }).map(([key, value]) => [META + key, value]));
  }

  /** The same request with the answers to what was asked; its id. @internal */
  retry(method: string, params: Json, asked: Json): number {
    const requests = Object.entries<Json>(asked.inputRequests ?? {});
    const answers = requests.map(([key, each]) => [key, this.#answer(each.method, each.params ?? {})]);
    const state = "requestState" in asked ? { requestState: asked.requestState } : {};
    return this.begin(method, { ...params, inputResponses: Object.fromEntries(answers), ...state }).id;
  }

  tell(method: string, params: Json): void {
    this.#say({ method, params });
  }

  /** The whole answer to a request. @internal */
  async answerTo(id: number): Promise<Json> {
    const reply = this.#replies.get(id);
    if (reply === undefined) throw new Error(`the answer to ${id} was taken already`);
    return bounded(reply, BOUND, "no answer").finally(() => this.#replies.delete(id));
  }

  /** What was reported under a request's id. @internal */
  progressOf(id: number): Report[] {
    const reports = this.told.filter((each) => each.method === "notifications/progress").map((each) => each.params);
    return reports.filter((each) => each.progressToken === id) as Report[];
  }

  /** A line of the plugin's. @internal */
  hear(line: string): void {
    const message = JSON.parse(line) as Json;
    if ("method" in message && "id" in message) {
      this.#say({ id: message.id, result: this.#answer(message.method, message.params ?? {}) });
    } else if ("method" in message) {
      this.told.push(message);
    } else {
      this.#settle.get(message.id)?.resolve(message);
      this.#settle.delete(message.id);
    }
  }

  /** There is nothing more to hear. @internal */
  ended(why: string): void {
    this.#ended = new Error(why);
    for (const { reject } of this.#settle.values()) reject(this.#ended);
    this.#settle.clear();
  }

  #say(body: Json): void {
    this.#write(JSON.stringify({ jsonrpc: "2.0", ...body }));
  }
}
