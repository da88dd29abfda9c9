// What `broker lsp` and this extension say to each other beyond LSP.

import { NotificationType, RequestType, RequestType0 } from "vscode-languageclient/node";
import type { Range } from "vscode-languageclient/node";

export interface Plugin {
  name: string;
  state: string;
  failure?: string;
  hint?: string;
  notes?: Record<string, string>;
}

export interface Status {
  plugins: Plugin[];
  state: "ready" | "starting" | "failing" | "empty";
  text: string;
}

export interface Command {
  plugin: string;
  name: string; // plugin.command, as broker.run takes it
  title: string;
  description: string;
}

export interface Tool {
  name: string;
  description?: string;
  inputSchema?: { properties?: Record<string, { type?: string }>; required?: string[] };
}

export interface Offers {
  commands: Command[];
  plugins: Plugin[];
  tools: Tool[];
}

export interface Pick {
  plugin: string;
  title: string;
  items: { label: string; description?: string }[];
  many: boolean;
}

export interface Input {
  plugin: string;
  title: string;
  value: string;
  placeholder: string;
  secret: boolean;
}

export interface Active {
  uri: string;
  range: Range;
  languageId: string;
}

// Every request of the broker may be answered with null: the person dismissed it.
export const pick = new RequestType<Pick, { indexes: number[] } | null, never>("broker/pick");
export const input = new RequestType<Input, { value: string } | null, never>("broker/input");
export const active = new RequestType<object, Active | null, never>("broker/active");
export const list = new RequestType0<Offers, never>("broker/list");
export const status = new NotificationType<Status>("broker/status");
export const trust = new NotificationType<{ trusted: boolean }>("broker/trust");

// What this extension asks for in `initializationOptions`; the broker sends nothing of it to clients that do not.
export const wishes = { status: true, results: true, pick: true, input: true, active: true };
