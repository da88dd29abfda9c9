// Lists the tools, and calls some of them, with an SDK of any age: calls.mjs SDK_DIST COMMAND ARGS... with CALLS set.
import { pathToFileURL } from "node:url";

const [, sdk, command, ...args] = process.argv.slice(1);
const { CALLS, ...env } = process.env;
const load = (file) => import(pathToFileURL(`${sdk}/${file}`));
const { Client } = await load("client/index.js");
const { StdioClientTransport } = await load("client/stdio.js");

const client = new Client({ name: "calls", version: "1" }, { capabilities: {} });
await client.connect(new StdioClientTransport({ command, args, env, stderr: "inherit" }));
const { tools } = await client.listTools();
const results = {};
for (const name of CALLS.split(",")) {
  results[name] = await client.callTool({ name, arguments: {} }).catch((error) => ({ failed: String(error) }));
}
await client.close();
process.stdout.write(JSON.stringify({ tools, results }));
