/*
 * Lines to messages and back: JSON-RPC 2.0, one message a line, with no I/O.
 *
 * Rule 1: a bad line costs only itself. Where its id can be recovered it is answered, with the id as it was written.
 * Rule 2: an id is kept as its JSON text, so that it is told apart by type and value, however large, and never
 * converted. Rule 3: what two readers could read differently is refused: a key twice, a number without end, what is
 * not UTF-8.
 */

import { Buffer, isUtf8 } from "node:buffer";
import { PARSE, Refusal, REQUEST } from "./errors.ts";
import { isObject } from "./validate.ts";

export const MAX_LINE = 16 << 20; // bytes; the official TypeScript SDK gives up at 10 MiB
export const MAX_DEPTH = 128; // of brackets in one message; the official Python SDK's parser stops at 200
const MAX_ID = 64 << 10; // characters
const MAX_METHOD = 1 << 10; // characters
const MAX_DIGITS = 4300; // of one whole number: where Python's parser stops, and sdk-python
const MAX_MEMBERS = 32; // of an envelope, which has six
const HEAD = 4 << 10; // bytes kept of a line that is too long, from its beginning and from its end

/** The JSON text of a number or of a string. */
export type Id = string;

/** Any JSON-RPC message. */
export interface Message {
  readonly id: Id | undefined;
  readonly method: string | undefined;
  readonly params: unknown;
  readonly result: unknown;
  readonly error: unknown;
  /** The whole line. */
  readonly source: string;
}

/** A line that is no message. `id`: the one an answer is owed to, if there is one. */
export class BadLine extends Refusal {
  readonly id: Id | undefined;

  constructor(code: number, message: string, id?: Id) {
    super(code, message);
    this.id = id;
  }
}

/** Cuts a stream into lines, and keeps at most `limit` bytes of one. */
export class Lines {
  readonly #limit: number;
  #parts: Uint8Array[] = [];
  #size = 0;
  #tail: Uint8Array | undefined; // of a line that is too long, once its head is all that `#parts` has

  constructor(limit = MAX_LINE) {
    this.#limit = limit;
  }

  /** Calls `take` with each line that `data` completes, and whether it is whole: of one too long come head and tail. */
  feed(data: Uint8Array, take: (line: Uint8Array, whole: boolean) => void): void {
    let from = 0;
    for (let at = data.indexOf(10); at >= 0; at = data.indexOf(10, from)) {
      this.#end(data.subarray(from, at), take);
      from = at + 1;
    }
    if (from < data.length) this.#keep(data.subarray(from));
  }

  #keep(piece: Uint8Array): void {
    this.#size += piece.length;
    if (this.#size <= this.#limit) {
      this.#parts.push(piece);
      return;
    }
    const kept = Buffer.concat([...this.#parts, this.#tail ?? new Uint8Array(0), piece]);
    const head = this.#tail === undefined ? HEAD : (this.#parts[0]?.length ?? 0);
    this.#parts = [kept.subarray(0, head)];
    this.#tail = Uint8Array.from(kept.subarray(Math.max(head, kept.length - HEAD)));
    if (kept.length > 4 * HEAD) this.#parts = [Uint8Array.from(kept.subarray(0, head))]; // lets go of the rest
  }

  #end(piece: Uint8Array, take: (line: Uint8Array, whole: boolean) => void): void {
    if (this.#parts.length === 0 && piece.length <= this.#limit) {
      take(piece, true);
      return;
    }
    this.#keep(piece);
    const line = Buffer.concat(this.#tail === undefined ? this.#parts : [...this.#parts, this.#tail]);
    const whole = this.#size <= this.#limit;
    this.#parts = [];
    this.#size = 0;
    this.#tail = undefined;
    take(line, whole);
  }
}

/** The line that refuses a request. MCP has no null ids: one that is unknown is left out. */
export function errorLine(id: Id | undefined, error: Refusal): string {
  const { code, message, data } = error;
  const fault = encode(data === undefined ? { code, message } : { code, message, data });
  return `{"jsonrpc":"2.0",${id === undefined ? "" : `"id":${id},`}"error":${fault}}\n`;
}

export function resultLine(id: Id, result: unknown): string {
  return `{"jsonrpc":"2.0","id":${id},"result":${encode(result)}}\n`;
}

/** A value as JSON, null if JSON has none for it. Half a surrogate pair, which others do not read, is replaced. */
export function encode(value: unknown): string {
  const text = (JSON.stringify(value) as string | undefined) ?? "null";
  if (!text.includes("\\ud")) return text;
  return text.replace(/\\(?:ud[89a-f][\da-f]{2}|[^])/g, (escape) => (escape.length > 2 ? "\\ufffd" : escape));
}

/** Whether a line has nothing in it. */
export function isBlank(line: Uint8Array): boolean {
  for (const byte of line) if (byte !== 32 && (byte < 9 || byte > 13)) return false;
  return true;
}

/** The message in a line. Throws `BadLine`. */
export function decode(line: Uint8Array, whole = true): Message {
  try {
    if (!whole) throw new BadLine(REQUEST, `the message has more than ${MAX_LINE >> 20} MiB`);
    if (!isUtf8(line)) throw new BadLine(PARSE, "the message is not UTF-8");
    return message(Buffer.from(line.buffer, line.byteOffset, line.length).toString("utf8"));
  } catch (error) {
    if (error instanceof BadLine) throw new BadLine(error.code, error.message, recovered(line));
    throw error;
  }
}

/** The message in a line of text. Throws `BadLine` without an id. */
export function message(source: string): Message {
  const found = survey(source);
  if (found.deep) throw new BadLine(REQUEST, `the message is nested deeper than ${MAX_DEPTH}`);
  const value = parsed(source);
  if (Array.isArray(value)) {
    throw new BadLine(REQUEST, "batches were removed in MCP 2025-06-18; send one message a line");
  }
  if (!isObject(value)) throw new BadLine(REQUEST, "the message is not JSON-RPC 2.0: it is no object");
  const id = idOf(value["id"], found.members.get("id"), source);
  if (found.endless) throw new BadLine(PARSE, `the message has a number of more than ${MAX_DIGITS} digits`);
  if (found.twice) throw new BadLine(REQUEST, "the message has the same key twice");
  if (found.many) throw new BadLine(REQUEST, `the message has more than ${MAX_MEMBERS} members`);
  return shaped(value, id, source);
}

function parsed(source: string): unknown {
  try {
    const value: unknown = JSON.parse(source);
    if (!/\\u[dD][89a-fA-F]/.test(source) || !hasLoneSurrogate(source)) return value;
  } catch (error) {
    throw new BadLine(PARSE, `the message is not JSON: ${(error as Error).message}`);
  }
  throw new BadLine(PARSE, "the message is not JSON: it has half a surrogate pair");
}

/** A request, a notification or an answer, and only one of them. A request's id is a number or a text. */
function shaped(value: Record<string, unknown>, id: Id | null | undefined, source: string): Message {
  const { method, params, result, error } = value;
  if (value["jsonrpc"] !== "2.0") throw new BadLine(REQUEST, 'the message is not JSON-RPC 2.0: `jsonrpc` is not "2.0"');
  const answers = "result" in value || (error !== undefined && error !== null);
  if (!("method" in value)) {
    if (!answers) throw new BadLine(REQUEST, "the message has no method and no result");
    return { id: id ?? undefined, method: undefined, params, result, error, source };
  }
  if (typeof method !== "string") throw new BadLine(REQUEST, "the message is not JSON-RPC 2.0: `method` is no text");
  if (method.length > MAX_METHOD) throw new BadLine(REQUEST, "the method's name is too long");
  if (answers || "error" in value) throw new BadLine(REQUEST, "the message is a request and an answer");
  if (id === null) throw new BadLine(REQUEST, "the id is null");
  return { id, method, params: "params" in value ? params : {}, result, error, source };
}

function idOf(value: unknown, span: Span | undefined, source: string): Id | null | undefined {
  if (value === undefined || value === null) return value;
  const id = token(value, span, source);
  if (id === undefined)
    throw new BadLine(REQUEST, "the message is not JSON-RPC 2.0: `id` is no whole number and no text");
  if (id.length > MAX_ID + 2 || (typeof value === "number" && id.length > MAX_DIGITS)) {
    throw new BadLine(REQUEST, "the id is too long");
  }
  return id;
}

/** The JSON text of a whole number or a text. */
function token(value: unknown, span: Span | undefined, source: string): Id | undefined {
  if (typeof value === "string") return JSON.stringify(value);
  if (typeof value !== "number" || span === undefined) return undefined;
  const text = source.slice(...span).trim();
  return /^-?\d+$/.test(text) ? text : undefined;
}

/** The JSON text of the whole number or text at a path of a message, as in `["params", "requestId"]`. */
export function tokenAt(message: Message, path: readonly string[]): Id | undefined {
  let value: unknown = message;
  for (const name of path) value = isObject(value) ? value[name] : undefined;
  if (typeof value === "number" && Number.isSafeInteger(value)) return String(value);
  let source = message.source;
  let span: Span | undefined = [0, source.length];
  if (typeof value === "number") {
    for (const name of path) {
      source = source.slice(...span);
      span = survey(source).members.get(name) ?? [0, 0];
    }
  }
  return token(value, span, source);
}

type Span = [from: number, to: number];

interface Survey {
  /** Where the values of the outermost object are. */
  readonly members: Map<string, Span>;
  twice: boolean;
  many: boolean;
  deep: boolean;
  endless: boolean;
}

const QUOTE = 34;
const COMMA = 44;
const COLON = 58;
const ZERO = 48;
const NINE = 57;

/** What is to be known of a text before and beside its parsing; of one that is no JSON it says anything. */
function survey(source: string): Survey {
  const found: Survey = { members: new Map(), twice: false, many: false, deep: false, endless: false };
  let depth = 0;
  let key: string | undefined;
  let from = 0;
  for (let at = 0; at < source.length; at++) {
    const letter = source.charCodeAt(at);
    if (letter === QUOTE) {
      const end = endOfText(source, at);
      if (depth === 1 && from === 0) key = source.slice(at, end);
      at = end - 1;
    } else if (letter >= ZERO && letter <= NINE) {
      const end = endOfDigits(source, at);
      if (end - at > MAX_DIGITS && isWhole(source, at, end)) found.endless = true;
      at = end - 1;
    } else if (letter === COLON && depth === 1) from = at + 1;
    else if (letter === 123 || letter === 91) {
      depth += 1;
      if (depth > MAX_DEPTH) return { ...found, deep: true };
    } else if ((letter === COMMA && depth === 1) || letter === 125 || letter === 93) {
      if (depth === 1 && from > 0 && key !== undefined) note(found, key, [from, at]);
      if (depth === 1) from = 0;
      if (letter !== COMMA) depth -= 1;
    }
  }
  return found;
}

function note(found: Survey, key: string, span: Span): void {
  const name = named(key);
  if (found.members.has(name)) found.twice = true;
  else if (found.members.size >= MAX_MEMBERS) found.many = true;
  else found.members.set(name, span);
}

function named(key: string): string {
  if (!key.includes("\\")) return key.slice(1, -1);
  try {
    return JSON.parse(key) as string;
  } catch {
    return key;
  }
}

/** Behind the quote that ends the text whose first quote is at `from`. */
function endOfText(source: string, from: number): number {
  for (let at = source.indexOf('"', from + 1); at >= 0; at = source.indexOf('"', at + 1)) {
    let slashes = 0;
    while (source.charCodeAt(at - 1 - slashes) === 92) slashes += 1;
    if (slashes % 2 === 0) return at + 1;
  }
  return source.length;
}

function endOfDigits(source: string, from: number): number {
  let at = from + 1;
  while (at < source.length && source.charCodeAt(at) >= ZERO && source.charCodeAt(at) <= NINE) at += 1;
  return at;
}

function isWhole(source: string, from: number, to: number): boolean {
  return source[from - 1] !== "." && !/[.eE]/.test(source.charAt(to));
}

/** Whether an escape is half of a pair; every backslash of JSON begins an escape. */
function hasLoneSurrogate(source: string): boolean {
  const escapes = /\\(?:u[dD][89abAB][\da-fA-F]{2}\\u[dD][c-fC-F][\da-fA-F]{2}|(u[dD][89a-fA-F][\da-fA-F]{2})|[^])/g;
  for (const found of source.matchAll(escapes)) if (found[1] !== undefined) return true;
  return false;
}

const BLANKS = "[ \\t\\r\\v\\f]*";
const VALUE = '(-?(?:0|[1-9]\\d{0,29})|"(?:[^"\\\\]|\\\\[^]){0,256}")(?:\\.0{1,9})?';
const VERSION = `"jsonrpc"${BLANKS}:${BLANKS}"2\\.0"`;
const ID = `"id"${BLANKS}:${BLANKS}${VALUE}${BLANKS}`;
const ID_FIRST = new RegExp(`^${BLANKS}\\{${BLANKS}(?:${VERSION}${BLANKS},${BLANKS})?${ID},`);
const ID_LAST = new RegExp(`,${BLANKS}${ID}(?:,${BLANKS}${VERSION}${BLANKS})?\\}${BLANKS}$`);
const ID_ANY = new RegExp(`${ID}[,}]`, "g");

/** The id of a message that cannot be read: where messages have it, or the only one there is. */
function recovered(line: Uint8Array): Id | undefined {
  const bytes = Buffer.from(line.buffer, line.byteOffset, line.length);
  const head = bytes.subarray(0, 2 * HEAD).toString("latin1");
  const first = ID_FIRST.exec(head) ?? ID_LAST.exec(bytes.subarray(-512).toString("latin1"));
  const every = first === null ? [...head.matchAll(ID_ANY)] : [first];
  const raw = every.length === 1 ? every[0]?.[1] : undefined;
  return raw === undefined ? undefined : readable(Buffer.from(raw, "latin1"));
}

function readable(raw: Buffer): Id | undefined {
  try {
    return isUtf8(raw)
      ? (idOf(parsed(raw.toString("utf8")), [0, raw.length], raw.toString("utf8")) ?? undefined)
      : undefined;
  } catch {
    return undefined;
  }
}
