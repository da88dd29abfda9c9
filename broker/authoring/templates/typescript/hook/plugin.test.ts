// Run them with `npm test`.
import assert from "node:assert/strict";
import { test } from "node:test";

import { pluginClient } from "@plugin-broker/sdk/testing";

import plugin from "./plugin.ts";

test("it refuses by name and says why", async (t) => {
  const client = await pluginClient(plugin, { config: { refused: "drop" } });
  t.after(() => client.close());
  const said = { allow: false, reason: "tools with drop in their names are refused" };
  assert.deepEqual(await client.hook("pre_request", { tool: "drop_table" }), said);
});

test("it lets everything else pass", async (t) => {
  const client = await pluginClient(plugin);
  t.after(() => client.close());
  assert.deepEqual(await client.hook("pre_request", { tool: "list_tables" }), {});
});
