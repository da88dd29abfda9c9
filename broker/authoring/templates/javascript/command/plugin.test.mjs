// Run them with `npm test`.
import assert from "node:assert/strict";
import { test } from "node:test";

import { pluginClient } from "@plugin-broker/sdk/testing";

import plugin from "./plugin.mjs";

test("it shows a message", async (t) => {
  const client = await pluginClient(plugin);
  t.after(() => client.close());
  assert.equal(await client.command("hello", "Ada"), "greeted Ada");
  await client.until(() => client.host.toasts.length === 1);
  assert.deepEqual(client.host.toasts, ["Hello, Ada!"]);
});

test("it goes on without being granted anything", async (t) => {
  const client = await pluginClient(plugin, { grant: ["register_command"] });
  t.after(() => client.close());
  assert.equal(await client.command("hello"), "greeted you");
  assert.deepEqual(client.host.toasts, []);
});
