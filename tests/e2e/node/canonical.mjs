// Reads frames, one a line, and writes what each says in the spelling of tests/parsing.py.
const chunks = [];
for await (const chunk of process.stdin) chunks.push(chunk);
const data = Buffer.concat(chunks);
const utf8 = new TextDecoder("utf-8", { fatal: true, ignoreBOM: true });
const bits = new DataView(new ArrayBuffer(8));

function units(text) {
  return `"${Buffer.from(text, "utf16le").swap16().toString("hex")}"`;
}

function number(value) {
  bits.setFloat64(0, value);
  return bits.getBigUint64(0).toString(16).padStart(16, "0");
}

function spelled(value) {
  if (typeof value === "number") return number(value);
  if (typeof value === "string") return units(value);
  if (Array.isArray(value)) return `[${value.map(spelled).join(",")}]`;
  if (value === null || typeof value === "boolean") return String(value);
  const members = Object.keys(value).map((name) => [units(name), spelled(value[name])]);
  return `{${members.sort(([one], [other]) => (one < other ? -1 : 1)).map((member) => member.join(":")).join(",")}}`;
}

function read(line) {
  try {
    return spelled(JSON.parse(utf8.decode(line)));
  } catch {
    return "unreadable";
  }
}

const out = [];
for (let start = 0, end; start < data.length; start = end + 1) {
  end = data.indexOf(10, start);
  out.push(read(data.subarray(start, end)));
}
process.stdout.write(out.map((line) => `${line}\n`).join(""));
