/*
 * Questions to the person, with one `await`: `const name = await ctx.ask("What is your name?")`.
 *
 * Where the call's client can ask (MCP's elicitation, in either era) it asks. A command or an event has no such client:
 * there broker asks whoever is in front of it.
 */

import type { Call } from "./calls.ts";
import type { Ctx } from "./ctx.ts";
import { choice, formOf } from "./forms.ts";
import type { Form } from "./forms.ts";
import { Kind } from "./s.ts";
import type { AnySchema, Infer, Json, JsonSchema } from "./schema.ts";
import { isObject } from "./validate.ts";

/** Values, or values with their titles. */
export type Choices<T extends string = string> = readonly T[] | Readonly<Record<T, string>>;

export interface AskOptions {
  /** What is filled in already. */
  default?: unknown;
  /** The question's name, by which a client may answer it ahead. */
  key?: string;
}

/** `ctx.ask`. Whoever declines or closes a question answers null. All throw `CannotAsk` when nobody can be asked. */
export interface Ask {
  /** Ask for a text. */
  (message: string, kind?: undefined, options?: AskOptions): Promise<string | null>;
  /** Ask for one of some choices: `await ctx.ask("Which?", ["red", "blue"])`. */
  <const T extends string>(message: string, kind: readonly T[], options?: AskOptions): Promise<T | null>;
  /** Ask for a value that fits a schema (`s.integer()`), or for several with a form (`s.object({...})`, zod's, ...). */
  <const S extends AnySchema>(message: string, kind: S, options?: AskOptions): Promise<Infer<S> | null>;
  /** A text. */
  input(message: string, options?: AskOptions): Promise<string | null>;
  /** Whether the person says yes. */
  confirm(message: string, options?: AskOptions): Promise<boolean>;
  /** One of some choices, which may have titles: `{ r: "Red", b: "Blue" }`. */
  pick<const T extends string>(message: string, choices: Choices<T>, options?: AskOptions): Promise<T | null>;
  /** What was filled into a form that a JSON Schema describes, as MCP's elicitation has it. */
  form(message: string, schema: JsonSchema, options?: { key?: string }): Promise<Json | null>;
}

const YES: JsonSchema = { type: "boolean" };
const TEXT: JsonSchema = { type: "string" };

/** @internal The questions of a `Ctx`. `call`: whose client may be asked. */
export function asking(ctx: Ctx, call: Call | undefined): Ask {
  const questions = new Questions(ctx, call);
  const ask = (message: string, kind: AnySchema | Choices = TEXT, options: AskOptions = {}): Promise<any> =>
    questions.ask(message, kind, options);
  return Object.assign(ask, {
    input: (message: string, options: AskOptions = {}) => questions.ask(message, TEXT, options),
    confirm: async (message: string, options: AskOptions = {}) => Boolean(await questions.ask(message, YES, options)),
    pick: (message: string, choices: Choices, options: AskOptions = {}) => questions.pick(message, choices, options),
    form: (message: string, schema: JsonSchema, options: AskOptions = {}) => questions.form(message, schema, options),
  }) as Ask;
}

class Questions {
  readonly #ctx: Ctx;
  readonly #call: Call | undefined;

  constructor(ctx: Ctx, call: Call | undefined) {
    this.#ctx = ctx;
    this.#call = call;
  }

  async ask(message: string, kind: AnySchema | Choices, options: AskOptions): Promise<unknown> {
    if (Array.isArray(kind)) return this.pick(message, kind as readonly string[], options);
    const schema = kind as AnySchema;
    if (this.#byHost && isYes(schema)) return this.#confirmed(message);
    if (this.#byHost && schema === TEXT) return this.#typed(message, options);
    return this.#filled(message, formOf(schema, this.#titled, options.default), options);
  }

  async pick(message: string, choices: Choices, options: AskOptions): Promise<any> {
    const titles: Record<string, string> = Array.isArray(choices)
      ? Object.fromEntries(choices.map((each: string) => [each, each]))
      : { ...(choices as Record<string, string>) };
    const values = Object.entries(titles).map(([value, title]): [string, string] => [title, value]);
    if (this.#byHost) return this.#picked(message, new Map(values));
    return this.#filled(message, choice(choices, this.#titled, options.default), options);
  }

  async form(message: string, requestedSchema: JsonSchema, options: AskOptions): Promise<Json | null> {
    const answer = await this.#answer(message, requestedSchema, options);
    return answer.action === "accept" ? contentOf(answer) : null;
  }

  async #filled(message: string, form: Form, options: AskOptions): Promise<unknown> {
    const answer = await this.#answer(message, form.schema, options);
    return answer.action === "accept" ? form.read(contentOf(answer)) : null;
  }

  async #answer(message: string, schema: JsonSchema, options: AskOptions): Promise<Json> {
    if (this.#byHost) return { ...(await this.#ctx.host.request("ask", { message, schema })) };
    return this.#ctx.request("elicitation/create", { message, requestedSchema: schema }, { key: options.key });
  }

  // By broker

  get #byHost(): boolean {
    return !this.#ctx.can("elicitation") && this.#ctx.host.operations.has("ask");
  }

  get #titled(): boolean {
    return this.#call === undefined || this.#call.titledChoices;
  }

  async #confirmed(message: string): Promise<boolean> {
    return (await this.#ctx.host.request("confirm", { message })).confirmed;
  }

  async #typed(message: string, options: AskOptions): Promise<string | null> {
    return (await this.#ctx.host.request("input", { message, default: String(options.default ?? "") })).value;
  }

  async #picked(message: string, values: ReadonlyMap<string, string>): Promise<unknown> {
    const { value } = await this.#ctx.host.request("pick", { message, items: [...values.keys()] });
    return value === null ? null : (values.get(value) ?? null);
  }
}

/** Whether a schema has no answers but yes and no. */
function isYes(schema: AnySchema): boolean {
  return (schema instanceof Kind ? schema.json : (schema as JsonSchema)).type === "boolean";
}

function contentOf(answer: Json): Json {
  return isObject(answer.content) ? answer.content : {};
}
