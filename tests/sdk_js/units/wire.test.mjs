// Lines to messages and back, without any I/O.
import assert from "node:assert/strict";
import { test } from "node:test";
import { BadLine, decode, encode, errorLine, isBlank, Lines, resultLine, tokenAt } from "../../../sdk-js/src/wire.ts";

const bytes = (text) => Buffer.from(text);
const request = (id) => bytes(`{"jsonrpc":"2.0","id":${id},"method":"ping","params":{}}`);

function refused(line, whole = true) {
  try {
    decode(Buffer.from(line), whole);
  } catch (error) {
    assert.ok(error instanceof BadLine, error);
    return [error.code, error.id];
  }
  assert.fail("it was taken");
}

test("an id keeps its text, however large, and its type", () => {
  for (const id of ["0", "-1", "9007199254740993", "1180591620717411303424", "9".repeat(100), '"7"', '"é"']) {
    assert.equal(decode(request(id)).id, id);
    assert.equal(resultLine(id, {}), `{"jsonrpc":"2.0","id":${id},"result":{}}\n`);
  }
});

test("an id that is no whole number and no text is refused, and told as far as it can be", () => {
  for (const id of ["1.5", "1e0", "true", "{}", "[7]", "1e400"])
    assert.deepEqual(refused(request(id)), [-32600, undefined]);
  assert.deepEqual(refused(request("7.0")), [-32600, "7"]);
  assert.deepEqual(refused(request("007")), [-32700, undefined]);
});

test("numbers within params keep their text too", () => {
  const told = decode(bytes('{"jsonrpc":"2.0","method":"m","params":{"a":{"x":1},"requestId":9007199254740993}}'));
  assert.equal(tokenAt(told, ["params", "requestId"]), "9007199254740993");
  assert.equal(tokenAt(told, ["params", "a", "x"]), "1");
  assert.equal(tokenAt(told, ["params", "a"]), undefined);
});

test("what is wrong with a line is said under its id", () => {
  assert.deepEqual(refused('{"jsonrpc":"2.0","id":7,"method":"m","params":NaN}'), [-32700, "7"]);
  assert.deepEqual(refused('{"jsonrpc":"2.0","id":7,"method":"m","params":{"a":"\\ud800"}}'), [-32700, "7"]);
  assert.deepEqual(refused('{"jsonrpc":"2.0","id":7,"method":"m","id":8}'), [-32600, "7"]);
  assert.deepEqual(refused('{"jsonrpc":"2.0","id":7,"method":"m","\\u0069d":8}'), [-32600, "7"]);
  assert.deepEqual(refused(`{"jsonrpc":"2.0","id":7,"method":"m","params":${"[".repeat(200)}`), [-32600, "7"]);
  assert.deepEqual(refused(Buffer.from([0x7b, 0xff, 0x7d])), [-32700, undefined]);
  assert.deepEqual(refused('{"jsonrpc":"2.0","id":7,"method":"m","params":{"a":"…', false), [-32600, "7"]);
});

test("backslashes in texts do not lead it astray", () => {
  const text = String.raw`{"jsonrpc":"2.0","id":1,"method":"m","params":{"a":"\\ud800 \\\" ]}","b":"\ud83d\ude00"}}`;
  assert.equal(decode(bytes(text)).params.b, "😀");
});

test("lines come out the same however the stream is cut", () => {
  const lines = ["", "a", "x".repeat(40), "é\r", "y".repeat(39), " "];
  const stream = bytes(`${lines.join("\n")}\n`);
  for (let size = 1; size <= stream.length; size++) {
    const found = [];
    const cut = new Lines(1 << 10);
    for (let at = 0; at < stream.length; at += size) {
      cut.feed(stream.subarray(at, at + size), (line) => found.push(Buffer.from(line).toString()));
    }
    assert.deepEqual(found, lines);
  }
});

test("of a line that is too long its two ends are kept, and the next one is whole", () => {
  for (const size of [1, 7, 4096, 1 << 20]) {
    const cut = new Lines(1 << 10);
    const stream = bytes(`head${"x".repeat(30_000)}tail\nnext\n`);
    const found = [];
    for (let at = 0; at < stream.length; at += size) {
      cut.feed(stream.subarray(at, at + size), (line, whole) => found.push([Buffer.from(line).toString(), whole]));
    }
    assert.deepEqual(found[1], ["next", true]);
    assert.equal(found[0][1], false);
    assert.match(found[0][0], /^headx+tail$/);
    assert.ok(found[0][0].length <= 8192);
  }
});

test("a line of blanks is none", () => {
  assert.ok(isBlank(bytes(" \t\r\v\f")));
  assert.ok(!isBlank(bytes(" x ")));
});

test("half a surrogate pair is never sent, and a backslash before a u is left alone", () => {
  assert.equal(JSON.parse(encode("a\ud800b")), "a\ufffdb");
  assert.equal(JSON.parse(encode("\\ud800 \\\\udc00")), "\\ud800 \\\\udc00");
  assert.equal(JSON.parse(encode("😀")), "😀");
  assert.equal(encode(undefined), "null");
  assert.equal(
    errorLine(undefined, new BadLine(-32700, "m")),
    '{"jsonrpc":"2.0","error":{"code":-32700,"message":"m"}}\n',
  );
});
