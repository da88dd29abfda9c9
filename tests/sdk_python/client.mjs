// Uses the demo plugin with an official TypeScript SDK: client.mjs "sdk 1"|"client 2" MODE NODE_MODULES COMMAND ARGS...
import { pathToFileURL } from "node:url";

const [sdk, mode, modules, command, ...args] = process.argv.slice(2);
const load = (file) => import(pathToFileURL(`${modules}/@modelcontextprotocol/${file}`));
const old = sdk === "sdk 1";
const { Client } = await load(old ? "sdk/dist/esm/client/index.js" : "client/dist/index.mjs");
const { StdioClientTransport } = await load(old ? "sdk/dist/esm/client/stdio.js" : "client/dist/stdio.mjs");
const method = old ? (await load("sdk/dist/esm/types.js")).ElicitRequestSchema : "elicitation/create";

const ANSWERS = {
  "Your name?": { value: "Ada" },
  "Sure?": { value: true },
  "Which?": { value: "two" },
  "Which file?": { value: "b.txt" },
  "Who?": { name: "Ada", age: 36, color: "blue" },
};
const versionNegotiation = mode === "legacy" ? undefined : { mode: { pin: mode } };
const client = new Client({ name: "sdk-python", version: "1" }, { capabilities: { elicitation: {} }, versionNegotiation });
client.setRequestHandler(method, ({ params }) => ({ action: "accept", content: ANSWERS[params.message] }));
await client.connect(new StdioClientTransport({ command, args, env: process.env, stderr: "inherit" }));

const call = (name, given) => client.callTool({ name, arguments: given });
const { tools } = await client.listTools();
const counted = await call("count", { path: "src", limit: 7 });
const asked = await call("interview", {});
const crashed = await call("crash", {});
await client.close();
process.stdout.write(
  JSON.stringify({
    tools,
    counted: counted.structuredContent,
    asked: asked.structuredContent,
    crashed: crashed.isError,
  }),
);
