/* What broker asks of a plugin and tells it beside MCP: commands, events and hooks; and its start and its end. */

import type { Call } from "./calls.ts";
import { Course, Errand } from "./course.ts";
import type { Listener } from "./definitions.ts";
import { BadArguments, HostError, METHOD, PARAMS, Refusal, ToolError } from "./errors.ts";
import type { Served } from "./host.ts";
import { Change, Deny } from "./plugin.ts";
import type { Json } from "./schema.ts";
import { ENDING } from "./server.ts";
import type { Server } from "./server.ts";
import { isObject } from "./validate.ts";
import type { Id } from "./wire.ts";

const COMMAND = "command/run";
const MOST_HEARD = 64; // events that wait for their listeners; more are dropped

/** Of one server. */
export class Beside implements Served {
  readonly #server: Server;
  readonly #nobody = new Course();
  #hearing = 0;
  #atEnd: (() => unknown) | undefined;

  constructor(server: Server) {
    this.#server = server;
  }

  // Start and end

  /** Run what the plugin starts with, then tell broker what it offers beside tools. */
  async start(): Promise<void> {
    const { start } = this.#server.plugin;
    const atEnd = start === undefined ? undefined : await this.#server.run(() => start(this.#server.ctx()));
    if (typeof atEnd === "function") this.#atEnd = atEnd as () => unknown;
    void this.#introduce();
  }

  /** Run what it ends with, for a moment; a failure there keeps nothing else from it. */
  async stop(): Promise<void> {
    const { stop } = this.#server.plugin;
    const works: [string, (() => unknown) | undefined][] = [
      ["what `start` returned", this.#atEnd],
      ["stop", stop && (() => stop(this.#server.ctx()))],
    ];
    for (const [what, work] of works) if (work !== undefined) await this.#tried(what, work);
  }

  async #tried(what: string, work: () => unknown): Promise<void> {
    let timer: ReturnType<typeof setTimeout> | undefined;
    const late = new Promise<void>((resolve) => {
      timer = setTimeout(() => {
        this.#server.complain("what it ends with takes too long");
        resolve();
      }, ENDING * 1000);
    });
    try {
      await Promise.race([Promise.resolve().then(work), late]);
    } catch (error) {
      this.#server.failed(what, error);
    }
    clearTimeout(timer);
  }

  async #introduce(): Promise<void> {
    await this.#server.host.ready();
    await this.register();
    const names = new Set([...this.#server.plugin.listeners.map((each) => each.event), "config.changed"]);
    // one by one, for each may be refused
    for (const name of [...names].sort()) await this.#ask("events.subscribe", { names: [name] });
  }

  /** Offer the plugin's commands to the person. */
  async register(): Promise<void> {
    for (const [name, command] of [...this.#server.plugin.commands]) {
      await this.#ask("register_command", { ...command.definition(name) });
    }
  }

  async #ask(operation: string, params: Json): Promise<void> {
    const { host } = this.#server;
    if (!host.available || !host.operations.has(operation)) return;
    try {
      await host.request(operation, params, this.#nobody);
    } catch (error) {
      if (host.available) this.#server.complain(`${operation}: ${(error as Error).message}`);
    }
  }

  // Commands

  serve(method: string, params: Json, id: Id): { course: Course; work: Promise<unknown> } {
    const course = new Errand(`{"commandId":${id}}`);
    return { course, work: this.#serve(method, params, course) };
  }

  /** The result of a request of broker. Throws `Refusal`, `ToolError`. */
  async #serve(method: string, params: Json, course: Course): Promise<unknown> {
    if (method !== COMMAND) throw new Refusal(METHOD, `there is no ${method}`);
    const { plugin } = this.#server;
    const asked = String(params.name ?? "");
    const name = plugin.commands.has(asked)
      ? asked
      : asked.slice(asked.startsWith(`${plugin.name}.`) ? plugin.name.length + 1 : 0);
    const command = plugin.commands.get(name);
    if (command === undefined) throw new Refusal(PARAMS, `there is no command "${name}"`);
    try {
      const args = await command.read(name, params.arguments);
      return await this.#server.run(() => command.run(args, this.#server.ctx(course)));
    } catch (error) {
      if (error instanceof BadArguments) throw new Refusal(PARAMS, `command ${name}: ${error.message}`);
      if (error instanceof ToolError || error instanceof Refusal || course.cancelled) throw error;
      this.#server.failed(`command ${name}`, error);
      throw new ToolError(`Error in command ${name}`);
    }
  }

  // Events

  /** Tell the listeners of an event, each in its own time; of a flood some are dropped. */
  hear(event: string, params: Json): void {
    if (event === "config.changed") void this.#reconfigure(params);
    else this.#tell(event, params);
  }

  #tell(event: string, params: Json): void {
    for (const each of this.#server.plugin.listeners) {
      if (each.event !== event || !each.listener.hears(params) || this.#hearing >= MOST_HEARD) continue;
      this.#hearing += 1;
      void this.#heard(each.listener, event, params);
    }
  }

  async #reconfigure(params: Json): Promise<void> {
    const { host } = this.#server;
    try {
      const found: unknown = await host.request("config.get", {}, this.#nobody);
      host.hello.config = isObject(found) ? found : {};
    } catch (error) {
      if (error instanceof HostError) this.#server.complain(`config.get: ${error.message}`);
    }
    this.#tell("config.changed", params);
  }

  async #heard(listener: Listener, event: string, params: Json): Promise<void> {
    try {
      await this.#server.run(() => listener.run(params, this.#server.ctx()));
    } catch (error) {
      this.#server.failed(`the listener of ${event}`, error);
    }
    this.#hearing -= 1;
  }

  // Hooks

  /** What the plugin says to a call of somebody else's. The first no ends it. */
  async hook(given: Json, call: Call): Promise<Json> {
    let event = given;
    const said: Json = {};
    for (const { on, run } of this.#server.plugin.hooks) {
      if (on !== event.type) continue;
      const answer = await this.#server.run(() => run(event, this.#server.ctx(call, call)));
      if (answer instanceof Deny) return { allow: false, reason: answer.reason };
      if (!(answer instanceof Change)) continue;
      Object.assign(said, changed(answer));
      if (answer.arguments !== undefined) event = { ...event, arguments: answer.arguments };
    }
    return said;
  }
}

function changed(answer: Change): Json {
  const said: Json = Object.keys(answer.meta).length > 0 ? { meta: answer.meta } : {};
  if (answer.status !== undefined) said.status = answer.status;
  return answer.arguments === undefined ? said : { ...said, modified: true, arguments: answer.arguments };
}
