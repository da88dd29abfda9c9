// Uses the offers with the official TypeScript SDK 1: typescript1_client.mjs legacy PREFIX SKIPPED COMMAND ARGS...
import { Client } from "@modelcontextprotocol/sdk/client/index.js";
import { StdioClientTransport } from "@modelcontextprotocol/sdk/client/stdio.js";
import * as types from "@modelcontextprotocol/sdk/types.js";
import { Ears, report } from "./steps.mjs";

const [, prefix, skipped, command, ...args] = process.argv.slice(2);
const ears = new Ears();
const client = new Client(
  { name: "across-typescript-1", version: "1" },
  { capabilities: { elicitation: { form: {}, url: {} }, sampling: { tools: {} }, roots: { listChanged: true } } },
);
client.setRequestHandler(types.ElicitRequestSchema, ears.elicit);
client.setRequestHandler(types.CreateMessageRequestSchema, ears.sample);
client.setRequestHandler(types.ListRootsRequestSchema, ears.roots);
for (const schema of [
  types.LoggingMessageNotificationSchema,
  types.ResourceUpdatedNotificationSchema,
  types.ElicitationCompleteNotificationSchema,
  types.ToolListChangedNotificationSchema,
  types.ResourceListChangedNotificationSchema,
  types.PromptListChangedNotificationSchema,
]) {
  client.setNotificationHandler(schema, ears.hear);
}

/** Run a tool as a task, and look at it on the way. */
async function task(name) {
  const seen = [];
  let result;
  const call = { name, arguments: {} };
  const options = { task: { ttl: 60_000 } }; // without one, servers of the Python SDK leave out what this SDK requires
  for await (const each of client.experimental.tasks.callToolStream(call, types.CallToolResultSchema, options)) {
    seen.push(each.type);
    if (each.type === "result") result = each.result;
    if (each.type === "error") throw each.error;
  }
  const { tasks } = await client.experimental.tasks.listTasks();
  return { seen: seen.filter((type) => type !== "taskStatus"), result, listed: tasks.map((each) => each.status) };
}

let version;
const transport = new StdioClientTransport({ command, args, env: process.env, stderr: "inherit" });
transport.setProtocolVersion = (negotiated) => (version = negotiated);
await client.connect(transport);
const guide = {
  client,
  ears,
  modern: false,
  version: () => version,
  call: (params, options) => client.callTool(params, undefined, options),
  subscribe: async (uri) => {
    await client.subscribeResource({ uri });
    return () => client.unsubscribeResource({ uri });
  },
  listen: async () => async () => {},
  task,
};
const found = await report(guide, prefix, JSON.parse(skipped));
await client.close();
process.stdout.write(JSON.stringify(found));
