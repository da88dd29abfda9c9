// Greets, on version 1 of the official TypeScript SDK.
import { setTimeout as wait } from "node:timers/promises";
import { McpServer } from "@modelcontextprotocol/sdk/server/mcp.js";
import { StdioServerTransport } from "@modelcontextprotocol/sdk/server/stdio.js";
import { z } from "zod";

const server = new McpServer({ name: "greet-js", version: "0.1.0" });
const text = (value) => ({ content: [{ type: "text", text: value }] });

server.registerTool(
  "greet",
  { description: "Says hello.", inputSchema: { name: z.string() } },
  async ({ name }) => text(`Hello, ${name}, from greet-js`),
);

server.registerTool(
  "sleep",
  { description: "Waits, telling how far it is ten times.", inputSchema: { seconds: z.number() } },
  async ({ seconds }, { _meta, sendNotification, signal }) => {
    const progressToken = _meta?.progressToken;
    for (let progress = 0; progress < 10; progress++) {
      if (progressToken !== undefined) {
        await sendNotification({ method: "notifications/progress", params: { progressToken, progress, total: 10 } });
      }
      await wait(seconds * 100, undefined, { signal });
    }
    return text(`slept ${seconds} s`);
  },
);

await server.connect(new StdioServerTransport());
