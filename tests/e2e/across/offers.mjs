// What the TypeScript servers of the cross-era suite do, whatever SDK speaks for them: the twin of offers.py.
// `hand` is one request as an SDK sees it: { modern, asks, meta, answers, state, signal, ask, progress, log, visited,
// updated, changed }. Where `asks` is true, a question leaves as a thrown `Asking`.
import { readFileSync } from "node:fs";
import { setTimeout as after } from "node:timers/promises";

export const TOLD = JSON.parse(readFileSync(new URL("offers.json", import.meta.url)));
const LEVELS = ["debug", "info", "notice", "warning", "error", "critical", "alert", "emergency"];
const BOUND = 5_000; // milliseconds that a cancellation may take to arrive

export class Refused extends Error {
  constructor({ code, message, data }) {
    super(message);
    Object.assign(this, { code, data });
  }
}

export class Asking extends Error {
  constructor(inputRequests, requestState) {
    super("input required");
    this.result = { resultType: "input_required", inputRequests, requestState };
  }
}

const texts = (value) => ({ content: [{ type: "text", text: JSON.stringify(value) }] });

/**
 * One server's state. One that runs tasks is of 2025-11-25, where a page to visit first is an error; one that is
 * `modern` speaks nothing else, so it may offer what only 2026-07-28 has.
 */
export class Offers {
  level = "debug";
  subscribed = new Set();
  rootsChanged = 0;
  #paid = false;
  #heard = later();

  constructor({ tasks = false, modern = false } = {}) {
    this.refusesUnpaid = tasks;
    const execution = { taskSupport: "optional" };
    const tools = TOLD.tools.map((tool) => (tasks && tool.name === "job" ? { ...tool, execution } : tool));
    this.lists = {
      tools: [...tools, ...(modern ? TOLD.modern : [])],
      resources: [...TOLD.resources],
      resourceTemplates: [...TOLD.templates],
      prompts: [...TOLD.prompts],
    };
  }

  page(kind, cursor) {
    const start = Number(cursor ?? 0);
    const end = start + TOLD.page;
    const more = end < this.lists[kind].length ? { nextCursor: `${end}` } : {};
    return { [kind]: this.lists[kind].slice(start, end), ...more };
  }

  async call(name, args, hand) {
    const told = TOLD.calls[name] ?? {};
    if (told.error) throw new Refused(told.error);
    if (told.result) return told.result;
    if (told.rounds) return texts(await asked(told.rounds, hand));
    const job = this.jobs[name];
    if (!job) throw new Refused({ code: -32602, message: `Unknown tool: ${name}` });
    return job(args, hand);
  }

  async read(uri, hand) {
    if (TOLD.reads[uri]) return TOLD.reads[uri];
    if (uri === "demo://ask") {
      const text = JSON.stringify(await asked(TOLD.calls.ask_form.rounds, hand));
      return { contents: [{ uri, mimeType: "application/json", text }] };
    }
    const item = /^demo:\/\/item\/(\w+)$/.exec(uri);
    const code = hand.modern ? -32602 : -32002;
    if (!item) throw new Refused({ code, message: "Resource not found", data: { uri } });
    return { contents: [{ uri, mimeType: "text/plain", text: `item ${item[1]}` }] };
  }

  async get(name, args, hand) {
    if (name === "ask") {
      const text = JSON.stringify(await asked(TOLD.calls.ask_form.rounds, hand));
      return { messages: [{ role: "user", content: { type: "text", text } }] };
    }
    if (!TOLD.gets[name]) throw new Refused({ code: -32602, message: `Unknown prompt: ${name}` });
    return JSON.parse(JSON.stringify(TOLD.gets[name]).replaceAll("{name}", args.name ?? ""));
  }

  complete(argument, others) {
    const values =
      argument.name === "style"
        ? [`as ${others.name} likes it`]
        : TOLD.completions[argument.name].filter((each) => each.startsWith(argument.value));
    return { completion: { values, total: values.length, hasMore: false } };
  }

  jobs = {
    add: async ({ a, b }) => ({ ...texts({ sum: a + b }), structuredContent: { sum: a + b } }),
    meta: async (_, hand) => ({ ...texts(hand.meta), _meta: { "example.org/answer": true } }),
    pay: async (_, hand) => {
      if (!this.refusesUnpaid) await asked(TOLD.calls.ask_page.rounds, hand);
      else if (!this.#paid) {
        this.#paid = true;
        throw new Refused(TOLD.required);
      }
      return texts({ paid: true });
    },
    log: async (_, hand) => {
      for (const level of ["info", "error"]) {
        const wanted = hand.modern || LEVELS.indexOf(level) >= LEVELS.indexOf(this.level);
        if (wanted) await hand.log(level, { line: [level] }, "offers");
      }
      return texts({});
    },
    wait: async (_, hand) => {
      hand.signal.addEventListener("abort", () => this.#heard.resolve(true));
      for (const step of [1, 2, 3]) await hand.progress(step, 4, `step ${step}`);
      await this.#heard.promise;
      return texts({});
    },
    heard: async () => {
      const cancelled = await Promise.race([this.#heard.promise, after(BOUND, false, { ref: false })]);
      return texts({ cancelled, roots: this.rootsChanged });
    },
    touch: async ({ uri }, hand) => {
      if (hand.modern || this.subscribed.has(uri)) await hand.updated(uri);
      return texts({});
    },
    change: async ({ what }, hand) => {
      this.lists[what] = [...this.lists[what], TOLD.extra[what]];
      await hand.changed(what);
      return texts({});
    },
    ping: async (_, hand) => texts(hand.modern ? {} : await hand.ask("ping")),
  };
}

function later() {
  const found = {};
  found.promise = new Promise((resolve) => (found.resolve = resolve));
  return found;
}

/** The answers to the questions of all rounds, the questions of a round together. */
async function asked(rounds, hand) {
  const answers = { ...(hand.state ? JSON.parse(hand.state) : {}), ...hand.answers };
  for (const questions of rounds) {
    const open = Object.entries(questions).filter(([key]) => !(key in answers));
    if (open.length && hand.asks) {
      throw new Asking(Object.fromEntries(open.map(([key, each]) => [key, modern(each)])), JSON.stringify(answers));
    }
    await Promise.all(
      open.map(async ([key, { method, params }]) => {
        answers[key] = await hand.ask(method, params);
        if (params?.elicitationId) await hand.visited(params.elicitationId);
      }),
    );
  }
  return answers;
}

/** A question as 2026-07-28 has it: a page to visit has no id. */
function modern({ method, params }) {
  if (!params) return { method };
  const { elicitationId, ...rest } = params;
  return { method, params: rest };
}
