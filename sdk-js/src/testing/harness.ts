/* A plugin under test: in this very process, or as a process of its own, with the same methods. */

import assert from "node:assert/strict";
import { existsSync, readFileSync, writeFileSync } from "node:fs";
import { resolve } from "node:path";
import { fileURLToPath, pathToFileURL } from "node:url";

import { type Plugin } from "../plugin.ts";
import { Server } from "../server.ts";
import { Client, type Era, Failed, type Json, type Pending, Reply } from "./client.ts";
import { MovedClock } from "./clock.ts";
import { examples, hostile } from "./examples.ts";
import { bounded, elicited, type HostOptions, RecordingHost } from "./host.ts";
import { started } from "./process.ts";

const GOLDEN = "BROKER_SDK_GOLDEN"; // in the environment, not empty: write the file instead of comparing with it
const BOUND = 10_000; // ms for a plugin to end

export interface Options extends HostOptions {
  /** `memory`, or `stdio` for a process of its own, which has the real clock. */
  over?: "memory" | "stdio";
  /** Which MCP is spoken. */
  era?: Era;
  /** False runs it as a client does that is not broker. */
  host?: boolean;
  /** More for the environment of a process. */
  env?: Record<string, string>;
}

/** The file of a plugin, or what `definePlugin` made of it. */
export type Testable = Plugin | URL | string;

let loads = 0;

/**
 * Run a plugin with a host that keeps what it is told (`host`) and a clock to move (`clock`).
 *
 * ```ts
 * await using client = await pluginClient(plugin, { answers: ["yes"] }); // or: t.after(() => client.close())
 * assert.deepEqual(await client.call("count", { path: "." }), { count: 3 });
 * assert.deepEqual(client.host.toasts, ["3 TODOs"]);
 * ```
 */
export async function pluginClient(plugin: Testable, options: Options = {}): Promise<Harness> {
  const harness = new Harness(options);
  await (options.over === "stdio" ? harness.runProcess(fileOf(plugin)) : harness.runHere(await loaded(plugin)));
  try {
    await harness.client.open();
  } catch (error) {
    await harness.close().catch(() => {}); // the first failure is what is wrong
    throw error;
  }
  return harness;
}

/** One run of a plugin. */
export class Harness {
  readonly host: RecordingHost;
  readonly clock = new MovedClock();
  readonly client: Client;
  readonly #options: Options;
  #write: (line: string) => void = () => {};
  #end: () => Promise<void> = async () => {};

  /** Not running yet: `pluginClient` makes one that is. @internal */
  constructor(options: Options) {
    this.#options = options;
    this.host = new RecordingHost(options);
    this.client = new Client(options.era ?? "modern", (line) => this.#write(line), (...asked) => this.#said(...asked));
  }

  // What a test does

  /** What a tool returns: its data if it is structured, else its text. Throws a `ToolError` when it fails. */
  async call(tool: string, args: Json = {}): Promise<any> {
    const reply = (await this.reply(tool, args)).checked();
    return "structuredContent" in reply.raw ? reply.data : reply.text;
  }

  /** All that a tool answered, also when it failed. */
  async reply(tool: string, args: Json = {}): Promise<Reply> {
    const pending = this.begin(tool, args);
    const first = pending.id;
    const raw = await pending.result();
    return new Reply(raw, this.client.progressOf(first));
  }

  /** Call a tool, and wait (or cancel) later. */
  begin(tool: string, args: Json = {}): Pending {
    return this.client.begin("tools/call", { name: tool, arguments: args });
  }

  /** The content of a resource. */
  async read(uri: string): Promise<string | Uint8Array> {
    const { contents } = await this.client.request("resources/read", { uri });
    return contents[0].text ?? new Uint8Array(Buffer.from(contents[0].blob, "base64"));
  }

  /** The messages of a prompt. */
  async prompt(name: string, args: Record<string, string> = {}): Promise<Json[]> {
    return (await this.client.request("prompts/get", { name, arguments: args })).messages;
  }

  /** What a command returns. Throws `Failed`. */
  async command(name: string, ...args: unknown[]): Promise<any> {
    const found = await this.host.run(name, args);
    if ("error" in found) throw new Failed(found.error);
    return found.result;
  }

  /** Tell the plugin of an event. What it does then can be waited for by `until`. */
  emit(event: string, params: Json = {}): void {
    this.host.emit(event, params);
  }

  /** What the plugin's hooks say to somebody's call. */
  async hook(on: string, event: Json = {}): Promise<Json> {
    const { resultType, _meta, ...said } = await this.client.request("plugin-broker/hook", { type: on, ...event });
    return said;
  }

  /** Wait until something is so that the plugin brings about; an error after 10 seconds. */
  until(so: () => boolean, otherwise?: string): Promise<void> {
    return this.host.until(so, otherwise);
  }

  // What it offers

  /** The definitions of its tools, as clients see them. */
  async tools(): Promise<Json[]> {
    return (await this.client.request("tools/list", {})).tools;
  }

  /**
   * Compare the definitions with those in a file, which is written if there is none. A change of them asks every user
   * to approve the plugin again, so it should be meant: `BROKER_SDK_GOLDEN=1` writes the file anew.
   */
  async snapshotTools(file: string | URL): Promise<void> {
    const text = `${JSON.stringify(sorted(await this.tools()), null, 2)}\n`;
    if (!existsSync(file) || process.env[GOLDEN]) writeFileSync(file, text);
    assert.equal(text, readFileSync(file, "utf8"), `the tools are not those of ${file}; ${GOLDEN}=1 if that is meant`);
  }

  /**
   * Call a tool with arguments made of its own schema, and as often with such as fit nothing, the same ones for a seed.
   * An error, which names the seed, when it refuses the former, or fails other than by a `ToolError`.
   */
  async fuzz(tool: string, { count = 50, seed = 0 }: { count?: number; seed?: number } = {}): Promise<Reply[]> {
    const found = (await this.tools()).find((each) => each.name === tool);
    assert.ok(found, `there is no tool ${tool}`);
    const replies: Reply[] = [];
    for (const args of examples(found.inputSchema, count, seed)) replies.push(await this.#tried(tool, args, seed, true));
    for (const args of hostile(found.inputSchema, count, seed)) await this.#tried(tool, args, seed, false);
    return replies;
  }

  async #tried(tool: string, args: Json, seed: number, fits: boolean): Promise<Reply> {
    const reply = await this.reply(tool, args);
    const crashed = reply.text.startsWith(`Error in tool ${tool}`);
    const refused = fits && reply.text.startsWith(`Invalid arguments of ${tool}`);
    const said = (): string => `${tool} with ${JSON.stringify(args).slice(0, 500)} (seed ${seed}): ${reply.text}`;
    if (reply.isError && (crashed || refused)) assert.fail(said());
    return reply;
  }

  // Its life

  /** End it; an error when it does not end in time. */
  async close(): Promise<void> {
    const end = this.#end;
    this.#end = async () => {};
    await end();
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.close();
  }

  /** Serve a plugin in this process. @internal */
  async runHere(plugin: Plugin): Promise<void> {
    const channel = this.#options.host === false ? undefined : this.#channel(plugin.name);
    const hear = inTurn((line: string) => this.client.hear(line));
    const server = new Server(plugin, hear, { clock: this.clock, channel });
    this.#write = inTurn((line: string) => server.feed(`${line}\n`));
    this.#end = async () => {
      await bounded(server.close(), BOUND, `${plugin.name} did not end`);
      this.client.ended("the plugin ended");
    };
    await server.start();
  }

  /** Start the file of a plugin. @internal */
  async runProcess(file: string): Promise<void> {
    const host = this.#options.host === false ? undefined : (line: string) => this.host.hear(line);
    const line = (text: string): void => this.client.hear(text);
    const running = started(file, this.#options.env ?? {}, { line, host, ended: (why) => this.client.ended(why) });
    this.#write = running.write;
    this.#end = running.end;
    if (host) this.host.open(file, running.tellHost);
  }

  /** The plugin's end of the channel to the host. */
  #channel(name: string): { write(line: string): void; onLine(hear: (line: string) => void): void } & Ends {
    return {
      write: inTurn((line: string) => this.host.hear(line)),
      onLine: (hear) => this.host.open(name, inTurn(hear)),
      onEnd: () => {},
      close: () => {},
    };
  }

  /** What the client answers to the plugin. */
  #said(method: string, params: Json): Json {
    if (method === "roots/list") return { roots: [{ uri: pathToFileURL(process.cwd()).href }] };
    if (method === "elicitation/create") return elicited(this.host.answer(params.message), params.requestedSchema);
    const text = String(this.host.answer(params.messages.at(-1).content.text));
    return { role: "assistant", model: "test", content: { type: "text", text } };
  }
}

interface Ends {
  onEnd(ended: () => void): void;
  close(): void;
}

/** Not at once, as if it came through a pipe. */
function inTurn(hear: (line: string) => void): (line: string) => void {
  return (line) => queueMicrotask(() => hear(line));
}

/** The plugin that a file makes, which is run anew each time. */
async function loaded(plugin: Testable): Promise<Plugin> {
  if (!(plugin instanceof URL || typeof plugin === "string")) return plugin;
  const file = fileOf(plugin);
  const found = (await import(`${pathToFileURL(file)}?run=${++loads}`)).default;
  if (typeof found?.tools !== "object") throw new Error(`${file} has no plugin as its default export`);
  return found;
}

function fileOf(plugin: Testable): string {
  const file = plugin instanceof URL || typeof plugin === "string" ? plugin : plugin.file;
  if (file === undefined) throw new Error("a plugin without a file cannot be a process of its own");
  return file instanceof URL || file.startsWith("file:") ? fileURLToPath(file) : resolve(file);
}

/** With the members of every object in their order. */
function sorted(value: any): any {
  if (Array.isArray(value)) return value.map(sorted);
  if (typeof value !== "object" || value === null) return value;
  return Object.fromEntries(Object.keys(value).sort().map((key) => [key, sorted(value[key])]));
}
