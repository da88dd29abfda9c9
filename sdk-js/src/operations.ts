// Written by `python -m broker.authoring.stubs` from the table of operations (`broker/core/host.json`).

export interface Log {
  // at most 8192 characters
  message: string;
  // "info" if unsaid
  level?: "debug" | "error" | "info" | "warn";
}

export interface Toast {
  // at most 200 characters
  title: string;
  // at most 1000 characters
  message?: string;
  // "info" if unsaid
  kind?: "error" | "info" | "warn";
}

export interface Shown {
  shown: boolean;
}

export interface RegisterCommand {
  // like ^[A-Za-z0-9_.-]{1,64}$
  name: string;
  // at most 200 characters
  title?: string;
  // at most 1000 characters
  description?: string;
  // at most 256 characters
  handler?: string;
}

export interface SetStatus {
  // like ^[A-Za-z0-9_.-]{1,64}$
  key: string;
  // at most 200 characters
  value: string;
}

export interface Progress {
  progress: number;
  total?: number | null;
  // at most 1000 characters
  message?: string | null;
}

export interface ConfigGet {
  // at most 256 characters
  key?: string | null;
}

export interface ConfigSet {
  // at most 256 characters
  key: string;
  value: string | number | boolean | unknown[] | null;
}

export interface Secret {
  // like ^[A-Za-z0-9_.-]{1,64}$
  name: string;
}

export interface Held {
  value: string | null;
}

export interface SecretSet {
  // like ^[A-Za-z0-9_.-]{1,64}$
  name: string;
  // at most 4096 characters
  value: string;
}

export interface Deleted {
  deleted: boolean;
}

export interface StateGet {
  // at most 256 characters
  key: string;
}

export interface StateSet {
  // at most 256 characters
  key: string;
  value: unknown;
}

export interface Read {
  // at most 4096 characters
  path: string;
  // from 0; 0 if unsaid
  offset?: number;
  // "utf-8" if unsaid
  encoding?: "base64" | "utf-8";
}

export interface FileText {
  size: number;
  text?: string;
  base64?: string;
}

export interface Write {
  // at most 4096 characters
  path: string;
  // at most 1048576 characters
  text?: string;
  // at most 1048576 characters
  base64?: string;
  // false if unsaid
  append?: boolean;
}

export interface FileSize {
  size: number;
}

export interface Fetch {
  // at most 8192 characters
  url: string;
  // "GET" if unsaid
  method?: "DELETE" | "GET" | "HEAD" | "PATCH" | "POST" | "PUT";
  headers?: Record<string, string>;
  // at most 1048576 characters
  body?: string;
  // more than 0; up to 60; 20.0 if unsaid
  timeout?: number;
  // "utf-8" if unsaid
  encoding?: "base64" | "utf-8";
}

export interface Page {
  status: number;
  headers: Record<string, string>;
  body?: string;
  base64?: string;
}

export interface Exec {
  // at most 256 of them
  command: string[];
  // at most 1048576 characters
  input?: string;
  // more than 0; up to 120.0; 10.0 if unsaid
  timeout?: number;
}

export interface Output {
  code: number;
  stdout: string;
  stderr: string;
}

export interface CallTool {
  // like ^[a-z0-9-]{1,32}$
  plugin: string;
  // at most 256 characters
  tool: string;
  arguments?: Record<string, unknown>;
}

export interface Ask {
  // at most 1000 characters
  message: string;
  schema?: Record<string, unknown> | null;
  // at most 50 of them
  choices?: string[];
}

export interface Answer {
  action: "accept" | "cancel" | "decline";
  content?: Record<string, unknown> | null;
}

export interface Pick {
  // at most 1000 characters
  message: string;
  // at most 200 of them
  items: string[];
}

export interface Chosen {
  value: string | null;
}

export interface Input {
  // at most 1000 characters
  message: string;
  // at most 1000 characters
  default?: string;
  // false if unsaid
  secret?: boolean;
}

export interface Confirm {
  // at most 1000 characters
  message: string;
  // at most 60 characters; "Yes" if unsaid
  yes?: string;
  // at most 60 characters; "No" if unsaid
  no?: string;
}

export interface Confirmed {
  confirmed: boolean;
}

export interface Show {
  // at most 8192 characters
  uri: string;
  range?: Range | null;
  // true if unsaid
  focus?: boolean;
}

export interface Range {
  start: Position;
  end: Position;
}

/** Both count from 0; characters are UTF-16 code units, as in the language server protocol. */
export interface Position {
  // from 0; up to 2147483647
  line: number;
  // from 0; up to 2147483647
  character: number;
}

/** Work beside any call; `id` is the plugin's own name for it. */
export interface Begin {
  // like ^[A-Za-z0-9_.-]{1,64}$
  id: string;
  // at most 200 characters
  title: string;
  // at most 1000 characters
  message?: string;
  // false if unsaid
  cancellable?: boolean;
}

export interface Report {
  // like ^[A-Za-z0-9_.-]{1,64}$
  id: string;
  // at most 1000 characters
  message?: string | null;
  // from 0; up to 100
  percentage?: number | null;
}

export interface Reported {
  shown: boolean;
  cancelled: boolean;
}

export interface Finish {
  // like ^[A-Za-z0-9_.-]{1,64}$
  id: string;
  // at most 1000 characters
  message?: string;
}

export type Active = Record<string, never>;

export interface Document {
  uri: string;
  languageId?: string;
  version?: number | null;
  selection?: Range | null;
}

export interface ReadDocument {
  // at most 8192 characters
  uri: string;
}

export interface DocumentText {
  uri: string;
  text: string;
  languageId?: string;
  version?: number | null;
}

export interface Edit {
  // at most 200 of them
  changes: Record<string, TextEdit[]>;
  // at most 200 characters
  label?: string;
}

export interface TextEdit {
  range: Range;
  // at most 1048576 characters
  newText: string;
}

export interface Applied {
  applied: boolean;
  reason?: string;
}

/** All that the plugin says of a document, in the place of what it said before. */
export interface Diagnostics {
  // at most 8192 characters
  uri: string;
  // at most 1000 of them
  diagnostics: Diagnostic[];
}

export interface Diagnostic {
  range: Range;
  // at most 4096 characters
  message: string;
  // "warning" if unsaid
  severity?: "error" | "hint" | "info" | "warning";
  // at most 200 characters
  code?: string;
  // at most 10 of them
  fixes?: Fix[];
}

/** One way to get rid of a diagnostic. */
export interface Fix {
  // at most 200 characters
  title: string;
  // at most 1000 of them
  edits?: TextEdit[];
  // at most 64 characters
  command?: string;
}

export interface Subscribe {
  // at most 10 of them
  names: ("config.changed" | "document.closed" | "document.opened" | "document.saved" | "progress.cancelled" | "workspace.changed")[];
}

export interface Subscribed {
  names: string[];
}

/** Each operation of the host: what it is given, and what it gives back. */
export interface Operations {
  /** Writes a line to the plugin's log, and sends it to the client. */
  "log": { params: Log; result: null };
  /** Shows a short message to the person. Needs `ui:toast`. */
  "toast": { params: Toast; result: Shown };
  /** Offers a command to the person; the plugin is asked `command/run` when it is run. Needs `ui:command`. */
  "register_command": { params: RegisterCommand; result: Shown };
  /** Shows a short text beside the plugin's name, as long as the plugin runs. Needs `ui:status`. */
  "set_status": { params: SetStatus; result: Shown };
  /** Tells the caller how far its call is. */
  "progress": { params: Progress; result: Shown };
  /** An option of the plugin's own configuration, or all of them. */
  "config.get": { params: ConfigGet; result: unknown };
  /** Changes an option of the plugin's own configuration, in its user's file; null takes the change back. Needs `ui:config`. */
  "config.set": { params: ConfigSet; result: null };
  /** A secret from the keyring of the system, or null. Needs `secrets:NAME`. */
  "secrets.get": { params: Secret; result: Held };
  /** Keeps a secret in the keyring of the system. Needs `secrets:NAME`. */
  "secrets.set": { params: SecretSet; result: null };
  /** Forgets a secret. Needs `secrets:NAME`. */
  "secrets.delete": { params: Secret; result: Deleted };
  /** What the plugin kept under a key, or null. */
  "state.get": { params: StateGet; result: unknown };
  /** Keeps a value under a key, also after the broker ends; null takes it away. */
  "state.set": { params: StateSet; result: null };
  /** A piece of a file, of 512 KiB at most, and how long the file is. Needs `read:PATH`. */
  "fs.read": { params: Read; result: FileText };
  /** Writes or appends to a file, which is made if need be. Needs `write:PATH`. */
  "fs.write": { params: Write; result: FileSize };
  /** Makes one request. Redirects are not followed, and an answer may have 512 KiB. Needs `net:HOST:PORT`. */
  "http.fetch": { params: Fetch; result: Page };
  /** Runs a program, held to what the plugin may do, and returns what it wrote. Needs `run:PROGRAM`. */
  "exec": { params: Exec; result: Output };
  /** Calls a tool of another plugin, for whoever called this one; its result is as MCP has it. Needs `call:PLUGIN`. */
  "call": { params: CallTool; result: Record<string, unknown> };
  /** Asks the person who made the call. Needs `ui:ask`. */
  "ask": { params: Ask; result: Answer };
  /** Has the person choose one of some texts. Needs `ui:ask`. */
  "pick": { params: Pick; result: Chosen };
  /** Has the person type a line. Needs `ui:ask`. */
  "input": { params: Input; result: Chosen };
  /** Asks the person yes or no. Needs `ui:ask`. */
  "confirm": { params: Confirm; result: Confirmed };
  /** Opens a file in the editor, perhaps at a place in it, or a page of https in the browser. Needs `ui:show`. */
  "show": { params: Show; result: Shown };
  /** Shows that the plugin works at something beside any call; the event `progress.cancelled` may follow. Needs `ui:status`. */
  "progress.begin": { params: Begin; result: Shown };
  /** Says how far that work is, and hears whether its person wants it to end. Needs `ui:status`. */
  "progress.report": { params: Report; result: Reported };
  /** Says that it is over. What a plugin leaves open ends with it. Needs `ui:status`. */
  "progress.end": { params: Finish; result: Shown };
  /** The document that the person works on, or null. Needs `ui:documents`. */
  "editor.active": { params: Active; result: Document | null };
  /** The text of an open document, as the person sees it. Needs `ui:documents`. */
  "editor.read": { params: ReadDocument; result: DocumentText };
  /** Edits documents in the editor: open ones, or files that the plugin may write to. Needs `ui:edit`. */
  "editor.edit": { params: Edit; result: Applied };
  /** Marks places in a document, perhaps with fixes to choose from; fixes that edit need ui:edit too. Needs `ui:diagnostics`. */
  "editor.diagnostics": { params: Diagnostics; result: Shown };
  /** Has the plugin told of these, as long as it runs; config.changed and progress.cancelled need nothing. Needs `ui:documents`. */
  "events.subscribe": { params: Subscribe; result: Subscribed };
}

/** The name of an operation. */
export type Operation = keyof Operations;
/** What an operation is given. */
export type ParamsOf<O extends Operation> = Operations[O]["params"];
/** What an operation gives back. */
export type ResultOf<O extends Operation> = Operations[O]["result"];
