/* What functions return, as MCP's results. */

import { Content, held, Message, Result, text, user } from "./content.ts";
import type { Output } from "./definitions.ts";
import type { Json } from "./schema.ts";
import { encode } from "./wire.ts";

/** A failure that the model reads. */
export function toolFailure(why: string): Json {
  return { content: [text(why)], isError: true };
}

/**
 * A value as a tool's result: contents as they are, data as `structuredContent` and as text.
 *
 * Throws `BadArguments` for what the tool's `output` does not allow.
 */
export async function toolResult(value: unknown, output: Output): Promise<Json> {
  if (value instanceof Result) return whole(value);
  if (typeof value === "string" && !output.known) return { content: [text(value)] };
  if (value === undefined || (value === null && !output.known)) return { content: [] };
  const contents = contentsOf(value);
  return contents === undefined ? structured(value, output) : { content: contents };
}

function whole(result: Result): Json {
  const { content = [], data, isError, meta } = result.options;
  const found: Json = { content: content.map(asContent) };
  if (data !== undefined) {
    found.structuredContent = data;
    if (content.length === 0) found.content = [text(encode(data))];
  }
  if (isError) found.isError = true;
  return meta === undefined ? found : { ...found, _meta: meta };
}

function contentsOf(value: unknown): Content[] | undefined {
  if (value instanceof Content) return [value];
  if (!Array.isArray(value) || !value.some((each) => each instanceof Content)) return undefined;
  return value.map(asContent);
}

function asContent(value: unknown): Content {
  return value instanceof Content ? value : text(words(value));
}

async function structured(value: unknown, output: Output): Promise<Json> {
  const data = await output.read(value);
  const json = encode(data);
  const found: Json = { content: [text(typeof data === "string" ? data : json)] };
  if (output.known) found.structuredContent = output.wrapped ? { result: data } : data;
  else if (json.startsWith("{")) found.structuredContent = data;
  return found;
}

function words(value: unknown): string {
  return typeof value === "string" ? value : encode(value);
}

/** A value as a resource's content: texts and bytes as they are, anything else as JSON. */
export function resourceResult(uri: string, value: unknown, mime: string | undefined): Json {
  if (typeof value === "string") return { contents: [held(uri, value, mime ?? "text/plain")] };
  if (value instanceof Uint8Array) return { contents: [held(uri, value, mime)] };
  return { contents: [held(uri, encode(value), mime ?? "application/json")] };
}

/** A value as a prompt's messages: texts and contents are said by the person. */
export function promptResult(value: unknown, description: string | undefined): Json {
  const parts: unknown[] = Array.isArray(value) ? value : [value];
  const messages = parts.map((each) => {
    const { role, content } = each instanceof Message ? each : user(each instanceof Content ? each : words(each));
    return { role, content };
  });
  return description ? { description, messages } : { messages };
}
