// The test that goes with it, over both ways; Node runs the two as they are.
import assert from "node:assert/strict";
import { test } from "node:test";

import { type Options, pluginClient } from "@plugin-broker/sdk/testing";

const PLUGIN = new URL("./plugin.ts", import.meta.url);
const WAYS: NonNullable<Options["over"]>[] = ["memory", "stdio"];

for (const over of WAYS) {
  test(`what TypeScript checked works over ${over}`, async () => {
    await using client = await pluginClient(PLUGIN, { over, answers: ["Ada", true, { age: 36, color: "blue" }] });
    assert.deepEqual(await client.call("in_s", { path: "ab" }), { count: 7 });
    assert.equal(await client.call("in_zod", { at: "2027-01-02T03:04:05Z" }), "2027");
    assert.equal(await client.call("in_json_schema", { of: [1, 5], kind: "most" }), 5);
    assert.equal(await client.call("ask"), "Ada 36 blue");
    assert.equal(await client.command("wave", 3), "👋👋👋");
    const reports: number[] = (await client.reply("in_s", { path: "" })).progress.map((each) => each.progress);
    assert.equal(reports.at(-1), 5);
    const text: string | Uint8Array = await client.read("typed://a");
    assert.equal(text, "# a");
    // @ts-expect-error: there is no such way
    const wrong: Options = { over: "http" };
    assert.ok(wrong);
  });
}
