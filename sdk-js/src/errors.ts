/* What a plugin may throw, and what may be thrown at it. */

/**
 * A failure whose text is for the model and the person: say what went wrong and what to do.
 *
 * Of any other error nobody but the author learns more than that it happened.
 */
export class ToolError extends Error {
  override name = "ToolError";
}

/** The client of this call has no way to ask what was to be asked. */
export class CannotAsk extends ToolError {
  override name = "CannotAsk";
  /** What it lacks, as MCP names it. */
  readonly capability: string;

  constructor(capability: string) {
    super(`this client cannot be asked: it has no ${capability}`);
    this.capability = capability;
  }
}

/** The broker refused or failed what the plugin asked of it. */
export class HostError extends ToolError {
  override name = "HostError";
  /** The error's name in the table of host operations (`permission-missing`, `not-in-client`, ...). */
  readonly code: string;
  /** What the person can do about it, or nothing. */
  readonly hint: string;

  constructor(message: string, code = "host-failed", hint = "") {
    super(hint ? `${message} (${hint})` : message);
    this.code = code;
    this.hint = hint;
  }
}

/** The plugin runs in a client that is not broker, and this has no replacement there. */
export class HostUnavailable extends HostError {
  override name = "HostUnavailable";

  constructor(operation: string) {
    super(`\`${operation}\` needs broker, and this plugin runs without it`, "host-unavailable");
  }
}

/** A tool, resource, prompt or command that cannot be described to a client; says which and what to change. */
export class Misdeclared extends TypeError {
  override name = "Misdeclared";
}

/** Becomes a JSON-RPC error. For authors of resources and completions: `ToolError` is enough nearly always. */
export class Refusal extends Error {
  override name = "Refusal";
  readonly code: number;
  readonly data: unknown;

  constructor(code: number, message: string, data?: unknown) {
    super(message);
    this.code = code;
    this.data = data;
  }
}

/** @internal Arguments that do not fit; the text is for who called. */
export class BadArguments extends Error {
  override name = "BadArguments";
}

/** @internal */
export const PARSE = -32700;
/** @internal */
export const REQUEST = -32600;
/** @internal */
export const METHOD = -32601;
/** @internal */
export const PARAMS = -32602;
/** @internal */
export const INTERNAL = -32603;
/** @internal MCP 2026-07-28. */
export const MISSING_CAPABILITY = -32021;
/** @internal */
export const UNSUPPORTED_VERSION = -32022;
/** @internal A resource, before 2026-07-28. */
export const NOT_FOUND = -32002;
