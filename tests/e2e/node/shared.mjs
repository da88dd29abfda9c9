// What the drivers of both SDKs share: the walk through one broker, step by step, as a plain object.
// The Python guides in ../guides.py walk the same way; ../test_clients.py reads all of their reports.

export const ROOTS = { roots: [{ uri: "file:///somewhere", name: "somewhere" }] };
export const ANSWER = { action: "accept", content: { name: "Ann" } };
export const SAMPLED = { role: "assistant", content: { type: "text", text: "sampled" }, model: "fake" };
const BOUND = 10_000; // milliseconds

/** A list that can be waited for. */
export class Heard {
  constructor() {
    this.all = [];
    this.waiting = [];
  }
  push(value) {
    this.all.push(value);
    this.waiting = this.waiting.filter((waiter) => !waiter());
  }
  async until(wanted, what) {
    if (this.all.some(wanted)) return;
    await new Promise((resolve, reject) => {
      const timer = setTimeout(() => reject(new Error(`never heard: ${what}`)), BOUND);
      this.waiting.push(() => {
        if (!this.all.some(wanted)) return false;
        clearTimeout(timer);
        resolve();
        return true;
      });
    });
  }
}

const text = (result) => result.content[0].text;

/** `guide`: { client, call(params, options), subscribe(uris), listen(), level(level), meta(level), heard } */
export async function walk(guide, servers) {
  const report = { version: guide.version(), servers: {} };
  report.pinged = await guide.ping();
  const tools = (await guide.client.listTools()).tools.map((tool) => tool.name);
  const { resources } = await guide.client.listResources();
  const { resourceTemplates } = await guide.client.listResourceTemplates();
  const prompts = (await guide.client.listPrompts()).prompts.map((prompt) => prompt.name);
  for (const name of servers) {
    const mine = (uri) => uri.startsWith(`broker://${name}/`);
    const first = name === servers[0];
    const lists = {
      tools: tools.filter((each) => each.startsWith(`${name}__`)),
      prompts: prompts.filter((each) => each.startsWith(`${name}__`)),
      resources: resources.map((each) => each.uri).filter((uri) => mine(uri) || (first && uri.startsWith("demo:"))),
      templates: resourceTemplates
        .map((each) => each.uriTemplate)
        .filter((uri) => mine(uri) || (first && uri.startsWith("demo:"))),
    };
    report.servers[name] = await visit(guide, name, lists).catch((error) => ({ broke: `${error.stack}` }));
  }
  return report;
}

async function visit(guide, name, lists) {
  const { client, heard } = guide;
  const call = (tool, args = {}, options = {}) => guide.call({ name: `${name}__${tool}`, arguments: args }, options);
  const found = { ...lists };
  found.echo = text(await call("echo", { text: "hi" }));
  found.add = (await call("add", { a: 2, b: 3 })).structuredContent;
  found.failed = (await call("fail")).isError;
  found.error = await call("error").then(
    () => null,
    (error) => ({ code: error.code, message: error.message, data: error.data }),
  );

  found.progress = [];
  await call("progress", { n: 3 }, { onprogress: (step) => found.progress.push([step.progress, step.total, step.message]) });

  const stop = new AbortController();
  const ended = call("forever", {}, { signal: stop.signal, onprogress: () => stop.abort() });
  found.cancelled = await ended.then(() => false, () => true);
  found.heard = JSON.parse(text(await call("heard")));

  found.read = (await client.readResource({ uri: lists.resources[0] })).contents[0].text;
  const item = lists.templates[0].replace("{id}", "7");
  found.readItem = (await client.readResource({ uri: item })).contents[0].text;
  const prompt = await client.getPrompt({ name: `${name}__hello`, arguments: { name: "Ann" } });
  found.prompt = prompt.messages[0].content.text;
  const ofPrompt = { ref: { type: "ref/prompt", name: `${name}__hello` }, argument: { name: "name", value: "b" } };
  found.completion = (await client.complete(ofPrompt)).completion.values;
  const ofTemplate = { ref: { type: "ref/resource", uri: lists.templates[0] }, argument: { name: "id", value: "1" } };
  found.itemCompletion = (await client.complete(ofTemplate)).completion.values;

  const uri = lists.resources[0];
  const end = await guide.subscribe(uri);
  await call("touch", { uri: "demo://a" });
  await heard.updated.until((each) => each === uri, `an update of ${uri}`);
  await end();
  found.updated = heard.updated.all.filter((each) => each === uri).length;

  const done = await guide.listen();
  const so_far = heard.changed.all.length;
  await call("change", { what: "tools" });
  await heard.changed.until((_) => heard.changed.all.length > so_far, "a change of the tools");
  found.extra = (await client.listTools()).tools.some((tool) => tool.name === `${name}__extra`);
  await done();

  await guide.level("warning");
  heard.logged.all = [];
  for (const level of ["info", "error"]) await guide.logged({ name: `${name}__log`, arguments: { level } }, "warning");
  found.logged = heard.logged.all.map((each) => each.level);

  for (const tool of ["elicit", "sample", "roots"]) {
    const answer = await call(tool).then(text, (error) => JSON.stringify({ error: error.message }));
    found[tool] = answer.startsWith("{") ? JSON.parse(answer) : answer;
  }
  return found;
}
