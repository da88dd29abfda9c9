// Run them with `npm test`.
import assert from "node:assert/strict";
import { test } from "node:test";

import { pluginClient } from "@plugin-broker/sdk/testing";

import plugin from "./plugin.mjs";

test("it greets", async (t) => {
  const client = await pluginClient(plugin, { config: { greeting: "Good morning" } });
  t.after(() => client.close());
  assert.equal(await client.call("greet", { name: "Ada" }), "Good morning, Ada!");
});

test("it takes no wrong arguments", async (t) => {
  const client = await pluginClient(plugin);
  t.after(() => client.close());
  await assert.rejects(client.call("greet", { name: 5 }), /`name`/);
});
