/* `definePlugin`: what a plugin offers in one object, and the object it becomes. */

import { readFileSync } from "node:fs";
import { dirname, join } from "node:path";
import type { Ctx } from "./ctx.ts";
import { checkName, Command, Listener, Prompt, Resource, Tool } from "./definitions.ts";
import type { Awaitable, Listen } from "./definitions.ts";
import { Misdeclared } from "./errors.ts";
import { callerFile, isMain } from "./output.ts";
import type { Json } from "./schema.ts";
import type { Server } from "./server.ts";
import { serve } from "./stdio.ts";

/** When hooks are asked. */
export type On = "pre_request" | "post_response" | "on_connect" | "on_close";

/**
 * What is asked about the calls of others: nothing lets a call pass, `Deny` stops it, `Change` lets it pass
 * otherwise.
 */
export type Hook = (event: any, ctx: Ctx) => Awaitable<Deny | Change | void | undefined | null>;

export interface PluginOptions {
  /** What is not given is read from the `plugin.toml` beside the file. */
  name?: string;
  version?: string;
  title?: string;
  /** For models, of the plugin as a whole. */
  instructions?: string;
  tools?: Record<string, Tool>;
  /** By their URIs, or templates of such. */
  resources?: Record<string, Resource>;
  prompts?: Record<string, Prompt>;
  commands?: Record<string, Command>;
  /** By the names of events: `document.saved`, `config.changed`, ... */
  events?: Record<string, Listen | Listener | readonly (Listen | Listener)[]>;
  /** The manifest lists them under `[[hooks]]`. */
  hooks?: Partial<Record<On, Hook | readonly Hook[]>>;
  /** Run before anything is served. A function that it returns is run when the plugin ends. */
  start?(ctx: Ctx): Awaitable<void | (() => unknown)>;
  /** Run when the plugin ends. */
  stop?(ctx: Ctx): unknown;
}

/** What a plugin has names for. */
export interface Offered {
  tools: Tool;
  resources: Resource;
  prompts: Prompt;
  commands: Command;
}

type Held = { readonly [Kind in keyof Offered]: Map<string, Offered[Kind]> };

/** One plugin. */
export class Plugin implements Held {
  readonly name: string;
  readonly version: string;
  readonly title: string | undefined;
  readonly instructions: string | undefined;
  /** The file that made it, if that is known. */
  readonly file: string | undefined;
  readonly tools = new Map<string, Tool>();
  readonly resources = new Map<string, Resource>();
  readonly prompts = new Map<string, Prompt>();
  readonly commands = new Map<string, Command>();
  /** @internal */
  readonly listeners: readonly { readonly event: string; readonly listener: Listener }[];
  /** @internal */
  readonly hooks: readonly { readonly on: string; readonly run: Hook }[];
  /** @internal */
  readonly start: PluginOptions["start"];
  /** @internal */
  readonly stop: PluginOptions["stop"];
  /** @internal What serves it now. */
  server: Server | undefined;

  constructor(options: PluginOptions, file?: string) {
    const stated = options.name === undefined || options.version === undefined ? manifest(file) : {};
    this.name = options.name ?? stated["name"] ?? "plugin";
    this.version = options.version ?? stated["version"] ?? "0.0.0";
    this.title = options.title;
    this.instructions = options.instructions;
    this.file = file;
    for (const kind of KINDS) {
      for (const [name, offered] of Object.entries(options[kind] ?? {})) this.add(kind, name, offered);
    }
    this.listeners = listenersOf(options.events ?? {});
    this.hooks = hooksOf(options.hooks ?? {});
    this.start = options.start?.bind(options);
    this.stop = options.stop?.bind(options);
  }

  /** Offer something more; clients that want to know are told. Throws `Misdeclared` if its name is taken. */
  add<Kind extends keyof Offered>(kind: Kind, name: string, offered: Offered[Kind]): void {
    const held = this[kind] as Map<string, Offered[Kind]>;
    if (!(offered instanceof MAKES[kind]))
      throw new Misdeclared(`${kind} "${name}": make it with \`${kind.slice(0, -1)}\``);
    if (held.has(name)) throw new Misdeclared(`${kind.slice(0, -1)} "${name}" is there already`);
    if (kind === "tools") checkName(name);
    held.set(name, offered);
    this.server?.changed(kind);
  }

  /** Offer it no longer; clients that want to know are told. */
  remove(kind: keyof Offered, name: string): void {
    if (this[kind].delete(name)) this.server?.changed(kind);
  }

  /** A resource has another content now: those who subscribed to it are told. */
  updated(uri: string): void {
    this.server?.updated(uri);
  }

  /**
   * Serve on stdin and stdout, until the client is gone. `definePlugin` does it by itself in the program's main file.
   */
  async run(): Promise<void> {
    await serve(this);
  }
}

const MAKES = { tools: Tool, resources: Resource, prompts: Prompt, commands: Command };
const KINDS = ["tools", "resources", "prompts", "commands"] as const;

/** A hook's no. */
export class Deny {
  readonly reason: string;

  constructor(reason: string) {
    this.reason = reason;
  }
}

/** A hook's yes to a call with other arguments, or with more of `_meta`. */
export class Change {
  readonly arguments: Json | undefined;
  readonly meta: Json;
  readonly status: unknown;

  constructor(given: { arguments?: Json; meta?: Json; status?: unknown }) {
    this.arguments = given.arguments;
    this.meta = given.meta ?? {};
    this.status = given.status;
  }
}

/** A hook, with the types of its parameters. */
export function hook(run: Hook): Hook {
  return run;
}

/**
 * A plugin. In the program's main file it is served on stdin and stdout; anywhere else, as in tests, it is an object.
 *
 * ```ts
 * export default definePlugin({
 *   tools: {
 *     greet: tool({ input: s.object({ name: s.string() }), run: ({ name }) => `Hello, ${name}!` }),
 *   },
 * });
 * ```
 */
export function definePlugin(options: PluginOptions): Plugin {
  const file = callerFile(definePlugin);
  const plugin = new Plugin(options, file);
  if (isMain(file)) setImmediate(() => void plugin.run()); // when its file has been run to its end
  return plugin;
}

function listenersOf(events: NonNullable<PluginOptions["events"]>): Plugin["listeners"] {
  return Object.entries(events).flatMap(([event, some]) =>
    [some]
      .flat()
      .map((each) => ({ event, listener: each instanceof Listener ? each : new Listener({}, each as Listen) })),
  );
}

function hooksOf(hooks: NonNullable<PluginOptions["hooks"]>): Plugin["hooks"] {
  return Object.entries(hooks).flatMap(([on, some]) => [some].flat().map((run) => ({ on, run: run as Hook })));
}

/** What `plugin.toml` beside a file says before its first table; a reader of TOML takes longer than the start. */
function manifest(file: string | undefined): Record<string, string> {
  if (file === undefined) return {};
  try {
    const text = readFileSync(join(dirname(file), "plugin.toml"), "utf8");
    const [head = ""] = text.split(/^\s*\[/m, 1);
    const stated = head.matchAll(/^(name|version|description)\s*=\s*"([^"\\]*)"/gm);
    return Object.fromEntries([...stated].map((found) => [found[1], found[2]]));
  } catch {
    return {};
  }
}
