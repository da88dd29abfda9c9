// One tool in each library of schemas that plugins may use.
import { definePlugin, s, tool } from "@plugin-broker/sdk";
import { toStandardJsonSchema } from "@valibot/to-json-schema";
import { type } from "arktype";
import * as v from "valibot";
import * as z from "zod";

const description = "Count TODO comments.";
const run = ({ path, limit }) => ({ count: limit, path });

export default definePlugin({
  name: "schemas",
  version: "1",
  tools: {
    in_s: tool({
      description,
      input: s.object({ path: s.string({ min: 1 }), limit: s.integer({ max: 1000 }).default(100) }),
      output: s.object({ count: s.integer(), path: s.string() }),
      run,
    }),
    in_zod: tool({
      description,
      input: z.strictObject({ path: z.string().min(1), limit: z.int().max(1000).default(100) }),
      output: z.object({ count: z.int(), path: z.string() }),
      run,
    }),
    in_valibot: tool({
      description,
      input: toStandardJsonSchema(
        v.strictObject({
          path: v.pipe(v.string(), v.minLength(1)),
          limit: v.optional(v.pipe(v.number(), v.integer(), v.maxValue(1000)), 100),
        }),
      ),
      output: toStandardJsonSchema(v.object({ count: v.pipe(v.number(), v.integer()), path: v.string() })),
      run,
    }),
    in_arktype: tool({
      description,
      input: type({ "+": "reject", path: "string > 0", limit: "number.integer <= 1000 = 100" }),
      output: type({ count: "number.integer", path: "string" }),
      run,
    }),
    in_json_schema: tool({
      description,
      input: {
        type: "object",
        properties: {
          path: { type: "string", minLength: 1 },
          limit: { type: "integer", maximum: 1000, default: 100 },
        },
        required: ["path"],
        additionalProperties: false,
      },
      output: { type: "object", properties: { count: { type: "integer" }, path: { type: "string" } } },
      run,
    }),
  },
});
