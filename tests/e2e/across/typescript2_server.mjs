// The offers in the official TypeScript SDK 2: `typescript2_server.mjs dual`, or `modern`, which refuses `initialize`.
// It asks in results only: for a legacy client the SDK itself makes requests of them.
import { ProtocolError, Server } from "@modelcontextprotocol/server";
import { serveStdio } from "@modelcontextprotocol/server/stdio";
import { Asking, Offers, Refused, TOLD } from "./offers.mjs";

const [, , mode] = process.argv;
const changing = { listChanged: true };
const capabilities = {
  tools: changing,
  prompts: changing,
  resources: { ...changing, subscribe: true },
  completions: {},
  logging: {},
};
const offers = new Offers({ modern: mode === "modern" });
const CHANGES = { tools: "sendToolListChanged", prompts: "sendPromptListChanged", resources: "sendResourceListChanged" };

function handOf(server, era, { mcpReq }) {
  const { progressToken, ...meta } = mcpReq._meta ?? {};
  return {
    modern: era === "modern",
    asks: true,
    meta,
    answers: mcpReq.inputResponses ?? {},
    state: mcpReq.requestState(),
    signal: mcpReq.signal,
    ask: (method) => (method === "ping" ? server.ping() : Promise.reject(new Error(`cannot push ${method}`))),
    progress: async (progress, total, message) => {
      const params = { progressToken, progress, total, message };
      if (progressToken !== undefined) await mcpReq.notify({ method: "notifications/progress", params });
    },
    log: (level, data, logger) => mcpReq.log(level, data, logger),
    updated: (uri) => server.sendResourceUpdated({ uri }),
    changed: (what) => server[CHANGES[what]](),
  };
}

function made({ era }) {
  const server = new Server(TOLD.info, { capabilities, instructions: TOLD.instructions });
  const on = (method, handler) =>
    server.setRequestHandler(method, async ({ params }, context) => {
      try {
        return await handler(params ?? {}, handOf(server, era, context));
      } catch (error) {
        if (error instanceof Asking) return error.result;
        throw error instanceof Refused ? new ProtocolError(error.code, error.message, error.data) : error;
      }
    });
  on("tools/list", ({ cursor }) => offers.page("tools", cursor));
  on("resources/list", ({ cursor }) => offers.page("resources", cursor));
  on("resources/templates/list", ({ cursor }) => offers.page("resourceTemplates", cursor));
  on("prompts/list", ({ cursor }) => offers.page("prompts", cursor));
  on("tools/call", ({ name, arguments: args }, hand) => offers.call(name, args ?? {}, hand));
  on("resources/read", ({ uri }, hand) => offers.read(uri, hand));
  on("prompts/get", ({ name, arguments: args }, hand) => offers.get(name, args ?? {}, hand));
  on("completion/complete", ({ argument, context }) => offers.complete(argument, context?.arguments ?? {}));
  if (era === "legacy") {
    on("resources/subscribe", ({ uri }) => void offers.subscribed.add(uri) ?? {});
    on("resources/unsubscribe", ({ uri }) => void offers.subscribed.delete(uri) ?? {});
    server.setNotificationHandler("notifications/roots/list_changed", () => void offers.rootsChanged++);
  }
  return server;
}

serveStdio(made, { legacy: mode === "modern" ? "reject" : "serve" });
