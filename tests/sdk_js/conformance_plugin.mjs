// The plugin of the SDK that the conformance suite judges; what it offers is the list that all such fixtures share.
import { readFileSync } from "node:fs";
import { setTimeout as pause } from "node:timers/promises";

import {
  audio,
  CannotAsk,
  definePlugin,
  embedded,
  image,
  prompt,
  Refusal,
  resource,
  s,
  text,
  tool,
  ToolError,
  user,
} from "@plugin-broker/sdk";

const OFFERS = JSON.parse(readFileSync(new URL("../conformance/offers.json", import.meta.url), "utf8"));
const STEP = 50; // ms between the messages of one call, as the scenarios ask for
const description = "The suite's own.";

const MADE = {
  text: (block) => text(block.text),
  image: (block) => image(Buffer.from(block.data, "base64"), block.mimeType),
  audio: (block) => audio(Buffer.from(block.data, "base64"), block.mimeType),
  resource: ({ resource: { uri, text: said, mimeType } }) => embedded(uri, said, mimeType),
};

const contents = (blocks) => blocks.map((block) => MADE[block.type](block));
const every = (members, make) => Object.fromEntries(Object.entries(members).map(([name, of]) => [name, make(of)]));

/** A value with its `{holes}` filled, by the paths they name. */
function filled(value, holes) {
  if (typeof value !== "object") {
    return value.replace(/\{([\w.]+)\}/g, (_, path) => path.split(".").reduce((at, name) => at?.[name], holes));
  }
  return Array.isArray(value) ? value.map((each) => filled(each, holes)) : every(value, (each) => filled(each, holes));
}

function ask({ key, form, fields, sample }, ctx) {
  if (sample) return ctx.sample(sample, { key });
  if (!form) return ctx.roots({ key });
  return ctx.ask.form(form, { type: "object", properties: fields, required: Object.keys(fields) }, { key });
}

const inRounds = ({ asks, says }) =>
  tool({
    description,
    async run(_, ctx) {
      const answers = {};
      for (const round of asks) {
        const found = await Promise.all(round.map((each) => ask(each, ctx)));
        round.forEach(({ key }, at) => (answers[key] = found[at]));
      }
      return filled(says, answers);
    },
  });

async function elicited(message, requestedSchema, ctx) {
  const answer = await ctx.request("elicitation/create", { message, requestedSchema });
  return `User response: action=${answer.action}, content=${JSON.stringify(answer.content ?? {})}`;
}

const named = OFFERS.rounds.test_input_required_result_elicitation;
const simple = tool({ description, run: () => contents(OFFERS.answers.test_simple_text) });
const plainPrompt = prompt({ description, run: () => "This one comes and goes." });

function toggled(kind, name, offered) {
  if (plugin[kind].has(name)) plugin.remove(kind, name);
  else plugin.add(kind, name, offered);
  return `The list of ${kind} changed.`;
}

const tools = {
  ...every(OFFERS.answers, (blocks) => tool({ description, run: () => contents(blocks) })),
  ...every(OFFERS.rounds, inRounds),
  ...Object.fromEntries(
    Object.entries(OFFERS.forms).map(([name, { message, form }]) => [
      name,
      tool({
        description,
        input: OFFERS.inputs[name],
        run: (args, ctx) => elicited(message ?? args.message, form, ctx),
      }),
    ]),
  ),
  test_error_handling: tool({
    description,
    run() {
      throw new ToolError("This tool intentionally returns an error for testing");
    },
  }),
  test_tool_with_logging: tool({
    description,
    async run(_, ctx) {
      for (const said of ["started", "processing data", "completed"]) {
        ctx.log(`Tool ${said}`);
        await pause(STEP);
      }
      return "Logged three times.";
    },
  }),
  test_logging_tool: tool({
    description,
    run(_, ctx) {
      ctx.log("This is a log message");
      return "Logged once.";
    },
  }),
  test_tool_with_progress: tool({
    description,
    async run(_, ctx) {
      const progress = ctx.progress("", { total: 100 });
      for (const done of [50, 100]) {
        await pause(STEP);
        progress.at(done);
      }
      await pause(STEP);
      return "Progressed.";
    },
  }),
  test_reconnection: tool({
    description,
    async run(_, ctx) {
      ctx.log("Before");
      await pause(STEP);
      ctx.log("After");
      return "Reconnection test completed";
    },
  }),
  test_missing_capability: tool({
    description,
    run(_, ctx) {
      if (!ctx.can("sampling")) throw new CannotAsk("sampling");
      return "The client can sample.";
    },
  }),
  test_x_mcp_header: tool({
    description,
    input: OFFERS.inputs.test_x_mcp_header,
    run: ({ region }) => `The region is ${region}.`,
  }),
  json_schema_2020_12_tool: tool({
    description,
    inputSchema: OFFERS.inputs.json_schema_2020_12_tool,
    run: (args) => JSON.stringify(args),
  }),
  test_trigger_tool_change: tool({ description, run: () => toggled("tools", "test_dynamic_tool", simple) }),
  test_trigger_prompt_change: tool({
    description,
    run: () => toggled("prompts", "test_dynamic_prompt", plainPrompt),
  }),
  test_sampling: tool({
    description,
    input: OFFERS.inputs.test_sampling,
    run: async (args, ctx) => `LLM response: ${await ctx.sample(args.prompt)}`,
  }),
  test_streaming_elicitation: tool({
    description,
    run(args, ctx) {
      ctx.progress("", { total: 2 }).step();
      return inRounds(named).run(args, ctx);
    },
  }),
  test_input_required_result_capabilities: tool({
    description,
    async run(_, ctx) {
      if (ctx.can("elicitation")) await ask(named.asks[0][0], ctx);
      if (ctx.can("sampling")) await ctx.sample("Say hello", { key: "sample" });
      return "Asked what the client can answer.";
    },
  }),
};

const prompted = (name, ...names) =>
  prompt({
    description,
    input: s.object(Object.fromEntries(names.map((each) => [each, s.string()]))),
    complete: { arg1: (typed) => OFFERS.completions.filter((word) => word.startsWith(typed)) },
    run: (args) => contents(filled(OFFERS.prompts[name], args)).map((each) => user(each)),
  });

const prompts = {
  test_simple_prompt: prompted("test_simple_prompt"),
  test_prompt_with_arguments: prompted("test_prompt_with_arguments", "arg1", "arg2"),
  test_prompt_with_embedded_resource: prompted("test_prompt_with_embedded_resource", "resourceUri"),
  test_prompt_with_image: prompted("test_prompt_with_image"),
  test_input_required_result_prompt: prompt({
    description,
    async run(_, ctx) {
      const fields = { context: { type: "string" } };
      const found = await ask({ key: "user_context", form: "What context should the prompt use?", fields }, ctx);
      return `Use this context: ${found?.context}`;
    },
  }),
};

const resources = {
  ...every(OFFERS.resources, ({ mimeType, text: said, blob }) =>
    resource({ mime: mimeType, run: () => said ?? Buffer.from(blob, "base64") })),
  "test://template/{id}/data": resource({
    mime: "application/json",
    run({ id }) {
      if (id === "nobody") throw new Refusal(-32602, "there is nobody");
      return { id, templateTest: true, data: `Data for ID: ${id}` };
    },
  }),
};

const plugin = definePlugin({ name: "conformance", version: "1.0", tools, prompts, resources });
export default plugin;
