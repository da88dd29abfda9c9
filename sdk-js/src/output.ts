/*
 * Whose stdout is. A plugin's own words go to stderr from the first import on, for stdout belongs to the wire; a test
 * that only imports a plugin keeps its stdout.
 */

import { realpathSync } from "node:fs";
import type { Writable } from "node:stream";
import { fileURLToPath } from "node:url";

/** @internal Whether it is Node, and none of those that are like it. */
export const ofNode = !("Bun" in globalThis || "Deno" in globalThis);
const real = Object.getOwnPropertyDescriptor(process, "stdout");
let tested = "NODE_TEST_CONTEXT" in process.env;

/** @internal What is printed from now on goes to stderr. The real stdout is not even opened by that. */
export function divertOutput(): void {
  Object.defineProperty(process, "stdout", { get: () => process.stderr, configurable: true, enumerable: true });
  if (!ofNode) divertConsole();
}

/** @internal The real stdout, as Node has it. */
export function realOutput(): Writable {
  return (real?.get?.call(process) ?? real?.value ?? process.stdout) as Writable;
}

/** @internal This process tests plugins: stdout is its own, and `definePlugin` serves nothing by itself. */
export function underTest(): void {
  tested = true;
  if (real !== undefined) Object.defineProperty(process, "stdout", real);
}

/** @internal The file whose code called `called`. */
export function callerFile(called: Function): string | undefined {
  const prepare = Error.prepareStackTrace;
  try {
    Error.prepareStackTrace = (_, sites) => sites[0]?.getFileName() ?? "";
    const holder = {} as { stack?: string };
    Error.captureStackTrace(holder, called);
    return pathOf(String(holder.stack ?? ""));
  } finally {
    Error.prepareStackTrace = prepare;
  }
}

/** @internal Whether a file is the program that is run, and it is no test. */
export function isMain(file: string | undefined): boolean {
  return !tested && file !== undefined && process.argv[1] !== undefined && resolved(file) === resolved(process.argv[1]);
}

function pathOf(name: string): string | undefined {
  if (name === "") return undefined;
  return name.startsWith("file:") ? fileURLToPath(name.replace(/[?#].*$/, "")) : name;
}

function resolved(path: string): string {
  try {
    return realpathSync(path);
  } catch {
    return path;
  }
}

/** Some runtimes print without `process.stdout`. */
function divertConsole(): void {
  for (const name of ["log", "info", "debug", "table", "dir"] as const) {
    console[name] = (...words: unknown[]) => console.error(...words);
  }
}

// Nodes that run a text or a test runner have no plugin as their program.
if (!tested && process.argv[1] !== undefined && !process.execArgv.includes("--test")) divertOutput();
