// Greets, on version 2 of the official TypeScript SDK.
import { setTimeout as wait } from "node:timers/promises";
import { McpServer, type CallToolResult } from "@modelcontextprotocol/server";
import { serveStdio } from "@modelcontextprotocol/server/stdio";
import { z } from "zod";

function text(value: string): CallToolResult {
  return { content: [{ type: "text", text: value }] };
}

function build(): McpServer {
  const server = new McpServer({ name: "greet-ts", version: "0.1.0" });

  server.registerTool(
    "greet",
    { description: "Says hello.", inputSchema: z.object({ name: z.string() }) },
    async ({ name }): Promise<CallToolResult> => text(`Hello, ${name}, from greet-ts`),
  );

  server.registerTool(
    "sleep",
    { description: "Waits, telling how far it is ten times.", inputSchema: z.object({ seconds: z.number() }) },
    async ({ seconds }, ctx): Promise<CallToolResult> => {
      const { _meta, notify, signal } = ctx.mcpReq;
      const progressToken: string | number | undefined = _meta?.progressToken;
      for (let progress = 0; progress < 10; progress++) {
        if (progressToken !== undefined) {
          await notify({ method: "notifications/progress", params: { progressToken, progress, total: 10 } });
        }
        await wait(seconds * 100, undefined, { signal });
      }
      return text(`slept ${seconds} s`);
    },
  );
  return server;
}

serveStdio(build);
