// What a plugin of broker has to have, and its host: what plugin.ts offers is listed and called from here.
// Broker asks in JSON and is answered in JSON; an instance that was asked is thrown away after its answer.

/** One value of JSON where it stands, with its quotes or brackets; nothing for none. */
export class Json {
  constructor(readonly raw: string) {}

  /** A member of an object; none if there is none. */
  get(key: string): Json {
    if (!this.raw.startsWith("{")) return new Json("");
    let at = after(this.raw, 1, " \n\r\t");
    while (this.raw.charAt(at) != "}") {
      const name = new Json(this.raw.substring(at, afterValue(this.raw, at)));
      at = after(this.raw, at + name.raw.length, " \n\r\t:");
      const value = new Json(this.raw.substring(at, afterValue(this.raw, at)));
      if (name.text == key) return value;
      at = after(this.raw, at + value.raw.length, " \n\r\t,");
    }
    return new Json("");
  }

  /** The text; nothing of what is none. */
  get text(): string {
    if (!this.raw.startsWith('"')) return "";
    let text = "";
    const end = this.raw.length - 1;
    for (let at = 1; at < end; at++) {
      const letter = this.raw.charAt(at);
      if (letter != "\\") {
        text += letter;
        continue;
      }
      const code = this.raw.charAt(++at);
      const place = "bfnrt".indexOf(code);
      if (code == "u") {
        text += String.fromCharCode(<i32>parseInt(this.raw.substr(at + 1, 4), 16));
        at += 4;
      } else text += place >= 0 ? "\b\f\n\r\t".charAt(place) : code;
    }
    return text;
  }

  /** The number; NaN of what is none. */
  get number(): f64 {
    return parseFloat(this.raw);
  }
}

/** The first place from `at` on where none of these letters is. */
function after(raw: string, at: i32, letters: string): i32 {
  while (letters.includes(raw.charAt(at))) at++;
  return at;
}

/** Where a value ends that begins at `at`. */
function afterValue(raw: string, at: i32): i32 {
  let depth = 0;
  do {
    const letter = raw.charAt(at);
    if (letter == '"') {
      for (at++; raw.charAt(at) != '"'; at++) if (raw.charAt(at) == "\\") at++;
    } else if ("{[".includes(letter)) depth++;
    else if ("}]".includes(letter)) depth--;
    else if (depth == 0) while (!",}] \n\r\t".includes(raw.charAt(at + 1))) at++;
    at++;
  } while (depth > 0);
  return at;
}

/** A text as JSON. */
export function quoted(text: string): string {
  let json = '"';
  for (let at = 0; at < text.length; at++) {
    const code = text.charCodeAt(at);
    if (code == 0x22 || code == 0x5c) json += "\\";
    json += code < 0x20 ? "\\u" + code.toString(16).padStart(4, "0") : text.charAt(at);
  }
  return json + '"';
}

/**
 * A tool. `input` is the JSON Schema of its arguments, which broker has checked before `run` sees them; `run` is given
 * them and the plugin's configuration, and gives any JSON, or `fail("why")`.
 */
export class Tool {
  hints: string = "";

  constructor(
    readonly name: string,
    readonly description: string,
    readonly input: string,
    readonly run: (given: Json, config: Json) => string,
  ) {}

  readOnly(): Tool {
    this.hints = ',"annotations":{"readOnlyHint":true}';
    return this;
  }

  get listed(): string {
    const words = `"name":${quoted(this.name)},"description":${quoted(this.description)}`;
    return `{${words},"inputSchema":${this.input}${this.hints}}`;
  }
}

const tools: Tool[] = [];
let failure: string | null = null;

export function offer(tool: Tool): void {
  tools.push(tool);
}

/** Tells the model this instead of a result. */
export function fail(message: string): string {
  failure = message;
  return "null";
}

export const ERROR = 0;
export const WARNING = 1;
export const INFO = 2;
export const DEBUG = 3;

@external("host", "log")
declare function hostLog(level: i32, at: usize, size: i32): void;
@external("host", "call")
declare function hostCall(at: usize, size: i32): i64;

/** One line for `broker log`. */
export function log(level: i32, text: string): void {
  const bytes = String.UTF8.encode(text);
  hostLog(level, changetype<usize>(bytes), bytes.byteLength);
}

/**
 * One operation of the host, such as "state.get", with its params as JSON; what it may do stands under `[permissions]`
 * in plugin.toml. Gives `{"result": …}` or `{"error": {"code", "message", "hint"}}`.
 */
export function call(op: string, params: string): Json {
  const bytes = String.UTF8.encode(`{"op":${quoted(op)},"params":${params}}`);
  const packed = hostCall(changetype<usize>(bytes), bytes.byteLength);
  return new Json(String.UTF8.decodeUnsafe(<usize>(packed >> 32), <usize>(packed & 0xffffffff)));
}

function answered(request: Json): string {
  const op = request.get("op").text;
  if (op == "tools/list") {
    return `{"result":{"tools":[${tools.map<string>((tool: Tool): string => tool.listed).join(",")}]}}`;
  }
  if (op != "tools/call") return '{"error":{"code":"unknown-op","message":"There is no such operation."}}';
  const params = request.get("params");
  const name = params.get("name").text;
  failure = "There is no such tool.";
  let result = "null";
  for (let nth = 0; nth < tools.length; nth++) {
    if (tools[nth].name != name) continue;
    failure = null;
    result = tools[nth].run(params.get("arguments"), request.get("config"));
  }
  const why = failure;
  return why === null ? `{"result":${result}}` : `{"error":{"code":"failed","message":${quoted(why)}}}`;
}

// What broker calls

export function alloc(size: i32): usize {
  return heap.alloc(size);
}

export function protocol_version(): i32 {
  return 1;
}

export function handle(at: usize, size: i32): i64 {
  const answer = String.UTF8.encode(answered(new Json(String.UTF8.decodeUnsafe(at, size))));
  return ((<i64>changetype<usize>(answer)) << 32) | (<i64>answer.byteLength);
}

export function abort(message: string | null, file: string | null, line: u32, column: u32): void {
  if (message !== null) log(ERROR, `${message} (${file === null ? "" : file}:${line})`);
  unreachable();
}
