// A plugin that uses everything the SDK has; the tests of this folder and the clients of every SDK run it.
import {
  assistant,
  Change,
  definePlugin,
  Deny,
  HostError,
  image,
  link,
  on,
  command,
  prompt,
  resource,
  s,
  tool,
  ToolError,
  user,
} from "@plugin-broker/sdk";

export const ended = [];

const place = s.object({ path: s.string(), line: s.integer().default(1) });
const person = s.object({
  name: s.string(),
  age: s.integer({ min: 0 }).default(30),
  color: s.enum(["red", "blue"]).default("red"),
});

const tools = {
  count: tool({
    title: "Count TODOs",
    description: "Count TODO comments.",
    readOnly: true,
    input: s.object({
      path: s.string("folder to scan"),
      limit: s.integer({ min: 1, max: 1000, description: "how many at most" }).default(100),
    }),
    output: s.object({ count: s.integer(), places: s.array(place) }),
    run({ path, limit }, ctx) {
      const progress = ctx.progress("Scanning", { total: 2 });
      progress.at(2);
      progress.end();
      ctx.toast(`${limit} TODOs`);
      return { count: limit, places: [{ path, line: 1 }] };
    },
  }),
  add: tool({
    description: "Add two numbers.",
    input: {
      type: "object",
      properties: { a: { type: "integer" }, b: { type: "integer", default: 1 } },
      required: ["a"],
      additionalProperties: false,
    },
    output: s.integer(),
    run({ a, b }) {
      console.log("this goes to stderr");
      return a + b;
    },
  }),
  echo: tool({ description: "Say it again.", input: s.object({ text: s.string() }), run: ({ text }) => text }),
  picture: tool({ description: "Show a picture.", run: () => image(Buffer.from("png")) }),
  mixed: tool({ description: "Show several things.", run: () => ["see", link("demo://note/a", "a")] }),
  fill: tool({
    description: "Take a form.",
    input: s.object({ form: person }),
    run: ({ form }) => `${form.name} ${form.age} ${form.color}`,
  }),
  refuse: tool({
    description: "Fail for a reason.",
    run() {
      throw new ToolError("no, for a reason");
    },
  }),
  crash: tool({
    description: "Fail by mistake.",
    run() {
      throw new Error("a secret of the author's");
    },
  }),
  stray: tool({
    description: "Fail where nobody waits.",
    run() {
      Promise.reject(new Error("nobody caught this"));
      return "started";
    },
  }),
  die: tool({
    description: "Fail where nobody can catch it.",
    run() {
      setImmediate(() => {
        throw new Error("this ends the process");
      });
      return new Promise(() => {});
    },
  }),
  nap: tool({
    description: "Rest.",
    timeout: 5,
    input: s.object({ seconds: s.number() }),
    async run({ seconds }, ctx) {
      await ctx.sleep(seconds);
      return "rested";
    },
  }),
  block: tool({
    description: "Keep the only thread busy.",
    input: s.object({ seconds: s.number() }),
    run({ seconds }) {
      const until = performance.now() + 1000 * seconds;
      while (performance.now() < until);
      return "over";
    },
  }),
  watch: tool({
    description: "Wait until nobody waits.",
    run(_, ctx) {
      ctx.log("it runs");
      return new Promise((resolve) => {
        ctx.signal.addEventListener("abort", () => {
          ctx.log("it saw it");
          resolve("over");
        });
      });
    },
  }),
  interview: tool({
    description: "Ask everything that can be asked.",
    output: s.array(s.any()),
    async run(_, ctx) {
      const name = await ctx.ask("Your name?");
      const sure = await ctx.ask.confirm("Sure?");
      const pick = await ctx.ask.pick("Which?", ["one", "two"]);
      const titled = await ctx.ask.pick("Which file?", { "a.txt": "The first", "b.txt": "The second" });
      return [name, sure, pick, titled, await ctx.ask("Who?", person)];
    },
  }),
  together: tool({
    description: "Ask at once.",
    output: s.array(s.any()),
    run: (_, ctx) => Promise.all([ctx.ask("One?"), ctx.ask("Two?", s.integer()), ctx.sample("Three?")]),
  }),
  ask_name: tool({ description: "Ask once.", run: async (_, ctx) => `${await ctx.ask("And you?")}` }),
  keep: tool({
    description: "Keep a number.",
    input: s.object({ value: s.integer() }),
    output: s.array(s.any()),
    async run({ value }, ctx) {
      const before = await ctx.state.get("value", "nothing");
      await ctx.state.set("value", value);
      return [before, await ctx.state.get("value"), ctx.config.get("greeting", "unset")];
    },
  }),
  secret: tool({ description: "Tell a secret.", run: (_, ctx) => ctx.secrets.get("api_key") }),
  forward: tool({
    description: "Have another plugin do it.",
    output: s.record(s.any()),
    run: (_, ctx) => ctx.call("other", "double", { value: 21 }),
  }),
  fetch: tool({
    description: "Get a page.",
    async run(_, ctx) {
      try {
        return `${(await ctx.host.request("http.fetch", { url: "https://a.example" })).body}`;
      } catch (error) {
        if (error instanceof HostError) return error.code;
        throw error;
      }
    },
  }),
};

export default definePlugin({
  name: "demo",
  version: "1.2.3",
  title: "Demo",
  instructions: "Use it to test.",
  tools,
  resources: {
    "demo://about": resource({ description: "What this is.", mime: "text/markdown", run: () => "# Demo" }),
    "demo://note/{name}": resource({
      description: "A note.",
      run({ name }) {
        if (name === "missing") throw new ToolError("there is no such note");
        return { name };
      },
    }),
    "demo://bytes/{length}": resource({
      description: "Some bytes.",
      run: ({ length }) => new Uint8Array(Number(length)).fill(120),
    }),
  },
  prompts: {
    review: prompt({
      description: "Review a file.",
      input: s.object({ file: s.string("which one"), tone: s.enum(["kind", "strict"]).default("kind") }),
      complete: { file: (typed) => ["main.py", "map.py", "test.py"].filter((name) => name.startsWith(typed)) },
      run: ({ file, tone }) => [user(`Review ${file}, ${tone}.`), assistant("Gladly.")],
    }),
  },
  commands: {
    refresh: command({
      title: "Refresh TODOs",
      description: "Look again.",
      input: s.object({ folder: s.string().default("."), depth: s.integer().default(1) }),
      async run({ folder, depth }, ctx) {
        ctx.status.set("todos", `✓ ${folder} ${depth}`);
        if (await ctx.ask.confirm("Really?")) return "refreshed";
        throw new ToolError("it was not wanted");
      },
    }),
  },
  events: {
    "document.saved": on({ languageId: "python" }, (event, ctx) => ctx.toast(`saved ${event.uri}`)),
    "config.changed": (_, ctx) => ctx.toast(`greeting is ${ctx.config.get("greeting")}`),
  },
  hooks: {
    pre_request(event) {
      if (event.tool === "rm") return new Deny("nothing is deleted here");
      if (event.tool === "ls") return new Change({ arguments: { path: "/tmp" }, meta: { "demo/seen": true } });
      return undefined;
    },
  },
  start(ctx) {
    ctx.log("started");
    return () => ended.push("life");
  },
  stop: () => void ended.push("stopped"),
});
