// A plugin of the SDK through its own harness: the same test in memory and over real pipes, in both eras of MCP.
import assert from "node:assert/strict";
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { test } from "node:test";

import { HostUnavailable, ToolError } from "@plugin-broker/sdk";
import { Failed, pluginClient } from "@plugin-broker/sdk/testing";

import demo, { ended } from "./demo_plugin.mjs";

const DEMO = new URL("./demo_plugin.mjs", import.meta.url);
const SCHEMAS = new URL("./schemas_plugin.mjs", import.meta.url);
const PERSON = { name: "Ada", age: 36, color: "blue" };
const ANSWERS = ["Ada", true, "two", "b.txt", PERSON];
const COUNTED = { count: 3, places: [{ path: "src", line: 1 }] };

/** A test in both eras; `client` makes a harness of the demo plugin that ends with the test. */
function inBothEras(name, run) {
  for (const era of ["modern", "legacy"]) {
    test(`${name} (${era})`, async (t) => {
      await run(async (options = {}) => opened(t, DEMO, { era, ...options }), era, t);
    });
  }
}

async function opened(t, plugin, options) {
  const client = await pluginClient(plugin, options);
  t.after(() => client.close());
  return client;
}

const failing = (text) => (error) => {
  assert.ok(error instanceof ToolError, error);
  assert.match(error.message, text);
  return true;
};

inBothEras("a structured result is data and text, and the host hears the toast", async (open) => {
  const client = await open();
  const reply = await client.reply("count", { path: "src", limit: 3 });
  assert.deepEqual(reply.data, COUNTED);
  assert.equal(reply.text, JSON.stringify(COUNTED));
  assert.deepEqual(reply.progress.map((each) => each.progress), [0, 2]);
  await client.until(() => client.host.toasts[0] === "3 TODOs");
});

inBothEras("the same over real pipes", async (open) => {
  const client = await open({ over: "stdio", secrets: { api_key: "k" }, answers: ANSWERS });
  const reply = await client.reply("count", { path: "src", limit: 3 });
  assert.deepEqual(reply.data, COUNTED);
  assert.deepEqual(reply.progress.map((each) => each.progress), [0, 2]);
  await client.until(() => client.host.toasts[0] === "3 TODOs");
  assert.equal(await client.call("add", { a: 1, b: 2 }), 3); // and what it prints is not in the way
  assert.equal(await client.call("secret"), "k");
  assert.deepEqual(await client.call("interview"), ANSWERS);
  client.host.answers.push(true);
  assert.equal(await client.command("refresh", "src", 2), "refreshed");
  assert.deepEqual(client.host.status, { todos: "✓ src 2" });
  assert.equal(await client.call("stray"), "started"); // what nobody catches costs the author a line, and no call
  assert.equal(await client.call("echo", { text: "still here" }), "still here");
});

inBothEras("what is no object is wrapped, and texts and contents are not", async (open) => {
  const client = await open();
  assert.deepEqual((await client.reply("add", { a: 1 })).raw.structuredContent, { result: 2 });
  assert.equal((await client.reply("echo", { text: "é" })).raw.structuredContent, undefined);
  const picture = { type: "image", data: "cG5n", mimeType: "image/png" };
  assert.deepEqual((await client.reply("picture")).content, [picture]);
  assert.deepEqual((await client.reply("mixed")).content.map((each) => each.type), ["text", "resource_link"]);
});

inBothEras("wrong arguments are said to the model with their name", async (open) => {
  const client = await open();
  await assert.rejects(client.call("add", { a: "one" }), failing(/^Invalid arguments of add: `a`/));
  await assert.rejects(client.call("count"), failing(/`path`/));
  await assert.rejects(client.call("add", { a: 1, what: 2 }), failing(/`what`/));
  await assert.rejects(client.call("fill", { form: { name: "x", age: -1 } }), failing(/`form\.age`/));
  assert.equal(await client.call("fill", { form: { name: "x" } }), "x 30 red");
});

inBothEras("a ToolError is told, and any other error is not", async (open, _, t) => {
  const client = await open();
  const said = t.mock.method(process.stderr, "write", () => true);
  await assert.rejects(client.call("refuse"), failing(/^no, for a reason$/));
  await assert.rejects(client.call("crash"), failing(/^Error in tool crash$/));
  assert.match(said.mock.calls.map((call) => call.arguments[0]).join(""), /a secret of the author's/);
});

inBothEras("a tool that takes too long is ended, and time is the test's", async (open) => {
  const client = await open();
  const { clock } = client;
  const pending = client.begin("nap", { seconds: 60 });
  await client.until(() => clock.waiting === 2);
  await clock.advance(5);
  const late = await pending.result();
  assert.ok(late.isError);
  assert.equal(late.content[0].text, "nap took longer than 5 s and was ended");
  const again = client.begin("nap", { seconds: 4 });
  await client.until(() => clock.waiting === 2);
  await clock.advance(4);
  assert.equal((await again.result()).content[0].text, "rested");
});

inBothEras("a cancelled call is not answered, and its signal tells", async (open) => {
  const client = await open();
  const pending = client.begin("watch");
  await client.until(() => client.host.log.includes("it runs"));
  pending.cancel();
  await client.until(() => client.host.log.includes("it saw it"));
  assert.equal(await client.call("echo", { text: "next" }), "next");
});

inBothEras("one await asks, whatever the era", async (open) => {
  const client = await open({ answers: ANSWERS });
  assert.deepEqual(await client.call("interview"), ANSWERS);
  assert.deepEqual(client.host.asked, ["Your name?", "Sure?", "Which?", "Which file?", "Who?"]);
  assert.deepEqual(await client.call("interview"), [null, false, null, null, null]); // who closes a question says nothing
});

inBothEras("questions are asked at once", async (open) => {
  const client = await open({ answers: ["a", 2, "c"] });
  assert.deepEqual(await client.call("together"), ["a", 2, "c"]);
});

inBothEras("state, config, secrets and other plugins are the host's", async (open) => {
  const tools = { "other.double": ({ value }) => ({ doubled: 2 * value }) };
  const client = await open({ config: { greeting: "hi" }, secrets: { api_key: "k" }, tools });
  assert.deepEqual(await client.call("keep", { value: 5 }), ["nothing", 5, "hi"]);
  assert.deepEqual(await client.call("keep", { value: 6 }), [5, 6, "hi"]);
  assert.deepEqual(client.host.state, { value: 6 });
  assert.equal(await client.call("secret"), "k");
  assert.deepEqual((await client.reply("forward")).raw.structuredContent, { doubled: 42 });
});

test("what was not granted is refused with a name", async (t) => {
  const client = await opened(t, DEMO, { grant: ["ui"] });
  await assert.rejects(client.call("secret"), failing(/secrets\.get/));
  assert.deepEqual(client.host.denied, ["secrets.get"]);
  assert.equal(await client.call("fetch"), "permission-missing");
});

inBothEras("without broker it is a plugin of any client", async (open, _, t) => {
  t.after(() => ["BROKER_CONFIG_GREETING", "BROKER_SECRET_API_KEY"].forEach((name) => delete process.env[name]));
  process.env.BROKER_CONFIG_GREETING = "hello";
  const client = await open({ host: false, answers: ["Ada"] });
  assert.equal((await client.call("count", { path: "." })).count, 100); // the toast became a log message
  const logged = client.client.told.filter((each) => each.method === "notifications/message");
  assert.ok(logged.some((each) => each.params.data === "100 TODOs"));
  assert.deepEqual(await client.call("keep", { value: 5 }), ["nothing", 5, "hello"]);
  assert.equal((await client.call("keep", { value: 6 }))[0], 5);
  await assert.rejects(client.call("secret"), failing(/needs broker/));
  process.env.BROKER_SECRET_API_KEY = "from the environment";
  assert.equal(await client.call("secret"), "from the environment");
  assert.equal(await client.call("ask_name"), "Ada");
  assert.equal(await client.call("fetch"), new HostUnavailable("x").code);
});

inBothEras("resources by URI and by template", async (open, era) => {
  const client = await open();
  assert.equal(await client.read("demo://about"), "# Demo");
  assert.equal(await client.read("demo://note/a%20b"), '{"name":"a b"}');
  assert.deepEqual(await client.read("demo://bytes/3"), new Uint8Array([120, 120, 120]));
  await assert.rejects(client.read("demo://note/missing"), /no such note/);
  await assert.rejects(client.read("demo://nowhere"), (error) => {
    assert.ok(error instanceof Failed);
    assert.equal(error.code, era === "modern" ? -32602 : -32002);
    return true;
  });
});

inBothEras("prompts, and what completes their arguments", async (open) => {
  const client = await open();
  const said = await client.prompt("review", { file: "a.py" });
  assert.deepEqual(said.map((each) => each.role), ["user", "assistant"]);
  assert.deepEqual(said[0].content, { type: "text", text: "Review a.py, kind." });
  await assert.rejects(client.prompt("review"), /`file`/);
  const ref = { type: "ref/prompt", name: "review" };
  for (const [name, value, values] of [["file", "ma", ["main.py", "map.py"]], ["tone", "s", ["strict"]]]) {
    const found = await client.client.request("completion/complete", { ref, argument: { name, value } });
    assert.deepEqual(found.completion.values, values);
  }
});

test("commands are registered and run", async (t) => {
  const client = await opened(t, DEMO, { answers: [true, false] });
  await client.until(() => "refresh" in client.host.commands);
  assert.deepEqual(client.host.commands, { refresh: { title: "Refresh TODOs", description: "Look again." } });
  assert.equal(await client.command("refresh", "src"), "refreshed");
  assert.deepEqual(client.host.status, { todos: "✓ src 1" });
  await assert.rejects(client.command("demo.refresh"), /not wanted/);
  await assert.rejects(client.command("refresh", "src", "deep"), /depth/);
  await assert.rejects(client.command("nothing"), /no command/);
});

test("events reach those who want them", async (t) => {
  const client = await opened(t, DEMO, { config: { greeting: "hi" } });
  await client.until(() => client.host.events.join() === "config.changed,document.saved");
  client.emit("document.saved", { uri: "file:///a.py", languageId: "python" });
  await client.until(() => client.host.toasts[0] === "saved file:///a.py");
  client.emit("document.saved", { uri: "file:///a.js", languageId: "javascript" });
  client.host.config.greeting = "ho";
  client.emit("config.changed");
  await client.until(() => client.host.toasts[1] === "greeting is ho");
});

inBothEras("hooks let pass, change or stop", async (open) => {
  const client = await open();
  assert.deepEqual(await client.hook("pre_request", { tool: "cat" }), {});
  const denied = { allow: false, reason: "nothing is deleted here" };
  assert.deepEqual(await client.hook("pre_request", { tool: "rm" }), denied);
  const changed = { modified: true, arguments: { path: "/tmp" }, meta: { "demo/seen": true } };
  assert.deepEqual(await client.hook("pre_request", { tool: "ls" }), changed);
  assert.deepEqual(await client.hook("on_close", { tool: "rm" }), {});
});

test("a plugin that is given as an object starts and ends, once and in order", async () => {
  const client = await pluginClient(demo);
  await client.until(() => client.host.log.includes("started"));
  await client.close();
  assert.deepEqual(ended, ["life", "stopped"]);
  await client.close();
  assert.deepEqual(ended, ["life", "stopped"]);
  await assert.rejects(client.call("echo", { text: "x" }), /the plugin ended/);
});

test("a harness ends by itself where it is used", async () => {
  const client = await pluginClient(DEMO);
  await client[Symbol.asyncDispose]();
  await assert.rejects(client.call("echo", { text: "x" }), /the plugin ended/);
});

test("golden definitions fail on a change", async (t) => {
  const folder = mkdtempSync(join(tmpdir(), "golden-"));
  t.after(() => rmSync(folder, { recursive: true }));
  const file = join(folder, "tools.json");
  const client = await opened(t, DEMO);
  await client.snapshotTools(file);
  await client.snapshotTools(file);
  const text = readFileSync(file, "utf8");
  assert.match(text, /"description": "folder to scan"/);
  writeFileSync(file, text.replace("folder to scan", "folder"));
  await assert.rejects(client.snapshotTools(file), /the tools are not those of .*BROKER_SDK_GOLDEN=1/);
  t.after(() => delete process.env.BROKER_SDK_GOLDEN);
  process.env.BROKER_SDK_GOLDEN = "1";
  await client.snapshotTools(file);
  assert.equal(readFileSync(file, "utf8"), text);
});

inBothEras("arguments made of a schema are taken, and hostile ones break nothing", async (open) => {
  const client = await open();
  for (const tool of ["count", "add", "fill", "echo"]) assert.equal((await client.fuzz(tool, { count: 25 })).length, 25);
  await assert.rejects(client.fuzz("crash", { count: 1, seed: 7 }), /crash with \{\} \(seed 7\): Error in tool crash/);
  assert.equal({}.polluted, undefined);
});

test("every library of schemas gives the same tool", async (t) => {
  const client = await opened(t, SCHEMAS);
  const tools = await client.tools();
  assert.equal(tools.length, 5);
  for (const { name, inputSchema, outputSchema } of tools) {
    assert.equal(inputSchema.properties.path.type, "string", name);
    assert.equal(inputSchema.properties.path.minLength, 1, name);
    assert.equal(inputSchema.properties.limit.type, "integer", name);
    if (name !== "in_arktype") assert.equal(inputSchema.properties.limit.default, 100, name); // which does not tell it
    assert.deepEqual(inputSchema.required, ["path"], name);
    assert.equal(outputSchema.type, "object", name);
    assert.deepEqual(await client.call(name, { path: "a" }), { count: 100, path: "a" });
    for (const wrong of [{ path: "" }, { path: "a", limit: 1001 }, { path: "a", more: 1 }, { path: 5 }]) {
      await assert.rejects(client.call(name, wrong), failing(new RegExp(`^Invalid arguments of ${name}: `)));
    }
    await assert.rejects(client.call(name, { path: "a", limit: 0.5 }), failing(/`limit`/));
    await client.fuzz(name, { count: 15 });
  }
});

test("every library of schemas works in a process of its own", async (t) => {
  const client = await opened(t, SCHEMAS, { over: "stdio" });
  for (const { name } of await client.tools()) {
    assert.deepEqual(await client.call(name, { path: "a", limit: 2 }), { count: 2, path: "a" });
  }
});

test("a process that ends is no answer, and says how", async (t) => {
  const folder = mkdtempSync(join(tmpdir(), "ends-"));
  t.after(() => rmSync(folder, { recursive: true }));
  writeFileSync(join(folder, "ends.mjs"), "process.exit(3);\n");
  await assert.rejects(pluginClient(join(folder, "ends.mjs"), { over: "stdio", era: "legacy" }), /the plugin ended with 3/);
});
