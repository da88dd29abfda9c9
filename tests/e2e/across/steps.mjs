// The conversation of a TypeScript client with a server of the offers, in the words of python_client.py.
// `guide` is what differs between the SDKs: { client, modern, asked, told, on, version, offered, call, level, listen,
// task }. The report goes to stdout.
import { TOLD } from "./offers.mjs";

const BOUND = 30_000; // milliseconds for one feature
const TRIES = 20; // until it counts that a subscription does not end
const LEVEL = "io.modelcontextprotocol/logLevel";
const MEMBERS = { tools: "tools", resources: "resources", templates: "resourceTemplates", prompts: "prompts" };
const LISTS = {
  tools: "listTools",
  resources: "listResources",
  templates: "listResourceTemplates",
  prompts: "listPrompts",
};

/** All a client is asked and told. */
export class Ears {
  asked = [];
  told = [];
  #waiting = [];

  elicit = ({ params }) => {
    this.asked.push({ method: "elicitation/create", params });
    return TOLD.answers[TOLD.says[params.message]];
  };
  sample = ({ params }) => {
    this.asked.push({ method: "sampling/createMessage", params });
    return TOLD.answers[params.tools ? "tools" : "sample"];
  };
  roots = () => {
    this.asked.push({ method: "roots/list" });
    return TOLD.answers.roots;
  };
  hear = ({ method, params }) => {
    this.told.push({ method, params });
    for (const wake of this.#waiting.splice(0)) wake();
  };

  /** The params of the first such notice, which is taken. */
  async heard(method) {
    for (;;) {
      const at = this.told.findIndex((each) => each.method === method);
      if (at >= 0) return this.told.splice(at, 1)[0].params;
      await new Promise((resolve) => this.#waiting.push(resolve));
    }
  }

  /** All such notices there are, which are taken. */
  taken(method) {
    const found = this.told.filter((each) => each.method === method).map((each) => each.params);
    this.told = this.told.filter((each) => each.method !== method);
    return found;
  }
}

const wanted = (error) => ({ code: error.code, message: error.message, data: error.data });

export async function report(guide, prefix, skipped) {
  const { client, ears, modern } = guide;
  const found = {};
  const named = (name) => prefix + name;
  const use = (tool, args = {}, more = {}, options = {}) =>
    guide.call({ name: named(tool), arguments: args, ...more }, options);
  const call = async (...args) => JSON.parse((await use(...args)).content[0].text);

  async function take(name, feature) {
    if (skipped.includes(name)) return;
    ears.asked = [];
    ears.told = [];
    let timer;
    const late = new Promise((_, reject) => {
      timer = setTimeout(() => reject(new Error("not in time")), BOUND);
    });
    const outcome = await Promise.race([feature(), late]).then(
      (result) => ({ result }),
      (error) => (Number.isInteger(error.code) ? { error: wanted(error) } : { broke: `${error.stack}` }),
    );
    clearTimeout(timer);
    found[name] = ears.asked.length ? { ...outcome, asked: ears.asked } : outcome;
  }

  async function list(kind) {
    const all = [];
    for (let cursor; ; ) {
      const page = await client[LISTS[kind]](cursor === undefined ? undefined : { cursor });
      all.push(...page[MEMBERS[kind]]);
      cursor = page.nextCursor;
      if (cursor === undefined) return all;
    }
  }

  function ask(method, params) {
    if (method === "tools/call") return use(params.name, params.arguments);
    if (method === "resources/read") return client.readResource(params);
    if (method === "prompts/get") return client.getPrompt({ ...params, name: named(params.name) });
    const { ref } = params;
    return client.complete({ ...params, ref: ref.name ? { ...ref, name: named(ref.name) } : ref });
  }

  /** What was said until a request that is sent now is answered. */
  async function rest(method) {
    await use("text");
    return ears.taken(method);
  }

  await take("version", async () => guide.version());
  await take("offered", async () => ({
    instructions: client.getInstructions(),
    capabilities: client.getServerCapabilities(),
  }));
  for (const kind of Object.keys(LISTS)) await take(`list ${kind}`, () => list(kind));
  for (const [name, [method, params]] of Object.entries(TOLD.asks)) await take(name, () => ask(method, params));
  await take("meta", async () => {
    const result = await use("meta", {}, { _meta: TOLD.meta });
    return { arrived: JSON.parse(result.content[0].text), _meta: result._meta };
  });
  await take("cancel", async () => {
    const steps = [];
    const stop = new AbortController();
    const onprogress = ({ progress, total, message }) => {
      if (steps.push([progress, total, message]) === 3) stop.abort();
    };
    await use("wait", {}, {}, { signal: stop.signal, onprogress }).then(
      () => Promise.reject(new Error("it ended")),
      () => {},
    );
    return { steps, cancelled: (await call("heard")).cancelled };
  });
  await take("logs", async () => {
    if (!modern) await client.setLoggingLevel("warning");
    await call("log", {}, modern ? { _meta: { [LEVEL]: "warning" } } : {});
    return [await ears.heard("notifications/message"), ...(await rest("notifications/message"))];
  });
  await take("updates", async () => {
    const uri = "demo://text";
    const end = await guide.subscribe(uri);
    await call("touch", { uri: "demo://bytes" });
    await call("touch", { uri });
    const first = (await ears.heard("notifications/resources/updated")).uri;
    await end();
    for (let tried = 0; tried < TRIES; tried++) {
      await call("touch", { uri }); // the end of a subscription is not answered in the modern era
      if (!(await rest("notifications/resources/updated")).length) return { first, ended: true };
    }
    return { first, ended: false };
  });
  if (modern) {
    await take("quiet", async () => {
      await call("log");
      return rest("notifications/message");
    });
  } else {
    await take("visited", async () => {
      await call("ask_page");
      const told = await rest("notifications/elicitation/complete");
      return told.length === 1 && told[0].elicitationId === ears.asked[0].params.elicitationId;
    });
    await take("roots_changed", async () => {
      await client.sendRootsListChanged();
      return (await call("heard")).roots;
    });
    await take("ping", () => client.ping());
  }
  await take("pay", async () => {
    const refused = await call("pay").then(
      (result) => ({ result }),
      (error) => ({ refused: wanted(error) }),
    );
    if (refused.result) return { refused: null, ...refused };
    return { ...refused, result: await call("pay") };
  });
  await take("task", async () => {
    if (!guide.task) return { absent: !("experimental" in client) };
    return client.getServerCapabilities().tasks ? guide.task(named("job")) : { offered: false };
  });
  for (const kind of ["tools", "resources", "prompts"]) {
    await take(`change ${kind}`, async () => {
      const end = await guide.listen(kind);
      const before = (await list(kind)).map((entry) => entry.name);
      await call("change", { what: kind });
      await ears.heard(`notifications/${kind}/list_changed`);
      await end();
      return (await list(kind)).map((entry) => entry.name).filter((name) => !before.includes(name));
    });
  }
  return found;
}
