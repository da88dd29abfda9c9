/* What a client may ask by MCP, in each era, and what is answered. */

import { Call } from "./calls.ts";
import type { Outcome, Retry } from "./calls.ts";
import { isTemplate } from "./definitions.ts";
import type { Complete, Resource } from "./definitions.ts";
import { checkEnvelope, LATEST_LEGACY, LEGACY, LEVELS, MODERN, stamped, SUBSCRIPTION } from "./eras.ts";
import type { RequestMeta } from "./eras.ts";
import {
  BadArguments,
  CannotAsk,
  INTERNAL,
  METHOD,
  Misdeclared,
  NOT_FOUND,
  PARAMS,
  Refusal,
  ToolError,
} from "./errors.ts";
import { promptResult, resourceResult, toolFailure, toolResult } from "./results.ts";
import type { Json } from "./schema.ts";
import type { Server } from "./server.ts";
import { isObject, kindOf } from "./validate.ts";
import { encode } from "./wire.ts";
import type { Id } from "./wire.ts";

const MOST_VALUES = 100; // of one completion
const SECONDS = 60; // for prompts and resources
const QUICKLY = 10; // seconds for completions and hooks
/** Asked by broker of those whose manifest lists hooks. */
const HOOK = "plugin-broker/hook";

type Quick = (server: Server, params: Json) => Json; // answered at once
type Slow = (server: Server, id: Id, params: Json, meta: RequestMeta) => void; // answered by a call

/** Answer a request, now or later. Throws `Refusal`. */
export function take(server: Server, id: Id, method: string, params: Json, meta: RequestMeta): void {
  if (method === "initialize") {
    server.reply(id, initialize(server, params));
    return;
  }
  if (meta.modern) checkEnvelope(meta);
  else if (method === "server/discover" || !server.client.opened) {
    throw new Refusal(PARAMS, "`_meta` lacks the version of MCP (2026-07-28); before that, `initialize` comes first");
  }
  const [quick, slow] = meta.modern ? [QUICK_MODERN, SLOW_MODERN] : [QUICK_LEGACY, SLOW];
  const answer = quick.get(method);
  const begin = slow.get(method);
  if (answer !== undefined) {
    const result = answer(server, params);
    server.reply(id, meta.modern ? stamped(method, result, server.info) : result);
  } else if (begin !== undefined) begin(server, id, params, meta);
  else throw new Refusal(METHOD, `Method not found: ${method.slice(0, 100)}`);
}

function wrong(what: string, expected: string, value: unknown): Refusal {
  return new Refusal(PARAMS, `the params are not what MCP has: \`${what}\` is not ${expected}, but ${kindOf(value)}`);
}

function textOf(params: Json, name: string): string {
  const value = params[name];
  if (typeof value !== "string") throw wrong(name, "a text", value);
  return value;
}

function objectOf(params: Json, name: string): Json {
  const value = params[name];
  if (value === undefined) return {};
  if (!isObject(value)) throw wrong(name, "an object", value);
  return value;
}

// Openings

function initialize(server: Server, params: Json): Json {
  const { protocolVersion: wanted, clientInfo } = params;
  if (wanted !== undefined && wanted !== null && typeof wanted !== "string") {
    throw wrong("protocolVersion", "a text", wanted);
  }
  const client = server.client;
  client.capabilities = objectOf(params, "capabilities");
  client.version = typeof wanted === "string" && LEGACY.includes(wanted) ? wanted : LATEST_LEGACY;
  client.info = isObject(clientInfo) ? clientInfo : {};
  client.opened = true;
  return {
    protocolVersion: client.version,
    capabilities: capabilities(server),
    serverInfo: server.info,
    ...how(server),
  };
}

function discover(server: Server): Json {
  return { supportedVersions: MODERN, capabilities: capabilities(server), ...how(server) };
}

function capabilities({ plugin }: Server): Json {
  const found: Json = { logging: {}, tools: { listChanged: true } };
  if (plugin.resources.size > 0) found.resources = { listChanged: true, subscribe: true };
  if (plugin.prompts.size > 0) found.prompts = { listChanged: true };
  const completes = [...plugin.resources.values()].some((each) => Object.keys(each.complete).length > 0);
  if (plugin.prompts.size > 0 || completes) found.completions = {};
  return found;
}

function how({ plugin }: Server): Json {
  return plugin.instructions ? { instructions: plugin.instructions } : {};
}

// Lists

interface Definable {
  definition(name: string): Json;
}

function list(member: string, offered: (server: Server) => Iterable<[string, Definable]>): Quick {
  return (server, params) => {
    const { cursor } = params;
    if (cursor !== undefined && cursor !== null) {
      if (typeof cursor !== "string") throw wrong("cursor", "a text", cursor);
      throw new Refusal(PARAMS, "there is no such page: every list has one");
    }
    try {
      return { [member]: [...offered(server)].map(([name, each]) => each.definition(name)) };
    } catch (error) {
      if (!(error instanceof Misdeclared)) throw error;
      server.complain(error.message);
      throw new Refusal(INTERNAL, error.message);
    }
  };
}

function resources(templates: boolean): (server: Server) => Iterable<[string, Definable]> {
  return (server) => [...server.plugin.resources].filter(([uri]) => isTemplate(uri) === templates);
}

// Settings of a legacy connection, and what a modern one listens to

function setLevel(server: Server, params: Json): Json {
  const level = textOf(params, "level");
  if (!LEVELS.includes(level)) throw new Refusal(PARAMS, `there is no level "${level.slice(0, 40)}"`);
  server.client.level = level;
  return {};
}

function subscribe(server: Server, params: Json): Json {
  const uri = textOf(params, "uri");
  if (found(server, uri) === undefined) throw new Refusal(PARAMS, "there is no such resource");
  server.subscribed.add(uri);
  return {};
}

function unsubscribe(server: Server, params: Json): Json {
  server.subscribed.delete(textOf(params, "uri"));
  return {};
}

const LISTENED = ["toolsListChanged", "promptsListChanged", "resourcesListChanged", "resourceSubscriptions"];

/** Stays open until it is cancelled. */
function listen(server: Server, id: Id, params: Json): void {
  const asked = objectOf(params, "notifications");
  const wanted = Object.fromEntries(Object.entries(asked).filter(([name, value]) => LISTENED.includes(name) && value));
  server.listens.set(id, wanted);
  const acknowledged = `{"notifications":${encode(wanted)},"_meta":{"${SUBSCRIPTION}":${id}}}`;
  server.notify("notifications/subscriptions/acknowledged", acknowledged);
}

// Calls

function retryOf(params: Json): Retry {
  const { inputResponses, requestState } = params;
  if (inputResponses !== undefined && inputResponses !== null && !isObject(inputResponses)) {
    throw wrong("inputResponses", "an object", inputResponses);
  }
  if (requestState !== undefined && requestState !== null && typeof requestState !== "string") {
    throw wrong("requestState", "a text", requestState);
  }
  return { responses: inputResponses ?? {}, state: requestState ?? undefined };
}

type Work = (call: Call) => Promise<Json>;
type Late = () => Outcome;

const ENDED: Late = () => ({ error: new Refusal(INTERNAL, "the plugin ended the request") });

/** Begin the call, or go on with one that was parked. */
function begin(server: Server, call: Call, retry: Retry, work: Work, seconds: number | null, late: Late = ENDED): void {
  const id = call.id;
  if (id === undefined) return;
  if (call.modern && retry.state !== undefined) {
    server.resume(retry.state, call, id, retry.responses);
    return;
  }
  server.enter(call, id);
  call.start(() => work(call), seconds, late);
}

/** Arguments, which may be left out. Throws `Refusal` for what is no object. */
function argumentsOf(params: Json): Json {
  const given = params.arguments;
  if (given === undefined || given === null) return {};
  if (!isObject(given)) throw new Refusal(PARAMS, "`arguments` must be an object");
  return given;
}

function callTool(server: Server, id: Id, params: Json, meta: RequestMeta): void {
  const name = textOf(params, "name");
  const retry = retryOf(params);
  const tool = server.plugin.tools.get(name);
  if (tool === undefined) throw new Refusal(PARAMS, `Unknown tool: ${name.slice(0, 200)}`);
  const args = argumentsOf(params);
  const call = new Call(server, id, "tools/call", name, meta, args, retry);
  const late = (): Outcome => ({ result: toolFailure(`${name} took longer than ${tool.seconds} s and was ended`) });
  begin(server, call, retry, (call) => runTool(server, call, args), tool.seconds, late);
}

async function runTool(server: Server, call: Call, args: Json): Promise<Json> {
  const tool = server.plugin.tools.get(call.name);
  if (tool === undefined) throw new Refusal(PARAMS, `Unknown tool: ${call.name}`);
  let given: unknown;
  try {
    given = await tool.input(call.name).read(args);
  } catch (error) {
    if (!(error instanceof BadArguments)) throw error;
    return toolFailure(`Invalid arguments of ${call.name}: ${error.message}`);
  }
  try {
    const value = await server.run(() => tool.run(given, server.ctx(call, call)));
    return await toolResult(value, tool.output(call.name));
  } catch (error) {
    return failure(server, call, error);
  }
}

/** What a client is told of an error. Throws it again when it is not a failure of the tool's. */
function failure(server: Server, call: Call, error: unknown): Json {
  if (call.cancelled || error instanceof Refusal || (error instanceof CannotAsk && call.modern)) throw error;
  if (error instanceof ToolError) return toolFailure(error.message);
  server.failed(`tool ${call.name}`, error instanceof BadArguments ? unlike(error) : error);
  return toolFailure(`Error in tool ${call.name}`);
}

function unlike(error: BadArguments): string {
  return `it returned what its \`output\` does not allow: ${error.message}`;
}

function getPrompt(server: Server, id: Id, params: Json, meta: RequestMeta): void {
  const name = textOf(params, "name");
  const retry = retryOf(params);
  const prompt = server.plugin.prompts.get(name);
  if (prompt === undefined) throw new Refusal(PARAMS, `Unknown prompt: ${name.slice(0, 200)}`);
  const args = argumentsOf(params);
  const odd = Object.entries(args).find(([, value]) => typeof value !== "string");
  if (odd !== undefined) throw new Refusal(PARAMS, `\`arguments\` must be texts: \`${odd[0]}\` is ${kindOf(odd[1])}`);
  const call = new Call(server, id, "prompts/get", name, meta, args, retry);
  const work = async (): Promise<Json> => {
    const given = await fitting(`prompt ${name}`, prompt.input(name).texts(args as Record<string, string>));
    const value = await server.run(() => prompt.run(given, server.ctx(call, call)));
    return promptResult(value, prompt.description);
  };
  begin(server, call, retry, work, SECONDS);
}

async function fitting(what: string, reading: Promise<unknown>): Promise<unknown> {
  try {
    return await reading;
  } catch (error) {
    throw error instanceof BadArguments ? new Refusal(PARAMS, `${what}: ${error.message}`) : error;
  }
}

function readResource(server: Server, id: Id, params: Json, meta: RequestMeta): void {
  const uri = textOf(params, "uri");
  const retry = retryOf(params);
  const resource = found(server, uri);
  if (resource === undefined) {
    throw new Refusal(meta.modern ? PARAMS : NOT_FOUND, "Resource not found", { uri: uri.slice(0, 1000) });
  }
  const call = new Call(server, id, "resources/read", uri, meta, undefined, retry);
  const [offered, holes] = resource;
  const work = async (): Promise<Json> => {
    const value = await server.run(() => offered.run(holes, server.ctx(call, call), uri));
    return resourceResult(uri, value, offered.mime);
  };
  begin(server, call, retry, work, SECONDS);
}

/** The resource that a URI belongs to, one of its own before templates, and the values of its holes. */
function found({ plugin }: Server, uri: string): [Resource, Record<string, string>] | undefined {
  const own = plugin.resources.get(uri);
  if (own !== undefined && !isTemplate(uri)) return [own, {}];
  for (const [template, resource] of plugin.resources) {
    const holes = isTemplate(template) ? resource.matched(template, uri) : undefined;
    if (holes !== undefined) return [resource, holes];
  }
  return undefined;
}

// Completion and hooks

function complete(server: Server, id: Id, params: Json, meta: RequestMeta): void {
  const { ref, argument } = params;
  if (!isObject(ref)) throw wrong("ref", "an object", ref);
  if (!isObject(argument)) throw wrong("argument", "an object", argument);
  const of = ref.type === "ref/prompt" ? ref.name : ref.type === "ref/resource" ? ref.uri : undefined;
  if (typeof of !== "string") throw new Refusal(PARAMS, "`ref` names neither a prompt nor a resource");
  const [name, typed] = [textOf(argument, "name"), textOf(argument, "value")];
  const call = new Call(server, id, "completion/complete", of, meta);
  begin(server, call, { responses: {}, state: undefined }, () => runCompletion(server, call, name, typed), QUICKLY);
}

async function runCompletion(server: Server, call: Call, name: string, typed: string): Promise<Json> {
  const prompt = server.plugin.prompts.get(call.name);
  const proposes = prompt?.complete[name] ?? ofResource(server, call.name, name);
  let values = prompt?.choices(call.name, name).filter((each) => each.startsWith(typed)) ?? [];
  if (proposes !== undefined) {
    const proposed = await server.run(() => proposes(typed, server.ctx(call, call)));
    values = (proposed as readonly unknown[]).map(String);
  }
  const shown = { values: values.slice(0, MOST_VALUES), total: values.length, hasMore: values.length > MOST_VALUES };
  return { completion: shown };
}

function ofResource({ plugin }: Server, template: string, name: string): Complete | undefined {
  for (const [uri, resource] of plugin.resources) {
    if (uri.replaceAll("*}", "}") === template && Object.hasOwn(resource.complete, name))
      return resource.complete[name];
  }
  return undefined;
}

function hook(server: Server, id: Id, params: Json, meta: RequestMeta): void {
  if (server.plugin.hooks.length === 0) throw new Refusal(METHOD, `Method not found: ${HOOK}`);
  const { _meta: _, ...event } = params;
  const call = new Call(server, id, HOOK, String(event.type ?? ""), meta);
  begin(server, call, { responses: {}, state: undefined }, () => server.beside.hook(event, call), QUICKLY);
}

const QUICK: [string, Quick][] = [
  ["tools/list", list("tools", (server) => server.plugin.tools)],
  ["prompts/list", list("prompts", (server) => server.plugin.prompts)],
  ["resources/list", list("resources", resources(false))],
  ["resources/templates/list", list("resourceTemplates", resources(true))],
];
const QUICK_LEGACY = new Map<string, Quick>([
  ...QUICK,
  ["ping", () => ({})],
  ["logging/setLevel", setLevel],
  ["resources/subscribe", subscribe],
  ["resources/unsubscribe", unsubscribe],
]);
const QUICK_MODERN = new Map<string, Quick>([...QUICK, ["server/discover", discover]]);
const SLOW = new Map<string, Slow>([
  ["tools/call", callTool],
  ["prompts/get", getPrompt],
  ["resources/read", readResource],
  ["completion/complete", complete],
  [HOOK, hook],
]);
const SLOW_MODERN = new Map<string, Slow>([...SLOW, ["subscriptions/listen", listen]]);
