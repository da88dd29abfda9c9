/* Questions to a person as MCP's forms: texts, numbers, yes or no, and choices; and answers back as values. */

import { BadArguments, Misdeclared, ToolError } from "./errors.ts";
import { Shape } from "./schema.ts";
import type { AnySchema, Json } from "./schema.ts";
import { isObject } from "./validate.ts";

const VALUE = "value"; // the only field of a question that has one
const TYPES = new Set<unknown>(["string", "number", "integer", "boolean"]);

/** A form and what its answer becomes. */
export class Form {
  readonly schema: Json;
  readonly #shape: Shape;
  readonly #single: boolean;

  constructor(schema: Json, shape: Shape, single: boolean) {
    this.schema = schema;
    this.#shape = shape;
    this.#single = single;
  }

  /** The value in an answer. Throws `ToolError` for one that is none. */
  async read(content: Json): Promise<unknown> {
    if (this.#single && !Object.hasOwn(content, VALUE)) throw new ToolError("the answer lacks its value");
    try {
      return await this.#shape.read(this.#single ? content[VALUE] : content);
    } catch (error) {
      if (error instanceof BadArguments) throw new ToolError(`the answer is not what was asked for: ${error.message}`);
      throw error;
    }
  }
}

type Choices = readonly string[] | Readonly<Record<string, string>>;

/**
 * The form for one of some choices. `titled`: whether the client knows choices with titles; others see the values and
 * an old spelling of the titles.
 */
export function choice(choices: Choices, titled: boolean, preset?: unknown): Form {
  const field = choosing(choices, titled);
  return new Form(single(field, preset), new Shape(field, undefined, "ctx.ask", "input"), true);
}

function choosing(choices: Choices, titled: boolean): Json {
  if (Array.isArray(choices)) return { type: "string", enum: choices.map(String) };
  const pairs = Object.entries<string>(choices as Record<string, string>);
  if (titled) return { type: "string", oneOf: pairs.map(([value, title]) => ({ const: value, title })) };
  return { type: "string", enum: pairs.map(([value]) => value), enumNames: pairs.map(([, title]) => title) };
}

/** The form for a schema: of an object its members are fields, anything else is the only one. */
export function formOf(kind: AnySchema, titled: boolean, preset?: unknown): Form {
  const shape = new Shape(kind, undefined, "ctx.ask", "input");
  const schema = resolved(shape.json);
  if (schema.type !== "object" || !isObject(schema.properties)) {
    const field = flat(VALUE, schema, titled);
    return new Form(single(field, preset), shape, true);
  }
  const fields = Object.entries(schema.properties).map(([name, field]) => [name, flat(name, field as Json, titled)]);
  const form = { type: "object", properties: Object.fromEntries(fields) as Json, required: schema.required ?? [] };
  return new Form(form, shape, false);
}

function single(field: Json, preset: unknown): Json {
  const shown = preset === undefined ? field : { ...field, default: preset };
  return { type: "object", properties: { [VALUE]: shown }, required: [VALUE] };
}

/** A schema with what it refers to put in place. */
function resolved(schema: Json): Json {
  const shared = isObject(schema.$defs) ? schema.$defs : {};
  const put = (value: unknown, depth: number): unknown => {
    if (Array.isArray(value)) return value.map((each) => put(each, depth));
    if (!isObject(value)) return value;
    const name = typeof value.$ref === "string" ? value.$ref.split("/").at(-1) : undefined;
    const { $ref: _, $defs: __, ...own } = value;
    if (name !== undefined && isObject(shared[name]) && depth < 8) return put({ ...shared[name], ...own }, depth + 1);
    return Object.fromEntries(Object.entries(own).map(([key, each]) => [key, put(each, depth)]));
  };
  return put(schema, 0) as Json;
}

/** A field as MCP's forms have it. */
function flat(name: string, given: Json, titled: boolean): Json {
  const some = Array.isArray(given.anyOf) ? (given.anyOf as Json[]).filter((each) => each.type !== "null") : [];
  const { anyOf: _, default: preset, ...outer } = given;
  const base = some.length === 1 ? { ...some[0], ...outer } : given;
  const field = preset === undefined || preset === null ? base : { ...base, default: preset };
  if (Array.isArray(field.enum)) return { ...field, type: "string", enum: field.enum.map(String) };
  if (Array.isArray(field.oneOf) && !titled) return named(field, field.oneOf as Json[]);
  if (field.type === "array" && isObject(field.items) && Array.isArray(field.items.enum)) {
    return { ...field, items: flat(name, field.items, titled) }; // several of some choices
  }
  if (!TYPES.has(field.type)) {
    throw new Misdeclared(`\`${name}\` cannot be asked for: a form has texts, numbers, yes or no, and choices`);
  }
  return field;
}

function named(field: Json, choices: Json[]): Json {
  const { oneOf: _, ...rest } = field;
  return { ...rest, enum: choices.map((each) => each.const), enumNames: choices.map((each) => each.title) };
}
