// Runs a tool as a task with @modelcontextprotocol/sdk 1.x: tasks.mjs NAME COMMAND ARGS... with CALL set to its params.
import { Client } from "@modelcontextprotocol/sdk/client/index.js";
import { StdioClientTransport } from "@modelcontextprotocol/sdk/client/stdio.js";
import { CallToolResultSchema, ElicitRequestSchema } from "@modelcontextprotocol/sdk/types.js";

const [, , mode, command, ...args] = process.argv;
const { CALL, ...env } = process.env;
const call = JSON.parse(CALL);
const asked = [];

async function connected() {
  const client = new Client({ name: "tasks", version: "1" }, { capabilities: { elicitation: {} } });
  client.setRequestHandler(ElicitRequestSchema, (request) => {
    asked.push(request.params.message);
    return { action: "accept", content: { interpretation: "technical" } };
  });
  await client.connect(new StdioClientTransport({ command, args, env, stderr: "inherit" }));
  return client;
}

const first = await connected();
await first.listTools();
await first.close();
const client = await connected(); // the broker knows its plugins now, and says what they offer
await client.listTools();
const report = { offered: client.getServerCapabilities(), asked, seen: [] };
if (mode === "stream") {
  for await (const message of client.experimental.tasks.callToolStream(call, CallToolResultSchema, { task: {} })) {
    report.seen.push(message.type);
    if (message.type === "taskCreated") report.created = message.task;
    if (message.type === "result") report.result = message.result;
    if (message.type === "error") report.failed = String(message.error);
  }
  report.listed = (await client.experimental.tasks.listTasks()).tasks;
} else {
  report.result = await client.callTool(call);
}
await client.close();
process.stdout.write(JSON.stringify(report));
