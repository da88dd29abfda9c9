/* Arguments made of a tool's own schema: edges first, then whatever is allowed; and hostile ones that may fit nothing. */

type Schema = Record<string, any>;
type Make = (schema: Schema, chosen: Chosen, root: Schema, depth: number) => unknown;

const TEXTS = [
  "",
  "a",
  "hello world",
  "ünïcödé 🚀",
  "../../etc/passwd",
  "'; drop table x; --",
  "\n\t",
  "0",
  "null",
  "__proto__",
  "x".repeat(300),
];
const DEEP = 4; // levels of what contains itself
const HUGE = 2 ** 40; // numbers beyond it are no longer counted in ones
const LAST_MOMENT = 2 ** 31; // seconds since the epoch

/** Numbers that look random, the same ones for a seed (mulberry32). */
export class Chosen {
  #state: number;

  constructor(seed: number) {
    this.#state = seed >>> 0;
  }

  /** From 0 up to 1. */
  fraction(): number {
    this.#state = (this.#state + 0x6d2b79f5) >>> 0;
    let mixed = this.#state;
    mixed = Math.imul(mixed ^ (mixed >>> 15), mixed | 1);
    mixed ^= mixed + Math.imul(mixed ^ (mixed >>> 7), mixed | 61);
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32;
  }

  /** A whole number, both ends included. */
  integer(least: number, most: number): number {
    return least + Math.floor(this.fraction() * (most - least + 1));
  }

  one<T>(of: readonly T[]): T {
    return of[this.integer(0, of.length - 1)] as T;
  }
}

/** Arguments that fit a schema, the same ones for a seed. */
export function* examples(schema: Schema, count: number, seed = 0): Generator<Schema> {
  const chosen = new Chosen(seed);
  for (let made = 0; made < count; made++) yield example(schema, chosen) as Schema;
}

/** Arguments as nobody wants them: one member of something good is missing, strange, or one too many. */
export function* hostile(schema: Schema, count: number, seed = 0): Generator<Schema> {
  const chosen = new Chosen(seed);
  for (let made = 0; made < count; made++) {
    const found = example(schema, chosen) as Schema;
    const name = chosen.one([...Object.keys(schema.properties ?? {}), "unknown", "constructor"]);
    if (chosen.fraction() < 0.2) delete found[name];
    else found[name] = strange(chosen);
    yield found;
  }
}

function strange(chosen: Chosen): unknown {
  const values = [null, true, -1, 0.5, 1e308, 2 ** 53, "", "x".repeat(100_000), "\u0000", [], [[]], {}, nested(50)];
  return chosen.one([...values, JSON.parse('{"__proto__": {"polluted": true}}'), { toString: 1, length: -1 }]);
}

function nested(levels: number): unknown {
  let found: unknown = [];
  for (let level = 0; level < levels; level++) found = [found];
  return found;
}

/** One value that fits a schema of the kinds that arguments have. */
export function example(schema: Schema, chosen: Chosen, root: Schema = schema, depth = 0): unknown {
  if ("$ref" in schema) return example(target(schema.$ref, root), chosen, root, depth + 1);
  if ("const" in schema) return schema.const;
  if ("enum" in schema) return chosen.one(schema.enum);
  const several: Schema[] | undefined = schema.anyOf ?? schema.oneOf;
  if (several !== undefined) {
    const some = depth < DEEP ? several : several.filter((each) => !("$ref" in each)).slice(0, 1);
    return example(chosen.one(some.length > 0 ? some : several), chosen, root, depth + 1);
  }
  if ("allOf" in schema) return example(merged(schema, root), chosen, root, depth + 1);
  const kind = schema.type ?? ("properties" in schema ? "object" : "string");
  return MADE[Array.isArray(kind) ? chosen.one(kind) : kind]!(schema, chosen, root, depth);
}

/** What `#/$defs/Name` and the like point at. */
function target(ref: string, root: Schema): Schema {
  const steps = ref.split("/").slice(1).map((step) => decodeURIComponent(step).replace(/~1/g, "/").replace(/~0/g, "~"));
  const found = steps.reduce<Schema | undefined>((at, step) => at?.[step], root);
  if (found === undefined) throw new Error(`no example for ${ref}, which is not in the schema`);
  return found;
}

function merged({ allOf, ...rest }: Schema, root: Schema): Schema {
  const parts: Schema[] = [rest, ...allOf.map((each: Schema) => ("$ref" in each ? target(each.$ref, root) : each))];
  return {
    ...Object.assign({}, ...parts),
    properties: Object.assign({}, ...parts.map((each) => each.properties)),
    required: parts.flatMap((each) => each.required ?? []),
  };
}

const object: Make = (schema, chosen, root, depth) => {
  const found: Schema = {};
  for (const [name, member] of Object.entries<Schema>(schema.properties ?? {})) {
    if (schema.required?.includes(name) || (depth < DEEP && chosen.fraction() < 0.5)) {
      found[name] = example(member, chosen, root, depth + 1);
    }
  }
  const more = schema.additionalProperties;
  if (typeof more === "object" && depth < DEEP) {
    for (const key of ["a", "b c"].slice(0, chosen.integer(0, 2))) found[key] ??= example(more, chosen, root, depth + 1);
  }
  return found;
};

const array: Make = (schema, chosen, root, depth) => {
  const first = (schema.prefixItems ?? []).map((each: Schema) => example(each, chosen, root, depth + 1));
  if (schema.items === false) return first;
  const least = Math.max(schema.minItems ?? 0, first.length);
  const most = Math.min(schema.maxItems ?? Infinity, least + (depth < DEEP ? 3 : 0));
  const count = chosen.integer(least, Math.max(least, most)) - first.length;
  return [...first, ...Array.from({ length: count }, () => example(schema.items ?? {}, chosen, root, depth + 1))];
};

const string: Make = (schema, chosen) => {
  const made = FORMATS[schema.format ?? ""];
  if (made !== undefined) return made(chosen);
  if ("pattern" in schema) return byPattern(schema.pattern);
  const least = schema.minLength ?? 0;
  const most = schema.maxLength ?? Math.max(least, 1000);
  return [...(chosen.one(TEXTS) + "x".repeat(least))].slice(0, most).join("");
};

const integer: Make = (schema, chosen) => {
  const step: number = schema.multipleOf ?? 1;
  const low: number = schema.minimum ?? (schema.exclusiveMinimum ?? -1001) + 1;
  const high: number = schema.maximum ?? (schema.exclusiveMaximum ?? Math.max(low, 1000) + 1001) - 1;
  const least = Math.max(low, Math.min(-HUGE, high));
  const most = Math.min(high, Math.max(HUGE, low));
  const first = Math.ceil(least / step) * step;
  const steps = Math.max(Math.floor((most - first) / step), 0);
  return first + step * chosen.one([0, steps, chosen.integer(0, steps)]);
};

const number: Make = (schema, chosen) => {
  if ("multipleOf" in schema) return integer(schema, chosen, schema, 0);
  const least: number = schema.minimum ?? schema.exclusiveMinimum ?? -1e6;
  const most: number = schema.maximum ?? schema.exclusiveMaximum ?? Math.max(least, 0) + 1e6;
  const between = least + (most - least) * (0.001 + 0.998 * chosen.fraction());
  return "exclusiveMinimum" in schema ? between : chosen.one([least, between]);
};

/** A text for the simplest patterns; whoever has others tests with values of their own. */
function byPattern(pattern: string): string {
  const expression = new RegExp(pattern, "u");
  const found = [...TEXTS, "abc", "a-b", "1", "2027-01-01", "A1", "a@b.example"].find((each) => expression.test(each));
  if (found === undefined) throw new Error(`no example for the pattern ${pattern}`);
  return found;
}

function moment(chosen: Chosen): string {
  return new Date(1000 * chosen.integer(0, LAST_MOMENT)).toISOString();
}

function uuid(chosen: Chosen): string {
  const digits = Array.from({ length: 32 }, () => chosen.integer(0, 15).toString(16));
  digits[12] = "4";
  digits[16] = "8";
  return [0, 8, 12, 16, 20].map((at, part) => digits.slice(at, [8, 12, 16, 20, 32][part]).join("")).join("-");
}

const MADE: Record<string, Make> = {
  object,
  array,
  string,
  integer,
  number,
  boolean: (_, chosen) => chosen.fraction() < 0.5,
  null: () => null,
};
const FORMATS: Record<string, (chosen: Chosen) => string> = {
  "date-time": moment,
  date: (chosen) => moment(chosen).slice(0, 10),
  time: (chosen) => moment(chosen).slice(11),
  uuid,
  path: (chosen) => chosen.one([".", "/tmp", "a/b.txt", "../x"]),
  uri: (chosen) => chosen.one(["https://a.example/b?c#d", "file:///a%20b"]),
  email: () => "ada@a.example",
};
