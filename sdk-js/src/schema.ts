/*
 * Schemas of arguments and results: any library of https://standardschema.dev, a JSON Schema, or `s` of this package.
 *
 * Rule 1: nothing is described before a client lists or calls something: a plugin starts faster than its schemas.
 * Rule 2: a schema that cannot be described is an error that says what to write instead; it is never guessed at.
 */

import { BadArguments, Misdeclared } from "./errors.ts";
import { checked } from "./validate.ts";

export type Json = Record<string, unknown>;

/** A JSON Schema, written as one. */
export interface JsonSchema {
  readonly [keyword: string]: unknown;
}

export interface Issue {
  readonly message: string;
  readonly path?: readonly (PropertyKey | { readonly key: PropertyKey })[] | undefined;
}

export type Validated<Output> =
  { readonly value: Output; readonly issues?: undefined } | { readonly issues: readonly Issue[] };

/** What zod, valibot, arktype and many others have in common. */
export interface StandardSchema<Input = unknown, Output = Input> {
  readonly "~standard": {
    readonly version: 1;
    readonly vendor: string;
    readonly types?: { readonly input: Input; readonly output: Output } | undefined;
    readonly validate: (value: unknown) => Validated<Output> | Promise<Validated<Output>>;
  };
}

export type AnySchema = StandardSchema<any, any> | JsonSchema;

/** What a function is given of values that fit a schema. */
export type Infer<S> = S extends StandardSchema<any, infer Output> ? Output : FromJson<S>;

/** What fits a schema, before its defaults are filled in. */
export type InferInput<S> = S extends StandardSchema<infer Input, any> ? Input : FromJson<S>;

type FromJson<S> = S extends { const: infer Value }
  ? Value
  : S extends { enum: readonly (infer Value)[] }
    ? Value
    : S extends { anyOf: readonly (infer Some)[] }
      ? FromJson<Some>
      : S extends { type: infer Type }
        ? Typed<Type, S>
        : S extends { properties: unknown }
          ? Typed<"object", S>
          : any;

type Typed<Type, S> = Type extends "string"
  ? string
  : Type extends "number" | "integer"
    ? number
    : Type extends "boolean"
      ? boolean
      : Type extends "null"
        ? null
        : Type extends "array"
          ? S extends { items: infer Items }
            ? FromJson<Items>[]
            : unknown[]
          : Type extends "object"
            ? S extends { properties: infer Properties }
              ? Members<Properties, S extends { required: readonly (infer Name)[] } ? Name : never>
              : Record<string, any>
            : any;

type Present<Properties, Required> = {
  [Name in keyof Properties]: Name extends Required
    ? Name
    : Properties[Name] extends { default: unknown }
      ? Name
      : never;
}[keyof Properties];

type Flat<T> = { [Name in keyof T]: T[Name] };

type Members<Properties, Required> = Flat<
  { -readonly [Name in Present<Properties, Required>]: FromJson<Properties[Name]> } & {
    -readonly [Name in Exclude<keyof Properties, Present<Properties, Required>>]?: FromJson<Properties[Name]>;
  }
>;

interface Converter {
  input(options: { target: string }): Json;
  output(options: { target: string }): Json;
}

const TARGET = { target: "draft-2020-12" };

/** @internal A schema as it is used here: what clients are told of it, and how values are read. */
export class Shape {
  readonly #schema: AnySchema | undefined;
  readonly #shown: JsonSchema | undefined;
  readonly #what: string;
  readonly #side: "input" | "output";
  #json: Json | undefined;

  /** `shown`: the JSON Schema to tell instead; `what`: whose it is, for errors. */
  constructor(schema: AnySchema | undefined, shown: JsonSchema | undefined, what: string, side: "input" | "output") {
    this.#schema = schema;
    this.#shown = shown;
    this.#what = what;
    this.#side = side;
  }

  /** Its JSON Schema. Throws `Misdeclared`. */
  get json(): Json {
    this.#json ??= this.#described();
    return this.#json;
  }

  /** The value as the schema has it, with its defaults. Throws `BadArguments`. */
  async read(value: unknown): Promise<unknown> {
    const schema = this.#schema ?? this.#shown;
    if (schema === undefined) return value;
    if (!isStandard(schema)) return checked(schema as Json, value);
    let found = schema["~standard"].validate(value);
    if (found instanceof Promise) found = await found;
    if (found.issues !== undefined) throw new BadArguments(found.issues.map(worded).join("; "));
    return found.value;
  }

  /** As `read`, for texts: those that a schema wants to be numbers or yes and no become such. */
  async texts(values: Record<string, string>): Promise<unknown> {
    const properties = (this.json["properties"] ?? {}) as Record<string, Json>;
    const found: Json = {};
    for (const [name, text] of Object.entries(values)) found[name] = fromText(properties[name], text);
    return this.read(found);
  }

  #described(): Json {
    if (this.#shown !== undefined) return { ...this.#shown };
    if (this.#schema === undefined) return { type: "object", properties: {}, additionalProperties: false };
    if (!isStandard(this.#schema)) return { ...this.#schema };
    return this.#converted(this.#schema);
  }

  #converted(schema: StandardSchema): Json {
    const standard = schema["~standard"] as StandardSchema["~standard"] & { readonly jsonSchema?: Converter };
    if (standard.jsonSchema === undefined) throw new Misdeclared(`${this.#what}: ${advice(standard.vendor)}`);
    try {
      const { $schema: _, ...found } = standard.jsonSchema[this.#side](TARGET);
      return found;
    } catch (error) {
      throw new Misdeclared(`${this.#what}: its schema has no JSON Schema: ${(error as Error).message}`);
    }
  }
}

/** @internal */
export function isStandard(schema: unknown): schema is StandardSchema {
  return schema !== null && (typeof schema === "object" || typeof schema === "function") && "~standard" in schema;
}

/** @internal The JSON Schema of any schema. Throws `Misdeclared`. */
export function described(schema: AnySchema, what: string): Json {
  return new Shape(schema, undefined, what, "input").json;
}

function advice(vendor: string): string {
  const how =
    vendor === "valibot" ? "wrap it in `toStandardJsonSchema` of @valibot/to-json-schema, or" : "update it, or";
  return `a schema of ${vendor} does not say its JSON Schema; ${how} give that as \`inputSchema\` (\`outputSchema\`) too`;
}

function worded(issue: Issue): string {
  const path = (issue.path ?? []).map((part) => String(typeof part === "object" ? part.key : part)).join(".");
  return path ? `\`${path}\`: ${lowered(issue.message)}` : lowered(issue.message);
}

function lowered(text: string): string {
  return text.charAt(0).toLowerCase() + text.slice(1);
}

function fromText(schema: Json | undefined, text: string): unknown {
  const kind = schema?.["type"];
  if ((kind === "number" || kind === "integer") && text.trim() !== "" && Number.isFinite(Number(text))) {
    return Number(text);
  }
  if (kind === "boolean" && (text === "true" || text === "false")) return text === "true";
  return text;
}
