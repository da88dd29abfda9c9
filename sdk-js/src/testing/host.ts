/* A stand-in for broker on the host channel: grants what a test says, keeps what it is told, answers questions. */

import type { Json } from "./client.ts";

const UI = ["toast", "set_status", "register_command", "ask", "pick", "input", "confirm", "show", "progress"];
const ALWAYS = ["log", "config.get", "state.get", "state.set", "progress", "events.subscribe"];
/** @internal */
export const OPERATIONS = [
  ...UI,
  ...["log", "progress.begin", "progress.report", "progress.end", "config.get", "config.set"],
  ...["secrets.get", "secrets.set", "secrets.delete", "state.get", "state.set", "fs.read", "fs.write", "http.fetch"],
  ...["exec", "call", "editor.active", "editor.read", "editor.edit", "editor.diagnostics", "events.subscribe"],
];
const BOUND = 10_000; // ms for whatever is waited for
const LOOK = 5; // ms between looks at what no message tells of

export interface HostOptions {
  /** Operations, or groups of them (`ui`, `secrets`, `state`, ...); all, if left out. */
  grant?: string[];
  config?: Json;
  secrets?: Record<string, string>;
  /** What the person, or the model, says to the next questions. Without one left a question is closed. */
  answers?: unknown[];
  /** What operations that need a real editor or machine return, or functions of their params. */
  replies?: Record<string, unknown>;
  /** What `ctx.call("plugin", "tool")` returns, under `"plugin.tool"`: a value, or a function of the arguments. */
  tools?: Record<string, unknown>;
}

/** What the host says no to. */
class Refused extends Error {
  readonly code: string;

  constructor(code: string, message: string) {
    super(message);
    this.code = code;
  }
}

/** Broker as far as a plugin sees it. All it was told is here to look at; nothing is shown to anybody. */
export class RecordingHost {
  readonly operations: string[];
  readonly config: Json;
  readonly secrets: Record<string, string>;
  readonly answers: unknown[];
  readonly state: Json = {};
  readonly toasts: string[] = [];
  readonly log: string[] = [];
  readonly status: Record<string, string> = {};
  readonly commands: Record<string, { title: string; description: string }> = {};
  readonly events: string[] = [];
  readonly asked: string[] = [];
  readonly denied: string[] = [];
  /** Every operation with its params, in order. */
  readonly requests: [operation: string, params: Json][] = [];
  readonly #replies: Record<string, unknown>;
  readonly #tools: Record<string, unknown>;
  readonly #running = new Map<number, (answer: Json) => void>();
  readonly #waiting = new Set<() => void>();
  #numbers = 0;
  #send: (line: string) => void = () => {};

  /** @internal */
  constructor({ grant, config, secrets, answers, replies, tools }: HostOptions = {}) {
    this.operations = OPERATIONS.filter((each) => grant === undefined || granted(each, new Set(grant)));
    this.config = { ...config };
    this.secrets = { ...secrets };
    this.answers = [...(answers ?? [])];
    this.#replies = { ...replies };
    this.#tools = { ...tools };
  }

  // The channel

  /** Greet the plugin at the other end of a new channel, to which `send` writes a line. @internal */
  open(plugin: string, send: (line: string) => void): void {
    this.#send = send;
    this.#write({ method: "hello", params: { version: 1, plugin, operations: this.operations, config: this.config } });
  }

  /** A line of the plugin's. @internal */
  hear(line: string): void {
    const message = JSON.parse(line) as Json;
    if (!("method" in message)) this.#running.get(message.id)?.(message);
    else if ("id" in message) this.#reply(message);
    for (const look of this.#waiting) look();
  }

  /** The plugin's whole answer to a command. @internal */
  async run(command: string, given: unknown[]): Promise<Json> {
    const id = ++this.#numbers;
    const answer = new Promise<Json>((resolve) => this.#running.set(id, resolve));
    this.#write({ id, method: "command/run", params: { name: command, arguments: given } });
    return bounded(answer, BOUND, `no answer to command ${command}`).finally(() => this.#running.delete(id));
  }

  /** Tell the plugin of an event, whether it subscribed or not. */
  emit(event: string, params: Json): void {
    this.#write({ method: "event", params: { name: event, params } });
  }

  /** Wait until something is so that the plugin brings about; an error after 10 seconds. */
  async until(so: () => boolean, otherwise = "it did not come about"): Promise<void> {
    if (so()) return;
    let stop = (): void => {};
    const came = new Promise<void>((resolve, reject) => {
      const look = (): void => {
        try {
          if (so()) resolve();
        } catch (error) {
          reject(error);
        }
      };
      const timer = setInterval(look, LOOK);
      this.#waiting.add(look);
      stop = () => {
        clearInterval(timer);
        this.#waiting.delete(look);
      };
    });
    await bounded(came, BOUND, otherwise).finally(stop);
  }

  #write(body: Json): void {
    this.#send(JSON.stringify({ jsonrpc: "2.0", ...body }));
  }

  #reply(message: Json): void {
    const { _meta, ...params } = (message.params ?? {}) as Json;
    Promise.resolve()
      .then(() => this.#do(message.method, params))
      .then((result = null) => this.#write({ id: message.id, result }))
      .catch((error: unknown) => {
        const code = error instanceof Refused ? error.code : "host-failed";
        const data = { code, hint: "" };
        this.#write({ id: message.id, error: { code: -32000, message: (error as Error).message, data } });
      });
  }

  // What it does

  #do(operation: string, params: Json): unknown {
    this.requests.push([operation, params]);
    if (!this.operations.includes(operation)) {
      this.denied.push(operation);
      throw new Refused("permission-missing", `\`${operation}\` was not granted`);
    }
    if (operation in this.#replies) return made(this.#replies[operation], params);
    const does = this.#does[operation];
    if (does === undefined) {
      throw new Refused("not-in-client", `\`${operation}\` has no reply here; give one in \`replies\``);
    }
    return does(params);
  }

  readonly #does: Record<string, (params: Json) => unknown> = {
    log: ({ message }) => void this.log.push(message),
    toast: ({ title, message }) => {
      this.toasts.push(message ? `${title}: ${message}` : title);
      return SHOWN;
    },
    set_status: ({ key, value }) => {
      if (value) this.status[key] = value;
      else delete this.status[key];
      return SHOWN;
    },
    register_command: ({ name, title = "", description = "" }) => {
      this.commands[name] = { title, description };
      return SHOWN;
    },
    progress: () => SHOWN,
    "progress.begin": () => SHOWN,
    "progress.report": () => ({ ...SHOWN, cancelled: false }),
    "progress.end": () => SHOWN,
    "config.get": ({ key }) => (key === undefined ? this.config : this.config[key]),
    "config.set": ({ key, value }) => void (this.config[key] = value),
    "secrets.get": ({ name }) => ({ value: this.secrets[name] ?? null }),
    "secrets.set": ({ name, value }) => void (this.secrets[name] = value),
    "secrets.delete": ({ name }) => {
      const deleted = name in this.secrets;
      delete this.secrets[name];
      return { deleted };
    },
    "state.get": ({ key }) => this.state[key],
    "state.set": ({ key, value }) => void (this.state[key] = value),
    "events.subscribe": ({ names }) => {
      const all = new Set([...this.events, ...names]);
      this.events.splice(0, Infinity, ...[...all].sort());
      return { names: this.events };
    },
    call: async ({ plugin, tool, arguments: given }) => {
      const name = `${plugin}.${tool}`;
      if (!(name in this.#tools)) throw new Refused("not-found", `there is no ${name}; give it in \`tools\``);
      const value = await made(this.#tools[name], given);
      if (typeof value === "string") return { content: [{ type: "text", text: value }] };
      return { content: [], structuredContent: value };
    },
    pick: ({ message }) => ({ value: this.answer(message) }),
    input: ({ message }) => ({ value: this.answer(message) }),
    confirm: ({ message }) => ({ confirmed: Boolean(this.answer(message)) }),
    ask: ({ message, schema }) => elicited(this.answer(message), schema ?? {}),
  };

  /** The next of the test's answers; null is a person who closes the question. @internal */
  answer(message: string): unknown {
    this.asked.push(message);
    return this.answers.shift() ?? null;
  }
}

const SHOWN = { shown: true };

/** A test's answer as a client gives it: a value alone is that of the only field. @internal */
export function elicited(answer: unknown, schema: Json): Json {
  if (answer === null) return { action: "cancel" };
  if (typeof answer === "object" && !Array.isArray(answer)) return { action: "accept", content: answer };
  const [field = "value"] = Object.keys(schema.properties ?? {});
  return { action: "accept", content: { [field]: answer } };
}

/** What a promise gives, or an error when it has not within so many milliseconds. @internal */
export function bounded<T>(promise: Promise<T>, bound: number, otherwise: string): Promise<T> {
  let timer: ReturnType<typeof setTimeout>;
  const late = new Promise<never>((_, reject) => {
    timer = setTimeout(() => reject(new Error(`${otherwise} within ${bound / 1000} s`)), bound);
  });
  return Promise.race([promise, late]).finally(() => clearTimeout(timer));
}

function made(value: unknown, given: Json): unknown {
  return typeof value === "function" ? value(given) : value;
}

function granted(operation: string, names: Set<string>): boolean {
  const groups = [operation, operation.split(".")[0]!, UI.includes(operation) ? "ui" : operation];
  return ALWAYS.includes(operation) || groups.some((each) => names.has(each));
}
