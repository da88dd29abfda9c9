// The offers in the official TypeScript SDK 1, which knows no era but the legacy one.
import { InMemoryTaskStore } from "@modelcontextprotocol/sdk/experimental/tasks/stores/in-memory.js";
import { Server } from "@modelcontextprotocol/sdk/server/index.js";
import { StdioServerTransport } from "@modelcontextprotocol/sdk/server/stdio.js";
import * as types from "@modelcontextprotocol/sdk/types.js";
import { Offers, Refused, TOLD } from "./offers.mjs";

const changing = { listChanged: true };
const capabilities = {
  tools: changing,
  prompts: changing,
  resources: { ...changing, subscribe: true },
  completions: {},
  logging: {},
  tasks: { list: {}, cancel: {}, requests: { tools: { call: {} } } },
};
const RESULTS = {
  "elicitation/create": types.ElicitResultSchema,
  "sampling/createMessage": types.CreateMessageResultWithToolsSchema,
  "roots/list": types.ListRootsResultSchema,
  ping: types.EmptyResultSchema,
};
const CHANGES = { tools: "sendToolListChanged", prompts: "sendPromptListChanged", resources: "sendResourceListChanged" };

const offers = new Offers({ tasks: true });
const server = new Server(TOLD.info, {
  capabilities,
  instructions: TOLD.instructions,
  taskStore: new InMemoryTaskStore(),
});

function handOf({ _meta, signal, sendRequest, sendNotification }) {
  const { progressToken, ...meta } = _meta ?? {};
  return {
    modern: false,
    asks: false,
    meta,
    answers: {},
    signal,
    ask: (method, params) => sendRequest({ method, params }, RESULTS[method]),
    progress: async (progress, total, message) => {
      const params = { progressToken, progress, total, message };
      if (progressToken !== undefined) await sendNotification({ method: "notifications/progress", params });
    },
    log: (level, data, logger) => server.sendLoggingMessage({ level, data, logger }),
    visited: (elicitationId) =>
      sendNotification({ method: "notifications/elicitation/complete", params: { elicitationId } }),
    updated: (uri) => server.sendResourceUpdated({ uri }),
    changed: (what) => server[CHANGES[what]](),
  };
}

function on(schema, handler) {
  server.setRequestHandler(schema, async ({ params }, extra) => {
    try {
      return await handler(params ?? {}, handOf(extra), extra);
    } catch (error) {
      // McpError would put its code in front of the message.
      if (error instanceof Refused) throw Object.assign(new Error(error.message), { code: error.code, data: error.data });
      throw error;
    }
  });
}

on(types.ListToolsRequestSchema, ({ cursor }) => offers.page("tools", cursor));
on(types.ListResourcesRequestSchema, ({ cursor }) => offers.page("resources", cursor));
on(types.ListResourceTemplatesRequestSchema, ({ cursor }) => offers.page("resourceTemplates", cursor));
on(types.ListPromptsRequestSchema, ({ cursor }) => offers.page("prompts", cursor));
on(types.ReadResourceRequestSchema, ({ uri }, hand) => offers.read(uri, hand));
on(types.GetPromptRequestSchema, ({ name, arguments: args }, hand) => offers.get(name, args ?? {}, hand));
on(types.CompleteRequestSchema, ({ argument, context }) => offers.complete(argument, context?.arguments ?? {}));
on(types.SubscribeRequestSchema, ({ uri }) => void offers.subscribed.add(uri) ?? {});
on(types.UnsubscribeRequestSchema, ({ uri }) => void offers.subscribed.delete(uri) ?? {});
on(types.CallToolRequestSchema, async ({ name, arguments: args, task }, hand, extra) => {
  if (!task) return offers.call(name, args ?? {}, hand);
  const created = await extra.taskStore.createTask({ ttl: task.ttl, pollInterval: 50 });
  const result = await offers.call(name, args ?? {}, hand);
  setImmediate(() => extra.taskStore.storeTaskResult(created.taskId, "completed", result));
  return { task: created };
});
server.setNotificationHandler(types.RootsListChangedNotificationSchema, () => void offers.rootsChanged++);
await server.connect(new StdioServerTransport());
