// One server in memory: what only a client that looks closely sees.
import assert from "node:assert/strict";
import { test } from "node:test";
import { Plugin } from "../../../sdk-js/src/plugin.ts";
import { s } from "../../../sdk-js/src/s.ts";
import { Server } from "../../../sdk-js/src/server.ts";
import { tool } from "../../../sdk-js/src/definitions.ts";

const BIG = "1180591620717411303424";
const META = {
  "io.modelcontextprotocol/protocolVersion": "2026-07-28",
  "io.modelcontextprotocol/clientCapabilities": { elicitation: {}, sampling: {}, roots: {} },
};

class MovedClock {
  #now = 0;
  #timers = new Set();

  now() {
    return this.#now;
  }

  setTimeout(run, seconds) {
    const timer = { run, at: this.#now + seconds };
    this.#timers.add(timer);
    return { clear: () => this.#timers.delete(timer) };
  }

  advance(seconds) {
    this.#now += seconds;
    for (const timer of [...this.#timers]) {
      if (timer.at <= this.#now && this.#timers.delete(timer)) timer.run();
    }
  }
}

/** A server of some tools, what it wrote, and what writes to it. */
async function serving(tools) {
  const plugin = new Plugin({ name: "p", version: "1", tools });
  const lines = [];
  const clock = new MovedClock();
  const server = new Server(plugin, (line) => lines.push(line), { clock });
  await server.start();
  const call = (id, name, more = {}, meta = META) => {
    const params = JSON.stringify({ name, arguments: {}, ...more, _meta: meta });
    server.feed(`{"jsonrpc":"2.0","id":${id},"method":"tools/call","params":${params}}\n`);
  };
  const next = async (turns = 30) => {
    for (let turn = 0; lines.length === 0 && turn < turns; turn++) await new Promise(setImmediate);
    return lines.shift();
  };
  return { plugin, server, clock, call, next };
}

const answer = (line) => JSON.parse(line).result;
const asks = tool({
  async run(_, ctx) {
    const [name, roots] = await Promise.all([
      ctx.ask("Name?", undefined, { key: "name" }),
      ctx.roots({ key: "roots" }),
    ]);
    return `${name} in ${roots}`;
  },
});

test("tokens and ids beyond doubles come back as they were written", async () => {
  const { server, next, plugin } = await serving({
    go: tool({ run: (_, ctx) => ctx.progress("Going", { total: 1 }).end() }),
  });
  const meta = JSON.stringify(META).slice(0, -1);
  const params = `{"name":"go","_meta":${meta},"progressToken":${BIG}}}`;
  server.feed(`{"jsonrpc":"2.0","id":${BIG},"method":"tools/call","params":${params}}\n`);
  assert.match(await next(), new RegExp(`"progressToken":${BIG},"progress":0`));
  assert.match(await next(), new RegExp(`"progressToken":${BIG},"progress":1`));
  assert.match(await next(), new RegExp(`"id":${BIG},"result"`));
  const listen = `{"notifications":{"toolsListChanged":true},"_meta":${meta}}}`;
  server.feed(`{"jsonrpc":"2.0","id":${BIG},"method":"subscriptions/listen","params":${listen}}\n`);
  assert.match(await next(), new RegExp(`subscriptionId":${BIG}}`));
  plugin.add("tools", "more", tool({ run: () => "" }));
  assert.match(await next(), new RegExp(`tools/list_changed.*subscriptionId":${BIG}}`));
  server.feed(`{"jsonrpc":"2.0","method":"notifications/cancelled","params":{"requestId":${BIG}}}\n`);
  plugin.remove("tools", "more");
  assert.equal(await next(), undefined);
});

test("what is asked at once is asked together, and what is not answered is asked again", async () => {
  const { call, next } = await serving({ asks });
  call(1, "asks");
  const first = answer(await next());
  assert.deepEqual(Object.keys(first.inputRequests), ["name", "roots"]);
  const said = { name: { action: "accept", content: { value: "Ada" } } };
  call(2, "asks", { requestState: first.requestState, inputResponses: said });
  const second = answer(await next());
  assert.deepEqual(Object.keys(second.inputRequests), ["roots"]);
  assert.notEqual(second.requestState, first.requestState);
  call(3, "asks", { requestState: first.requestState, inputResponses: said });
  assert.equal(JSON.parse(await next()).error.code, -32602); // that round is over
  call(4, "asks", { requestState: second.requestState, inputResponses: { roots: { roots: [{ uri: "file:///a" }] } } });
  assert.equal(answer(await next()).content[0].text, "Ada in file:///a");
});

test("a client that starts afresh with its answers is asked for the rest only", async () => {
  const { call, next } = await serving({ asks });
  call(1, "asks", { inputResponses: { name: { action: "decline" } } });
  assert.deepEqual(Object.keys(answer(await next()).inputRequests), ["roots"]);
});

test("a state belongs to one request, and is forgotten after ten minutes", async () => {
  const { call, next, clock } = await serving({ asks });
  call(1, "asks");
  const { requestState } = answer(await next());
  call(2, "asks", { requestState, arguments: { other: 1 } });
  assert.match(await next(), /this requestState belongs to another request/);
  clock.advance(601);
  call(3, "asks", { requestState });
  assert.match(await next(), /no call waits for this requestState/);
});

test("the deadline stands still while a person is asked, and is told when it passes", async () => {
  const { call, next, clock } = await serving({
    slow: tool({
      timeout: 5,
      async run(_, ctx) {
        await ctx.ask("Ready?", undefined, { key: "k" });
        await ctx.sleep(60);
      },
    }),
  });
  call(1, "slow");
  const { requestState } = answer(await next());
  clock.advance(100);
  call(2, "slow", { requestState, inputResponses: { k: { action: "cancel" } } });
  assert.equal(await next(), undefined);
  clock.advance(5);
  const { content, isError } = answer(await next());
  assert.deepEqual([content[0].text, isError], ["slow took longer than 5 s and was ended", true]);
});

test("a cancelled call is not answered, and what it waits for fails", async () => {
  const seen = [];
  const { server, call, next } = await serving({
    wait: tool({
      run: (_, ctx) => ctx.sleep(60).catch((error) => seen.push(error.name, ctx.cancelled, ctx.signal.aborted)),
    }),
  });
  call(7, "wait");
  server.feed('{"jsonrpc":"2.0","method":"notifications/cancelled","params":{"requestId":"7"}}\n'); // another id
  await next(3);
  assert.deepEqual(seen, []);
  server.feed('{"jsonrpc":"2.0","method":"notifications/cancelled","params":{"requestId":7}}\n');
  assert.equal(await next(), undefined);
  assert.deepEqual(seen, ["AbortError", true, true]);
});

test("a result that is not what was promised, or is no JSON, is an error that tells nothing", async () => {
  const { server, call, next } = await serving({
    lies: tool({ output: s.object({ n: s.integer() }), run: () => ({ n: "a secret" }) }),
    big: tool({ run: () => ({ n: 5n }) }),
  });
  const said = [];
  server.complain = (text) => said.push(text);
  for (const name of ["lies", "big"]) {
    call(1, name);
    const { content, isError } = answer(await next());
    assert.deepEqual([content[0].text, isError], [`Error in tool ${name}`, true]);
  }
  assert.match(said[0], /it returned what its `output` does not allow: `n`: expected integer/);
});

test("what is in flight when the client goes is answered before the end", async () => {
  const { server, call, next } = await serving({ hold: tool({ timeout: null, run: () => new Promise(() => {}) }) });
  call(1, "hold");
  await next(2);
  await server.close();
  assert.match(await next(), /"id":1,"error":.*the plugin ended the request/);
});
