// Walks through a broker with @modelcontextprotocol/client 2.4: client2.mjs MODE COMMAND ARGS... with SERVERS set.
import { Client } from "@modelcontextprotocol/client";
import { StdioClientTransport } from "@modelcontextprotocol/client/stdio";
import { ANSWER, Heard, ROOTS, SAMPLED, walk } from "./shared.mjs";

const [mode, command, ...args] = process.argv.slice(2);
const { SERVERS, ...env } = process.env;
const modes = { legacy: undefined, auto: { mode: "auto" }, modern: { mode: { pin: "2026-07-28" } } };
const client = new Client(
  { name: "client2", version: "1" },
  {
    capabilities: { elicitation: { form: {} }, sampling: {}, roots: { listChanged: true } },
    versionNegotiation: modes[mode],
  },
);
client.setRequestHandler("elicitation/create", async () => ANSWER);
client.setRequestHandler("sampling/createMessage", async () => SAMPLED);
client.setRequestHandler("roots/list", async () => ROOTS);

const heard = { updated: new Heard(), changed: new Heard(), logged: new Heard() };
client.setNotificationHandler("notifications/resources/updated", (note) => heard.updated.push(note.params.uri));
client.setNotificationHandler("notifications/tools/list_changed", () => heard.changed.push(true));
client.setNotificationHandler("notifications/message", (note) => heard.logged.push(note.params));

await client.connect(new StdioClientTransport({ command, args, env, stderr: "inherit" }));
const modern = client.getNegotiatedProtocolVersion() === "2026-07-28";
const LEVEL = "io.modelcontextprotocol/logLevel";
const guide = {
  client,
  heard,
  version: () => client.getNegotiatedProtocolVersion(),
  ping: async () => (modern ? null : Object.keys(await client.ping()).length === 0),
  call: (params, options) => client.callTool(params, options),
  level: async (level) => modern || (await client.setLoggingLevel(level)),
  logged: (params, level) => client.callTool(modern ? { ...params, _meta: { [LEVEL]: level } } : params),
  subscribe: async (uri) => {
    if (!modern) {
      await client.subscribeResource({ uri });
      return () => client.unsubscribeResource({ uri });
    }
    const listening = await client.listen({ resourceSubscriptions: [uri] });
    return () => listening.close();
  },
  listen: async () => {
    if (!modern) return async () => {};
    const listening = await client.listen({ toolsListChanged: true });
    return () => listening.close();
  },
};
const report = await walk(guide, SERVERS.split(","));
await client.close();
process.stdout.write(JSON.stringify(report));
