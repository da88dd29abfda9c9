// A plugin in TypeScript, checked as strictly as can be: what its author may write, and what has to be an error.
import { command, type Ctx, definePlugin, Deny, on, prompt, resource, s, tool, ToolError, user } from "@plugin-broker/sdk";
import * as z from "zod";

async function ask(ctx: Ctx): Promise<string> {
  const name: string | null = await ctx.ask("Who?");
  const sure: boolean = await ctx.ask.confirm("Sure?");
  const person = await ctx.ask("Which?", s.object({ age: s.integer(), color: s.enum(["red", "blue"]) }));
  // @ts-expect-error: whoever closes the question gives no answer
  void (() => person.age);
  return sure ? `${name} ${person?.age.toFixed(0)} ${person?.color satisfies "red" | "blue" | undefined}` : "";
}

const inS = tool({
  readOnly: true,
  input: s.object({ path: s.string("where"), limit: s.integer().default(5), tag: s.string().optional() }),
  output: s.object({ count: s.integer() }),
  run({ path, limit, tag }, ctx) {
    using progress = ctx.progress("Counting", { total: limit });
    progress.step();
    const text: string | undefined = tag;
    // @ts-expect-error: it is a number
    void (() => limit.toUpperCase());
    return { count: path.length + limit + (text?.length ?? 0) };
  },
});

const inZod = tool({
  input: z.object({ at: z.iso.datetime().transform((text) => new Date(text)) }),
  inputSchema: { type: "object", properties: { at: { type: "string", format: "date-time" } }, required: ["at"] },
  run: ({ at }) => `${at.getUTCFullYear()}`,
});

const inJsonSchema = tool({
  input: {
    type: "object",
    properties: { of: { type: "array", items: { type: "number" } }, kind: { enum: ["sum", "most"] } },
    required: ["of"],
  },
  output: s.number(),
  run({ of, kind }) {
    const some: number[] = of;
    const known: "sum" | "most" | undefined = kind;
    if (some.length === 0) throw new ToolError("give some numbers");
    return known === "most" ? Math.max(...some) : some.reduce((sum, each) => sum + each, 0);
  },
});

// @ts-expect-error: a text is not what it promised
tool({ output: s.object({ count: s.integer() }), run: () => "three" });

export default definePlugin({
  name: "typed",
  version: "1.0.0",
  tools: { in_s: inS, in_zod: inZod, in_json_schema: inJsonSchema, ask: tool({ run: (_, ctx) => ask(ctx) }) },
  resources: { "typed://{name}": resource({ run: ({ name }) => `# ${name}` }) },
  prompts: { review: prompt({ input: s.object({ file: s.string() }), run: ({ file }) => [user(`Review ${file}`)] }) },
  commands: { wave: command({ input: s.object({ times: s.integer().default(1) }), run: ({ times }) => "👋".repeat(times) }) },
  events: { "document.saved": on({ languageId: "python" }, (event, ctx) => ctx.toast(event.uri)) },
  hooks: { pre_request: (event) => (event.tool === "rm" ? new Deny("no") : undefined) },
});
