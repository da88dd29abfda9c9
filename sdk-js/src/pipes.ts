/*
 * Descriptors of the wire's own. Where the system lets us, 0 becomes nothing and 1 becomes stderr, as soon as a plugin
 * is served: then neither the plugin nor what it starts (`stdio: "inherit"`) can tear a message or take one away.
 *
 * Node cannot duplicate a descriptor; a pipe can be opened a second time by its name in /proc (Linux) or /dev (others),
 * and the lowest free number is the one that was just closed. Where that is refused, the wire is Node's own stdin and
 * stdout, and only what the plugin prints by `process.stdout` is kept from it.
 */

import { closeSync, constants, fstatSync, openSync } from "node:fs";
import { Socket } from "node:net";
import type { Readable, Writable } from "node:stream";
import { ofNode, realOutput } from "./output.ts";

const NAMES = process.platform === "linux" ? "/proc/self/fd" : "/dev/fd";
const { O_APPEND, O_NONBLOCK, O_RDONLY, O_WRONLY } = constants;

/** What the wire reads and writes; stdin and stdout are the plugin's from here on, and harmless. */
export function claimPipes(): { input: Readable; output: Writable } {
  const input = pipe(0, O_RDONLY, () => openSync("/dev/null", "r"));
  const output = pipe(1, O_WRONLY, () => openSync(`${NAMES}/2`, O_WRONLY | O_APPEND));
  return {
    input: input === undefined ? process.stdin : new Socket({ fd: input, readable: true, writable: false }),
    output: output === undefined ? realOutput() : new Socket({ fd: output, readable: false, writable: true }),
  };
}

/** A pipe under another number, once something else is in its place; undefined where that cannot be. */
function pipe(number: 0 | 1, flags: number, replace: () => number): number | undefined {
  let found: number | undefined;
  try {
    if (!ofNode || process.platform === "win32" || !fstatSync(number).isFIFO()) return undefined;
    closeSync(openSync(`${NAMES}/2`, O_WRONLY | O_APPEND | O_NONBLOCK)); // what replaces it must be there
    found = openSync(`${NAMES}/${number}`, flags | O_NONBLOCK);
    closeSync(number);
    replace();
    return found;
  } catch {
    return found;
  }
}
