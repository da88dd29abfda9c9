// Lists everything and calls each tool of CALLS, a JSON array of [name, arguments]: real.mjs MODE COMMAND ARGS...
import { Client } from "@modelcontextprotocol/client";
import { StdioClientTransport } from "@modelcontextprotocol/client/stdio";

const [mode, command, ...args] = process.argv.slice(2);
const { CALLS, ...env } = process.env;
const versionNegotiation = mode === "legacy" ? undefined : { mode: { pin: mode } };
const client = new Client({ name: "real", version: "1" }, { versionNegotiation });
await client.connect(new StdioClientTransport({ command, args, env, stderr: "inherit" }));
const report = {
  version: client.getNegotiatedProtocolVersion(),
  tools: (await client.listTools()).tools.map((tool) => tool.name),
  prompts: (await client.listPrompts()).prompts.map((prompt) => prompt.name),
  resources: (await client.listResources()).resources.map((resource) => resource.uri),
  templates: (await client.listResourceTemplates()).resourceTemplates.map((template) => template.uriTemplate),
  calls: {},
};
for (const [name, given] of JSON.parse(CALLS)) {
  const result = await client.callTool({ name, arguments: given });
  report.calls[name] = { isError: result.isError === true, text: result.content[0].text };
}
await client.close();
process.stdout.write(JSON.stringify(report));
