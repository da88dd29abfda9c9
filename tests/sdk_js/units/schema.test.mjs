// Schemas: what is told of them, and what values become.
import assert from "node:assert/strict";
import { test } from "node:test";
import * as v from "valibot";
import { formOf } from "../../../sdk-js/src/forms.ts";
import { s } from "../../../sdk-js/src/s.ts";
import { Shape } from "../../../sdk-js/src/schema.ts";
import { checked } from "../../../sdk-js/src/validate.ts";

const wrong = (schema, value) => {
  try {
    checked(schema, value);
  } catch (error) {
    return error.message;
  }
  return undefined;
};

const WRONG = [
  [{ type: "integer" }, 1.5, "expected integer, got number"],
  [{ type: ["string", "null"] }, true, "expected string or null, got boolean"],
  [{ type: "string", minLength: 2 }, "😀", "is shorter than 2"],
  [{ type: "string", maxLength: 1 }, "ab", "is longer than 1"],
  [{ type: "string", pattern: "^a+$" }, "b", "does not match ^a+$"],
  [{ type: "string", format: "date" }, "2026-13-01", "is no date"],
  [{ type: "string", format: "uuid" }, "x", "is no uuid"],
  [{ type: "string", format: "uri" }, "x", "is no uri"],
  [{ minimum: 1 }, 0, "is less than 1"],
  [{ exclusiveMaximum: 1 }, 1, "is not less than 1"],
  [{ multipleOf: 0.1 }, 0.25, "is not a multiple of 0.1"],
  [{ enum: ["a", 1] }, "b", 'expected one of "a", 1, got "b"'],
  [{ const: 2 }, 3, "expected 2, got 3"],
  [{ type: "array", items: { type: "string" }, uniqueItems: true }, ["a", "a"], "has something twice"],
  [{ type: "array", prefixItems: [{ type: "string" }], items: false }, ["a", "b"], "`1`: is not allowed"],
  [{ properties: { a: { items: { type: "string" } } } }, { a: ["x", 1] }, "`a.1`: expected string, got integer"],
  [{ required: ["a"] }, {}, "`a`: is required"],
  [{ properties: {}, additionalProperties: false }, { b: 1 }, "`b`: is not known here"],
  [{ additionalProperties: { type: "string" } }, { b: 1 }, "`b`: expected string, got integer"],
  [{ anyOf: [{ type: "string" }, { type: "null" }] }, 5, "5 is none of what is allowed"],
  [{ oneOf: [{ type: "number" }, { type: "integer" }] }, 5, "5 is more than one of them"],
  [{ not: { type: "string" } }, "a", 'must not be "a"'],
  [{ if: { required: ["a"] }, then: { required: ["b"] } }, { a: 1 }, "`b`: is required"],
  [
    { $defs: { A: { type: "string" } }, properties: { a: { $ref: "#/$defs/A" } } },
    { a: 1 },
    "`a`: expected string, got integer",
  ],
  [{ $ref: "#" }, 1, "is nested too deep"],
];

test("what does not fit is said with its name", () => {
  for (const [schema, value, said] of WRONG) assert.equal(wrong(schema, value), said);
});

test("what fits is left as it is, and defaults are filled in", () => {
  const schema = { type: "object", properties: { a: { default: [1] }, b: { type: "number", multipleOf: 0.1 } } };
  const given = { b: 0.3, ["__proto__"]: 1 };
  const found = checked(schema, given);
  assert.deepEqual(found, { b: 0.3, a: [1], ["__proto__"]: 1 });
  assert.deepEqual(given, { b: 0.3, ["__proto__"]: 1 });
  assert.notEqual(checked(schema, {}).a, schema.properties.a.default);
  const parsed = checked(
    { additionalProperties: { type: "object", additionalProperties: true } },
    JSON.parse('{"__proto__":{"x":1}}'),
  );
  assert.equal(Object.getPrototypeOf(parsed), Object.prototype);
  assert.equal({}.x, undefined);
});

test("`s` describes itself, and is a Standard Schema", () => {
  const found = s.object({
    name: s.string({ min: 1, description: "who" }),
    age: s.integer().default(3),
    tag: s.string().optional(),
  });
  assert.deepEqual(found["~standard"].jsonSchema.input(), {
    type: "object",
    properties: {
      name: { type: "string", minLength: 1, description: "who" },
      age: { type: "integer", default: 3 },
      tag: { type: "string" },
    },
    required: ["name"],
    additionalProperties: false,
  });
  assert.deepEqual(found["~standard"].validate({ name: "a" }), { value: { name: "a", age: 3 } });
  assert.equal(found["~standard"].validate({}).issues[0].message, "`name`: is required");
  assert.deepEqual(s.enum(["a", "b"]).json, { type: "string", enum: ["a", "b"] });
});

test("texts become what a schema wants", async () => {
  const shape = new Shape(s.object({ n: s.integer(), yes: s.boolean(), t: s.string() }), undefined, "it", "input");
  assert.deepEqual(await shape.texts({ n: "5", yes: "true", t: "5" }), { n: 5, yes: true, t: "5" });
  await assert.rejects(
    shape.texts({ n: "x", yes: "no", t: "" }),
    /`n`: expected integer, got string; `yes`: expected boolean/,
  );
});

test("a schema that does not say what it is names the way out", () => {
  const shape = new Shape(v.object({ a: v.string() }), undefined, 'tool "t"', "input");
  assert.throws(() => shape.json, /tool "t": a schema of valibot .* `toStandardJsonSchema`/);
  assert.deepEqual(new Shape(v.object({}), { type: "object" }, "it", "input").json, { type: "object" });
});

test("a form has only what forms of MCP have", async () => {
  assert.deepEqual(formOf(s.integer({ min: 1 }), true, 3).schema, {
    type: "object",
    properties: { value: { type: "integer", minimum: 1, default: 3 } },
    required: ["value"],
  });
  const titled = formOf(s.object({ color: s.enum({ r: "Red" }) }), false).schema.properties.color;
  assert.deepEqual(titled, { type: "string", enum: ["r"], enumNames: ["Red"] });
  assert.throws(() => formOf(s.object({ inner: s.object({}) }), true), /`inner` cannot be asked for/);
  await assert.rejects(formOf(s.integer(), true).read({ value: "x" }), /the answer is not what was asked for/);
  await assert.rejects(formOf(s.integer(), true).read({}), /the answer lacks its value/);
});
