// Walks through a broker with @modelcontextprotocol/sdk 1.32: sdk1.mjs legacy COMMAND ARGS... with SERVERS set.
import { Client } from "@modelcontextprotocol/sdk/client/index.js";
import { StdioClientTransport } from "@modelcontextprotocol/sdk/client/stdio.js";
import {
  CreateMessageRequestSchema,
  ElicitRequestSchema,
  ListRootsRequestSchema,
  LoggingMessageNotificationSchema,
  ResourceUpdatedNotificationSchema,
  ToolListChangedNotificationSchema,
} from "@modelcontextprotocol/sdk/types.js";
import { ANSWER, Heard, ROOTS, SAMPLED, walk } from "./shared.mjs";

const [, command, ...args] = process.argv.slice(2);
const { SERVERS, ...env } = process.env;
const client = new Client(
  { name: "sdk1", version: "1" },
  { capabilities: { elicitation: { form: {} }, sampling: {}, roots: { listChanged: true } } },
);
client.setRequestHandler(ElicitRequestSchema, async () => ANSWER);
client.setRequestHandler(CreateMessageRequestSchema, async () => SAMPLED);
client.setRequestHandler(ListRootsRequestSchema, async () => ROOTS);

const heard = { updated: new Heard(), changed: new Heard(), logged: new Heard() };
client.setNotificationHandler(ResourceUpdatedNotificationSchema, (note) => heard.updated.push(note.params.uri));
client.setNotificationHandler(ToolListChangedNotificationSchema, () => heard.changed.push(true));
client.setNotificationHandler(LoggingMessageNotificationSchema, (note) => heard.logged.push(note.params));

const transport = new StdioClientTransport({ command, args, env, stderr: "inherit" });
let version;
transport.setProtocolVersion = (negotiated) => (version = negotiated);
await client.connect(transport);
const guide = {
  client,
  heard,
  version: () => version,
  ping: async () => Object.keys(await client.ping()).length === 0,
  call: (params, options) => client.callTool(params, undefined, options),
  level: (level) => client.setLoggingLevel(level),
  logged: (params) => client.callTool(params),
  subscribe: async (uri) => {
    await client.subscribeResource({ uri });
    return () => client.unsubscribeResource({ uri });
  },
  listen: async () => async () => {},
};
const report = await walk(guide, SERVERS.split(","));
await client.close();
process.stdout.write(JSON.stringify(report));
