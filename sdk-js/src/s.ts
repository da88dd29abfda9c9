/* `s`: schemas in a few words, for plugins that bring no library of their own. */

import { BadArguments } from "./errors.ts";
import type { Json, StandardSchema, Validated } from "./schema.ts";
import { checked } from "./validate.ts";

interface Words {
  description?: string;
  title?: string;
}

interface Lengths extends Words {
  min?: number;
  max?: number;
}

interface Texts extends Lengths {
  pattern?: string;
  format?: "date" | "date-time" | "email" | "uri" | "uuid" | (string & {});
}

type Flat<T> = { [Name in keyof T]: T[Name] };
type Kinds = Record<string, Kind<any, any>>;
type Out<K> = K extends Kind<infer Output, any> ? Output : never;
type In<K> = K extends Kind<any, infer Input> ? Input : never;
type Outs<K extends Kinds> = Flat<
  { [Name in keyof K as undefined extends Out<K[Name]> ? never : Name]: Out<K[Name]> } & {
    [Name in keyof K as undefined extends Out<K[Name]> ? Name : never]?: Out<K[Name]>;
  }
>;
type Ins<K extends Kinds> = Flat<
  { [Name in keyof K as undefined extends In<K[Name]> ? never : Name]: In<K[Name]> } & {
    [Name in keyof K as undefined extends In<K[Name]> ? Name : never]?: In<K[Name]>;
  }
>;

/** One kind of value: `Output` is what functions get, `Input` what callers may give. */
export class Kind<Output, Input = Output> implements StandardSchema<Input, Output> {
  /** Its JSON Schema. */
  readonly json: Json;
  /** Whether an object must have it. */
  readonly needed: boolean;

  constructor(json: Json, needed = true) {
    this.json = json;
    this.needed = needed;
  }

  /** An object may lack it. */
  optional(): Kind<Output | undefined, Input | undefined> {
    return new Kind(this.json, false);
  }

  /** What it is when an object lacks it. */
  default(value: Input & Output): Kind<Output, Input | undefined> {
    return new Kind({ ...this.json, default: value }, false);
  }

  /** It may be null too. */
  nullable(): Kind<Output | null, Input | null> {
    return new Kind({ anyOf: [this.json, { type: "null" }] }, this.needed);
  }

  /** What it is, for models and people. */
  describe(description: string): Kind<Output, Input> {
    return new Kind({ ...this.json, description }, this.needed);
  }

  get "~standard"(): StandardSchema<Input, Output>["~standard"] & {
    readonly jsonSchema: { readonly input: () => Json; readonly output: () => Json };
  } {
    const json = (): Json => ({ ...this.json });
    const validate = (value: unknown): Validated<Output> => this.#validated(value);
    return { version: 1, vendor: "broker", validate, jsonSchema: { input: json, output: json } };
  }

  #validated(value: unknown): Validated<Output> {
    try {
      return { value: checked(this.json, value) as Output };
    } catch (error) {
      if (error instanceof BadArguments) return { issues: [{ message: error.message }] };
      throw error;
    }
  }
}

function kind<T>(json: Json, options: Words | string = {}, more: Json = {}): Kind<T> {
  const { description, title } = typeof options === "string" ? { description: options, title: undefined } : options;
  const words = { ...(title === undefined ? {} : { title }), ...(description === undefined ? {} : { description }) };
  return new Kind<T>({ ...json, ...more, ...words });
}

function bounds(options: Lengths | string, least: string, most: string): Json {
  if (typeof options === "string") return {};
  const { min, max } = options;
  return { ...(min === undefined ? {} : { [least]: min }), ...(max === undefined ? {} : { [most]: max }) };
}

function string(options: Texts | string = {}): Kind<string> {
  const { pattern = undefined, format = undefined } = typeof options === "string" ? {} : options;
  const more = { ...(pattern === undefined ? {} : { pattern }), ...(format === undefined ? {} : { format }) };
  return kind({ type: "string" }, options, { ...bounds(options, "minLength", "maxLength"), ...more });
}

function array<K extends Kind<any, any>>(items: K, options: Lengths | string = {}): Kind<Out<K>[], In<K>[]> {
  return kind({ type: "array", items: items.json }, options, bounds(options, "minItems", "maxItems")) as Kind<any>;
}

/** An object with these members and no others. */
function object<K extends Kinds>(members: K, options: Words | string = {}): Kind<Outs<K>, Ins<K>> {
  const properties = Object.fromEntries(Object.entries(members).map(([name, member]) => [name, member.json]));
  const required = Object.keys(members).filter((name) => members[name]?.needed);
  return kind({ type: "object", properties, required, additionalProperties: false }, options) as Kind<any>;
}

/** One of some values, or of values with a title each: `s.enum({ r: "Red", b: "Blue" })`. */
function oneOf<const T extends string | number>(
  values: readonly T[] | Readonly<Record<T & string, string>>,
  options: Words | string = {},
): Kind<T> {
  if (Array.isArray(values)) return kind({ enum: [...values] }, options, typesOf(values));
  const titled = Object.entries<string>(values as Record<string, string>);
  return kind({ type: "string", oneOf: titled.map(([value, title]) => ({ const: value, title })) }, options);
}

function typesOf(values: readonly unknown[]): Json {
  const types = [...new Set(values.map((value) => typeof value))];
  return types.length === 1 ? { type: types[0] } : {};
}

function union<K extends Kind<any, any>[]>(...kinds: K): Kind<Out<K[number]>, In<K[number]>> {
  return new Kind({ anyOf: kinds.map((each) => each.json) });
}

/** `s.object({ path: s.string("folder to scan"), limit: s.integer({ min: 1 }).default(100) })`. */
export const s = {
  string,
  number: (options: Lengths | string = {}): Kind<number> =>
    kind({ type: "number" }, options, bounds(options, "minimum", "maximum")),
  integer: (options: Lengths | string = {}): Kind<number> =>
    kind({ type: "integer" }, options, bounds(options, "minimum", "maximum")),
  boolean: (options: Words | string = {}): Kind<boolean> => kind({ type: "boolean" }, options),
  null: (): Kind<null> => kind({ type: "null" }),
  any: (options: Words | string = {}): Kind<any> => kind({}, options),
  literal: <const T extends string | number | boolean | null>(value: T): Kind<T> => kind({ const: value }),
  enum: oneOf,
  array,
  object,
  /** An object with any members, all of one kind. */
  record: <K extends Kind<any, any>>(values: K, options: Words | string = {}): Kind<Record<string, Out<K>>> =>
    kind({ type: "object", additionalProperties: values.json }, options),
  union,
};
