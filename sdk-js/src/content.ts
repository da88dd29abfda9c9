/* What a tool, a resource or a prompt may return besides text and data: pictures, sounds, files, links, messages. */

import { Buffer } from "node:buffer";
import type { Json } from "./schema.ts";

/** One block of what a tool returns. Make it with `text`, `image`, `audio`, `embedded` or `link`. */
export class Content {
  /** As MCP has it. */
  readonly block: Json & { readonly type: string };

  constructor(block: Json & { readonly type: string }) {
    this.block = block;
  }

  toJSON(): Json {
    return this.block;
  }
}

/** One message of a prompt. Make it with `user` or `assistant`. */
export class Message {
  readonly role: "user" | "assistant";
  readonly content: Content;

  constructor(role: "user" | "assistant", content: Content) {
    this.role = role;
    this.content = content;
  }
}

export interface ResultOptions {
  content?: readonly (Content | string)[];
  data?: unknown;
  isError?: boolean;
  /** For programs, not for the model. */
  meta?: Json;
}

/** The whole result of a tool, for those who need more than a value. Make it with `result`. */
export class Result {
  readonly options: ResultOptions;

  constructor(options: ResultOptions) {
    this.options = options;
  }
}

/** The whole result of a tool: `result({ content: [...], data: {...}, meta: {...} })`. */
export function result(options: ResultOptions): Result {
  return new Result(options);
}

/** A text. */
export function text(value: string): Content {
  return new Content({ type: "text", text: value });
}

/** A picture. */
export function image(data: Uint8Array, mime = "image/png"): Content {
  return new Content({ type: "image", data: base64(data), mimeType: mime });
}

/** A sound. */
export function audio(data: Uint8Array, mime = "audio/wav"): Content {
  return new Content({ type: "audio", data: base64(data), mimeType: mime });
}

/** A resource with its content. */
export function embedded(uri: string, value: string | Uint8Array, mime?: string): Content {
  return new Content({ type: "resource", resource: held(uri, value, mime) });
}

/** A resource that the client may read. */
export function link(
  uri: string,
  name: string,
  options: { title?: string; description?: string; mime?: string } = {},
): Content {
  const { mime, ...words } = options;
  return new Content({ type: "resource_link", uri, name, ...words, ...(mime === undefined ? {} : { mimeType: mime }) });
}

/** A message of a prompt, said by the person. */
export function user(content: string | Content): Message {
  return new Message("user", typeof content === "string" ? text(content) : content);
}

/** A message of a prompt, said by the model. */
export function assistant(content: string | Content): Message {
  return new Message("assistant", typeof content === "string" ? text(content) : content);
}

/** @internal A resource's content as MCP has it. */
export function held(uri: string, value: string | Uint8Array, mime?: string): Json {
  const found: Json = mime === undefined ? { uri } : { uri, mimeType: mime };
  return typeof value === "string" ? { ...found, text: value } : { ...found, blob: base64(value) };
}

function base64(data: Uint8Array): string {
  return Buffer.from(data.buffer, data.byteOffset, data.byteLength).toString("base64");
}
