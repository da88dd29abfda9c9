/*
 * The two eras of MCP: what a request of each carries, and what a result needs.
 *
 * Legacy (2024-11-05 to 2025-11-25): one `initialize` a connection, and the server may ask the client in requests of
 * its own. Modern (2026-07-28): everything is in the `_meta` of each request, and a server asks by a result, to which
 * the client answers by repeating the request. Both are served on one pipe, request by request.
 */

import { PARAMS, Refusal, UNSUPPORTED_VERSION } from "./errors.ts";
import type { Json } from "./schema.ts";
import { isObject } from "./validate.ts";
import { tokenAt } from "./wire.ts";
import type { Message } from "./wire.ts";

export const LEGACY: readonly string[] = ["2024-11-05", "2025-03-26", "2025-06-18", "2025-11-25"];
export const LATEST_LEGACY = "2025-11-25";
export const MODERN: readonly string[] = ["2026-07-28"];
/** Since when a choice of a form may have a title beside its value. */
export const TITLED_CHOICES = "2025-11-25";
export const META = "io.modelcontextprotocol/";
export const SUBSCRIPTION = `${META}subscriptionId`;
export const LEVELS = ["debug", "info", "notice", "warning", "error", "critical", "alert", "emergency"];
export const NEEDS: Readonly<Record<string, string>> = {
  "elicitation/create": "elicitation",
  "sampling/createMessage": "sampling",
  "roots/list": "roots",
};

const CACHEABLE = new Set([
  "tools/list",
  "prompts/list",
  "resources/list",
  "resources/templates/list",
  "resources/read",
  "server/discover",
]);

/** The `_meta` of a request; all of it but the token is modern. */
export interface RequestMeta {
  /** Whether the request says its version of MCP. */
  readonly modern: boolean;
  readonly version: unknown;
  readonly capabilities: Json | undefined;
  readonly info: unknown;
  readonly level: string | undefined;
  /** What progress is reported under, as JSON; 0 is one. */
  readonly token: string | undefined;
}

export const NO_META: RequestMeta = {
  modern: false,
  version: undefined,
  capabilities: undefined,
  info: undefined,
  level: undefined,
  token: undefined,
};

/** The `_meta` of a request. Throws `Refusal` for params that MCP does not know. */
export function metaOf(message: Message): RequestMeta {
  const params = message.params;
  if (!isObject(params)) throw wrong("they are no object");
  if (!("_meta" in params)) return NO_META;
  const meta = params["_meta"];
  if (!isObject(meta)) throw wrong("`_meta` is no object");
  const version = meta[`${META}protocolVersion`];
  if (version !== undefined && version !== null && typeof version !== "string") throw wrong("the version is no text");
  const level = meta[`${META}logLevel`];
  if (level !== undefined && typeof level !== "string") throw wrong("the log level is no text");
  const capabilities = meta[`${META}clientCapabilities`];
  if (capabilities !== undefined && !isObject(capabilities)) throw wrong("the capabilities are no object");
  const token = tokenAt(message, ["params", "_meta", "progressToken"]);
  return { modern: version !== undefined, version, capabilities, info: meta[`${META}clientInfo`], level, token };
}

function wrong(how: string): Refusal {
  return new Refusal(PARAMS, `the params are not what MCP has: ${how}`);
}

/** Refuse a modern request of a version we do not speak, or without what it must carry. */
export function checkEnvelope(meta: RequestMeta): void {
  if (!MODERN.includes(meta.version as string)) {
    const data = { supported: MODERN, requested: meta.version };
    throw new Refusal(UNSUPPORTED_VERSION, "Unsupported protocol version", data);
  }
  if (meta.capabilities === undefined) throw new Refusal(PARAMS, `\`_meta\` lacks ${META}clientCapabilities`);
}

/** A modern result: its type, hints where it may be cached, and whose it is. */
export function stamped(method: string, result: Json, info: Json): Json {
  const cached = CACHEABLE.has(method) ? { ttlMs: 0, cacheScope: "private" } : {};
  const meta = isObject(result["_meta"]) ? result["_meta"] : {};
  return { ...cached, resultType: "complete", ...result, _meta: { [`${META}serverInfo`]: info, ...meta } };
}

/** The modern result that asks the client. */
export function asking(requests: Json, state: string, info: Json): Json {
  return {
    resultType: "input_required",
    inputRequests: requests,
    requestState: state,
    _meta: { [`${META}serverInfo`]: info },
  };
}
