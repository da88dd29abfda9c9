// Uses the offers with the official TypeScript SDK 2: typescript2_client.mjs MODE PREFIX SKIPPED COMMAND ARGS...
import { Client } from "@modelcontextprotocol/client";
import { StdioClientTransport } from "@modelcontextprotocol/client/stdio";
import { Ears, report } from "./steps.mjs";

const [mode, prefix, skipped, command, ...args] = process.argv.slice(2);
const modern = mode !== "legacy";
const ears = new Ears();
const client = new Client(
  { name: "across-typescript-2", version: "1" },
  {
    capabilities: { elicitation: { form: {}, url: {} }, sampling: { tools: {} }, roots: { listChanged: true } },
    versionNegotiation: modern ? { mode: { pin: mode } } : undefined,
  },
);
client.setRequestHandler("elicitation/create", ears.elicit);
client.setRequestHandler("sampling/createMessage", ears.sample);
client.setRequestHandler("roots/list", ears.roots);
for (const what of ["message", "resources/updated", "elicitation/complete"]) {
  client.setNotificationHandler(`notifications/${what}`, ears.hear);
}
for (const what of ["tools", "resources", "prompts"]) {
  client.setNotificationHandler(`notifications/${what}/list_changed`, ears.hear);
}

async function listening(filter) {
  const open = await client.listen(filter);
  return () => open.close();
}

await client.connect(new StdioClientTransport({ command, args, env: process.env, stderr: "inherit" }));
const guide = {
  client,
  ears,
  modern,
  version: () => client.getNegotiatedProtocolVersion(),
  call: (params, options) => client.callTool(params, options),
  subscribe: async (uri) => {
    if (modern) return listening({ resourceSubscriptions: [uri] });
    await client.subscribeResource({ uri });
    return () => client.unsubscribeResource({ uri });
  },
  listen: (kind) => (modern ? listening({ [`${kind}ListChanged`]: true }) : async () => {}),
};
const found = await report(guide, prefix, JSON.parse(skipped));
await client.close();
process.stdout.write(JSON.stringify(found));
