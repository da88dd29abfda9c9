/* What a plugin offers: one function for each kind, what it takes, and what clients are told of it. */

import type { Content, Message, Result } from "./content.ts";
import type { Ctx } from "./ctx.ts";
import { Misdeclared } from "./errors.ts";
import { Shape } from "./schema.ts";
import type { AnySchema, Infer, InferInput, Json, JsonSchema } from "./schema.ts";

/** @internal How long a tool may take when it does not say. */
export const TOOL_SECONDS = 60;
const NAME = /^[A-Za-z0-9_.\-/]{1,128}$/;
const NOTHING: JsonSchema = { type: "object", properties: {}, additionalProperties: false };

export type Awaitable<T> = T | Promise<T>;

/** What `input` of nothing gives: no arguments. */
export type Nothing = { readonly type: "object"; readonly properties: {} };

interface Words {
  title?: string;
  description?: string;
}

interface Taking<I extends AnySchema> {
  /** What it takes: a Standard Schema (zod, valibot, arktype), a JSON Schema, or `s.object({...})`. */
  input?: I;
  /** A JSON Schema to show instead, for libraries that do not say theirs. */
  inputSchema?: JsonSchema;
}

export interface ToolOptions<I extends AnySchema, O extends AnySchema> extends Words, Taking<I> {
  /** What it returns; it is checked, and becomes `outputSchema`. */
  output?: O;
  /** A JSON Schema to show of it instead. */
  outputSchema?: JsonSchema;
  /** What clients are told of its effects. */
  readOnly?: boolean;
  destructive?: boolean;
  idempotent?: boolean;
  openWorld?: boolean;
  /** Seconds, null for as long as it takes; waiting for a person does not count. 60 if unsaid. */
  timeout?: number | null;
  meta?: Json;
  run(args: Infer<I>, ctx: Ctx): Awaitable<Returned<O>>;
}

type Returned<O> = Unsaid extends O ? unknown : InferInput<O> | Result | Content | Content[];

/** Stands for an output that was not described. */
export interface Unsaid extends JsonSchema {
  readonly "broker-sdk/unsaid": true;
}

type Run = (args: any, ctx: Ctx, ...more: any[]) => unknown;

/** What proposes values for an argument, by what was typed of it. */
export type Complete = (typed: string, ctx: Ctx) => Awaitable<readonly string[]>;

interface Completing {
  /** Proposals for arguments; those with an `enum` need none. */
  complete?: Record<string, Complete>;
}

export interface ResourceOptions extends Words, Completing {
  name?: string;
  /** The type of its content, as in `text/markdown`. */
  mime?: string;
  /**
   * Returns text, bytes, or data that becomes JSON. `holes`: what stands in the URI where its template has `{name}`.
   */
  run(holes: Record<string, string>, ctx: Ctx, uri: string): unknown;
}

export interface PromptOptions<I extends AnySchema> extends Words, Taking<I>, Completing {
  /** Returns a text, or messages (`user`, `assistant`). */
  run(args: Infer<I>, ctx: Ctx): Awaitable<string | Content | Message | readonly (string | Content | Message)[]>;
}

export interface CommandOptions<I extends AnySchema> extends Words, Taking<I> {
  run(args: Infer<I>, ctx: Ctx): unknown;
}

function shapeOf(options: Taking<AnySchema>, what: string): Shape {
  return new Shape(options.input ?? (options.inputSchema ? undefined : NOTHING), options.inputSchema, what, "input");
}

/** Members that are not undefined, null or empty. */
function told(members: Json): Json {
  return Object.fromEntries(Object.entries(members).filter(([, value]) => !isEmpty(value)));
}

function isEmpty(value: unknown): boolean {
  if (value === undefined || value === null || value === "") return true;
  return typeof value === "object" && Object.keys(value).length === 0;
}

/** Something the model may call. Make it with `tool`. */
export class Tool {
  /** @internal */
  readonly run: Run;
  /** @internal */
  readonly seconds: number | null;
  readonly #options: ToolOptions<AnySchema, AnySchema>;
  #input: Shape | undefined;
  #output: Output | undefined;

  /** @internal */
  constructor(options: ToolOptions<any, any>) {
    this.#options = options;
    this.run = (args, ctx) => options.run(args, ctx);
    this.seconds = options.timeout === undefined ? TOOL_SECONDS : options.timeout;
  }

  /** @internal */
  input(name: string): Shape {
    this.#input ??= shapeOf(this.#options, `tool "${name}"`);
    return this.#input;
  }

  /** @internal */
  output(name: string): Output {
    this.#output ??= new Output(this.#options, `tool "${name}"`);
    return this.#output;
  }

  /** @internal What lists say of it. Throws `Misdeclared`. */
  definition(name: string): Json {
    const { title, description, readOnly, destructive, idempotent, openWorld, meta } = this.#options;
    const hints = {
      readOnlyHint: readOnly,
      destructiveHint: destructive,
      idempotentHint: idempotent,
      openWorldHint: openWorld,
    };
    const inputSchema = objectOnly(this.input(name).json, name);
    const more = { outputSchema: this.output(name).json, annotations: told(hints), _meta: meta };
    return { ...told({ name, title, description }), inputSchema, ...told(more) };
  }
}

function objectOnly(schema: Json, name: string): Json {
  if (schema["type"] === "object") return schema;
  if (schema["type"] === undefined && schema["properties"] !== undefined) return { type: "object", ...schema };
  throw new Misdeclared(`tool "${name}": its \`input\` must be an object, for arguments have names`);
}

/**
 * @internal
 * What a tool returns: whether it is structured, its schema, and how a value becomes JSON.
 *
 * MCP before 2026-07-28 knows only objects there, so anything else is put into one, as its member `result`.
 */
export class Output {
  readonly #shape: Shape | undefined;

  /** @internal */
  constructor(options: ToolOptions<AnySchema, AnySchema>, what: string) {
    const { output, outputSchema } = options;
    if (output !== undefined || outputSchema !== undefined) {
      this.#shape = new Shape(output, outputSchema, what, "output");
    }
  }

  get known(): boolean {
    return this.#shape !== undefined;
  }

  get wrapped(): boolean {
    return this.#shape !== undefined && this.#shape.json["type"] !== "object";
  }

  get json(): Json | undefined {
    if (this.#shape === undefined || !this.wrapped) return this.#shape?.json;
    const { $defs, ...schema } = this.#shape.json;
    const found = { type: "object", properties: { result: schema }, required: ["result"] };
    return $defs === undefined ? found : { ...found, $defs };
  }

  /** The value as it is promised to clients. Throws `BadArguments` when it is something else. */
  async read(value: unknown): Promise<unknown> {
    return this.#shape === undefined ? value : this.#shape.read(plain(value));
  }
}

/** As JSON has it, without copying what is so already. */
function plain(value: unknown): unknown {
  return typeof value === "object" && value !== null ? JSON.parse(JSON.stringify(value)) : value;
}

/** Something to read, at one URI or at all of a template: `todo://{file}`; `{path*}` goes on beyond slashes. */
export class Resource {
  /** @internal */
  readonly run: Run;
  /** @internal */
  readonly mime: string | undefined;
  /** @internal */
  readonly complete: Record<string, Complete>;
  readonly #options: ResourceOptions;
  #pattern: RegExp | undefined;

  /** @internal */
  constructor(options: ResourceOptions) {
    this.#options = options;
    this.run = (holes, ctx, uri: string) => options.run(holes, ctx, uri);
    this.mime = options.mime;
    this.complete = options.complete ?? {};
  }

  /** @internal */
  definition(uri: string): Json {
    const { name, title, description, mime } = this.#options;
    const where = isTemplate(uri) ? { uriTemplate: uri.replaceAll("*}", "}") } : { uri };
    return told({ name: name ?? uri, title, description, ...where, mimeType: mime });
  }

  /** @internal The values in a URI; undefined if it is not of this resource. */
  matched(template: string, uri: string): Record<string, string> | undefined {
    this.#pattern ??= patternOf(template);
    const found = this.#pattern.exec(uri);
    if (found === null) return undefined;
    return Object.fromEntries(Object.entries(found.groups ?? {}).map(([name, value]) => [name, unquoted(value)]));
  }
}

/** @internal */
export function isTemplate(uri: string): boolean {
  return uri.includes("{");
}

function patternOf(template: string): RegExp {
  const parts = template.split(/(\{\w+\*?\})/).map((part) => {
    const hole = /^\{(\w+)(\*?)\}$/.exec(part);
    if (hole !== null) return `(?<${hole[1]}>${hole[2] ? ".+" : "[^/]+"})`;
    if (part.includes("{")) throw new Misdeclared(`resource "${template}": write holes as \`{name}\` or \`{name*}\``);
    return part.replace(/[.*+?^${}()|[\]\\]/g, "\\$&");
  });
  return new RegExp(`^${parts.join("")}$`, "su");
}

function unquoted(text: string): string {
  try {
    return decodeURIComponent(text);
  } catch {
    return text;
  }
}

/** A text with holes that a person picks. */
export class Prompt {
  /** @internal */
  readonly run: Run;
  /** @internal */
  readonly complete: Record<string, Complete>;
  /** @internal */
  readonly description: string | undefined;
  readonly #options: PromptOptions<AnySchema>;
  #input: Shape | undefined;

  /** @internal */
  constructor(options: PromptOptions<any>) {
    this.#options = options;
    this.run = (args, ctx) => options.run(args, ctx);
    this.complete = options.complete ?? {};
    this.description = options.description;
  }

  /** @internal */
  input(name: string): Shape {
    this.#input ??= shapeOf(this.#options, `prompt "${name}"`);
    return this.#input;
  }

  /** @internal */
  definition(name: string): Json {
    const { title, description } = this.#options;
    const { properties = {}, required = [] } = this.input(name).json as {
      properties?: Record<string, Json>;
      required?: string[];
    };
    const args = Object.entries(properties).map(([each, its]) => ({
      ...told({ name: each, description: its["description"] }),
      required: required.includes(each),
    }));
    return told({ name, title, description, arguments: args });
  }

  /** @internal The values that an argument's schema allows, if they are few enough to be named. */
  choices(name: string, argument: string): string[] {
    const properties = (this.input(name).json["properties"] ?? {}) as Record<string, Json>;
    const some = Object.hasOwn(properties, argument) ? properties[argument]?.["enum"] : undefined;
    return Array.isArray(some) ? some.map(String) : [];
  }
}

/** Something that a person runs in an editor; no model sees it. */
export class Command {
  /** @internal */
  readonly run: Run;
  readonly #options: CommandOptions<AnySchema>;
  #input: Shape | undefined;

  /** @internal */
  constructor(options: CommandOptions<any>) {
    this.#options = options;
    this.run = (args, ctx) => options.run(args, ctx);
  }

  /** @internal What broker is told of it. */
  definition(name: string): { name: string; title: string; description: string } {
    const { title = "", description = "" } = this.#options;
    return { name, title, description: description.slice(0, 1000) };
  }

  /** @internal The arguments in a list, by position, or in an object. Throws `BadArguments`. */
  async read(name: string, given: unknown): Promise<unknown> {
    this.#input ??= shapeOf(this.#options, `command "${name}"`);
    return this.#input.read(Array.isArray(given) ? this.#named(this.#input, given) : (given ?? {}));
  }

  #named(input: Shape, given: unknown[]): Json {
    const names = Object.keys((input.json["properties"] ?? {}) as Json);
    return Object.fromEntries(given.map((value, at) => [names[at] ?? `argument ${at + 1}`, value]));
  }
}

/** What hears an event. Its params are as the table of events has them. */
export type Listen = (event: any, ctx: Ctx) => unknown;

/** What hears an event whose params have these members. Make it with `on`. */
export class Listener {
  /** @internal */
  readonly run: Listen;
  readonly #wanted: Json;

  /** @internal */
  constructor(wanted: Json, run: Listen) {
    this.run = run;
    this.#wanted = wanted;
  }

  /** @internal */
  hears(params: Json): boolean {
    return Object.entries(this.#wanted).every(([name, value]) => params[name] === value);
  }
}

/** A tool: what a model may call. */
export function tool<const I extends AnySchema = Nothing, const O extends AnySchema = Unsaid>(
  options: ToolOptions<I, O>,
): Tool {
  return new Tool(options);
}

/** A resource: what a client may read. `todo://{file}` as its URI is one for every file. */
export function resource(options: ResourceOptions): Resource {
  return new Resource(options);
}

/** A prompt: a text that a person picks. */
export function prompt<const I extends AnySchema = Nothing>(options: PromptOptions<I>): Prompt {
  return new Prompt(options);
}

/** A command: what a person runs in an editor. Only broker knows commands; elsewhere it is never run. */
export function command<const I extends AnySchema = Nothing>(options: CommandOptions<I>): Command {
  return new Command(options);
}

/** What hears those events whose params have these members: `on({ languageId: "python" }, (event, ctx) => ...)`. */
export function on(wanted: Json, run: Listen): Listener {
  return new Listener(wanted, run);
}

/** @internal Refuse a name that clients would. */
export function checkName(name: string): void {
  if (!NAME.test(name)) {
    throw new Misdeclared(`tool "${name}": a name has letters, digits, \`_\`, \`-\`, \`.\` or \`/\`, at most 128`);
  }
}
