/*
 * Values against a JSON Schema, for authors who bring no library: the keywords that schemas of arguments use.
 * A keyword that is not here (`$dynamicRef`, `dependentSchemas`, `unevaluatedProperties`, ...) allows everything.
 */

import { BadArguments } from "./errors.ts";
import type { Json } from "./schema.ts";

const MOST_TOLD = 5; // of what is wrong with one value
const DEEPEST = 256; // of schemas in each other, so that one which is itself ends

type Schema = Json | boolean;

interface Check {
  readonly root: Json;
  readonly wrong: string[];
  depth: number;
}

/** The value with the schema's defaults filled in. Throws `BadArguments` with all that is wrong. */
export function checked(schema: Json, value: unknown): unknown {
  const check: Check = { root: schema, wrong: [], depth: 0 };
  const found = visit(schema, value, "", check);
  if (check.wrong.length > 0) throw new BadArguments(check.wrong.slice(0, MOST_TOLD).join("; "));
  return found;
}

function visit(schema: Schema, value: unknown, path: string, check: Check): unknown {
  if (schema === true) return value;
  if (schema === false) return refuse(check, path, "is not allowed", value);
  if (check.depth >= DEEPEST) return refuse(check, path, "is nested too deep", value);
  check.depth += 1;
  try {
    return judged(schema, value, path, check);
  } finally {
    check.depth -= 1;
  }
}

function judged(schema: Json, given: unknown, path: string, check: Check): unknown {
  let value = given;
  if (typeof schema["$ref"] === "string") value = visit(target(check.root, schema["$ref"]), value, path, check);
  if (schema["type"] !== undefined && !ofType(schema["type"], value)) {
    return refuse(check, path, `expected ${[schema["type"]].flat().join(" or ")}, got ${kindOf(value)}`, value);
  }
  plain(schema, value, path, check);
  if (typeof value === "string") textual(schema, value, path, check);
  else if (typeof value === "number") numeric(schema, value, path, check);
  else if (Array.isArray(value)) value = array(schema, value, path, check);
  else if (isObject(value)) value = object(schema, value, path, check);
  return combined(schema, value, path, check);
}

function refuse<T>(check: Check, path: string, why: string, value: T): T {
  check.wrong.push(path ? `\`${path}\`: ${why}` : why);
  return value;
}

function plain(schema: Json, value: unknown, path: string, check: Check): void {
  if ("const" in schema && !same(schema["const"], value)) {
    refuse(check, path, `expected ${JSON.stringify(schema["const"])}, got ${shown(value)}`, value);
  }
  const some = schema["enum"];
  if (Array.isArray(some) && !some.some((each) => same(each, value))) {
    const allowed = some.map((each) => JSON.stringify(each)).join(", ");
    refuse(check, path, `expected one of ${allowed}, got ${shown(value)}`, value);
  }
}

function textual(schema: Json, value: string, path: string, check: Check): void {
  const { minLength, maxLength, pattern, format } = schema;
  const length = [...value].length;
  if (typeof minLength === "number" && length < minLength) refuse(check, path, `is shorter than ${minLength}`, value);
  if (typeof maxLength === "number" && length > maxLength) refuse(check, path, `is longer than ${maxLength}`, value);
  if (typeof pattern === "string" && !expression(pattern).test(value)) {
    refuse(check, path, `does not match ${pattern}`, value);
  }
  const good = typeof format === "string" ? FORMATS[format] : undefined;
  if (good !== undefined && !good(value)) refuse(check, path, `is no ${String(format)}`, value);
}

function numeric(schema: Json, value: number, path: string, check: Check): void {
  const { minimum, maximum, exclusiveMinimum, exclusiveMaximum, multipleOf } = schema;
  if (typeof minimum === "number" && value < minimum) refuse(check, path, `is less than ${minimum}`, value);
  if (typeof maximum === "number" && value > maximum) refuse(check, path, `is more than ${maximum}`, value);
  if (typeof exclusiveMinimum === "number" && value <= exclusiveMinimum) {
    refuse(check, path, `is not more than ${exclusiveMinimum}`, value);
  }
  if (typeof exclusiveMaximum === "number" && value >= exclusiveMaximum) {
    refuse(check, path, `is not less than ${exclusiveMaximum}`, value);
  }
  if (typeof multipleOf === "number" && !Number.isInteger(Number((value / multipleOf).toPrecision(12)))) {
    refuse(check, path, `is not a multiple of ${multipleOf}`, value);
  }
}

function array(schema: Json, value: unknown[], path: string, check: Check): unknown[] {
  const { items, prefixItems, minItems, maxItems, uniqueItems } = schema;
  if (typeof minItems === "number" && value.length < minItems) refuse(check, path, `has less than ${minItems}`, value);
  if (typeof maxItems === "number" && value.length > maxItems) refuse(check, path, `has more than ${maxItems}`, value);
  if (uniqueItems === true && new Set(value.map((each) => JSON.stringify(each))).size < value.length) {
    refuse(check, path, "has something twice", value);
  }
  const first = Array.isArray(prefixItems) ? (prefixItems as Schema[]) : [];
  return value.map((each, at) => {
    const its = at < first.length ? first[at] : (items as Schema | undefined);
    return its === undefined ? each : visit(its, each, path ? `${path}.${at}` : String(at), check);
  });
}

function object(schema: Json, value: Json, path: string, check: Check): Json {
  const properties = (schema["properties"] ?? {}) as Record<string, Schema>;
  const found = { ...value };
  for (const [name, its] of Object.entries(properties)) {
    const at = path ? `${path}.${name}` : name;
    if (Object.hasOwn(value, name)) put(found, name, visit(its, value[name], at, check));
    else if (typeof its === "object" && "default" in its) put(found, name, structuredClone(its["default"]));
  }
  for (const name of (schema["required"] ?? []) as string[]) {
    if (!Object.hasOwn(found, name)) refuse(check, path ? `${path}.${name}` : name, "is required", value);
  }
  others(schema, properties, found, path, check);
  return found;
}

/** The members that have no schema of their own. */
function others(schema: Json, properties: Json, found: Json, path: string, check: Check): void {
  const { additionalProperties, patternProperties, minProperties, maxProperties } = schema;
  const patterns = Object.entries((patternProperties ?? {}) as Record<string, Schema>);
  const names = Object.keys(found);
  if (typeof minProperties === "number" && names.length < minProperties) refuse(check, path, "has too little", found);
  if (typeof maxProperties === "number" && names.length > maxProperties) refuse(check, path, "has too much", found);
  for (const name of names) {
    const at = path ? `${path}.${name}` : name;
    const fitting = patterns.filter(([pattern]) => expression(pattern).test(name));
    for (const [, its] of fitting) put(found, name, visit(its, found[name], at, check));
    if (Object.hasOwn(properties, name) || fitting.length > 0 || additionalProperties === undefined) continue;
    if (additionalProperties === false) refuse(check, at, "is not known here", found);
    else put(found, name, visit(additionalProperties as Schema, found[name], at, check));
  }
}

function combined(schema: Json, given: unknown, path: string, check: Check): unknown {
  let value = given;
  for (const each of (schema["allOf"] ?? []) as Schema[]) value = visit(each, value, path, check);
  for (const several of [schema["anyOf"], schema["oneOf"]] as (Schema[] | undefined)[]) {
    if (several !== undefined) value = either(several, several === schema["oneOf"], value, path, check);
  }
  if (schema["not"] !== undefined && fits(schema["not"] as Schema, value, check) !== undefined) {
    refuse(check, path, `must not be ${shown(value)}`, value);
  }
  if (schema["if"] !== undefined) {
    const so = fits(schema["if"] as Schema, value, check) !== undefined;
    value = visit((schema[so ? "then" : "else"] ?? true) as Schema, value, path, check);
  }
  return value;
}

function either(several: Schema[], only: boolean, value: unknown, path: string, check: Check): unknown {
  const fitting = several.map((each) => fits(each, value, check)).filter((each) => each !== undefined);
  if (fitting.length === 0) return refuse(check, path, `${shown(value)} is none of what is allowed`, value);
  if (only && fitting.length > 1) return refuse(check, path, `${shown(value)} is more than one of them`, value);
  return fitting[0]?.value;
}

/** The value with defaults, if it fits. */
function fits(schema: Schema, value: unknown, check: Check): { value: unknown } | undefined {
  const own: Check = { root: check.root, wrong: [], depth: check.depth };
  const found = visit(schema, value, "", own);
  return own.wrong.length === 0 ? { value: found } : undefined;
}

/** What `#/$defs/Name` points at; nothing is ever fetched. */
function target(root: Json, reference: string): Schema {
  if (!reference.startsWith("#")) return true;
  let found: unknown = root;
  for (const part of reference.slice(1).split("/").slice(1)) {
    const name = decodeURIComponent(part).replaceAll("~1", "/").replaceAll("~0", "~");
    found = isObject(found) || Array.isArray(found) ? (found as Json)[name] : undefined;
  }
  return isObject(found) || typeof found === "boolean" ? found : true;
}

function put(object: Json, name: string, value: unknown): void {
  Object.defineProperty(object, name, { value, enumerable: true, configurable: true, writable: true });
}

function ofType(type: unknown, value: unknown): boolean {
  const kind = kindOf(value);
  return [type].flat().some((each) => each === kind || (each === "number" && kind === "integer"));
}

/** What JSON calls it. */
export function kindOf(value: unknown): string {
  if (value === null) return "null";
  if (Array.isArray(value)) return "array";
  if (typeof value === "number") return Number.isInteger(value) ? "integer" : "number";
  return typeof value === "undefined" ? "nothing" : typeof value;
}

export function isObject(value: unknown): value is Json {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}

function same(one: unknown, other: unknown): boolean {
  return one === other || (typeof one === "object" && JSON.stringify(one) === JSON.stringify(other));
}

function shown(value: unknown): string {
  const text = JSON.stringify(value) ?? "nothing";
  return text.length > 60 ? `${text.slice(0, 60)}…` : text;
}

const expressions = new Map<string, RegExp>();

function expression(pattern: string): RegExp {
  let found = expressions.get(pattern);
  if (found === undefined) {
    found = new RegExp(pattern, "u");
    expressions.set(pattern, found);
  }
  return found;
}

const DATE = /^\d{4}-(?:0[1-9]|1[0-2])-(?:0[1-9]|[12]\d|3[01])$/;
const UUID = /^[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}$/i;

const FORMATS: Record<string, (text: string) => boolean> = {
  date: (text) => DATE.test(text) && !Number.isNaN(Date.parse(text)),
  "date-time": (text) =>
    DATE.test(text.slice(0, 10)) && /^[Tt ]/.test(text.slice(10)) && !Number.isNaN(Date.parse(text)),
  email: (text) => /^[^\s@]+@[^\s@]+$/.test(text),
  uri: (text) => URL.canParse(text),
  uuid: (text) => UUID.test(text),
};
