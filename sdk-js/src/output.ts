/*
 * Whose stdout is. A plugin's own words go to stderr from the first import on, for stdout belongs to the wire; a test
 * that only imports a plugin keeps its stdout.
 */

import { realpathSync } from "node:fs";
import { fileURLToPath } from "node:url";

type Write = typeof process.stdout.write;

let wire: Write | undefined;
let tested = "NODE_TEST_CONTEXT" in process.env;

/** @internal What writes to the real stdout; what is printed from now on goes to stderr. */
export function claimOutput(): Write {
  if (wire === undefined) {
    wire = process.stdout.write.bind(process.stdout) as Write;
    process.stdout.write = ((...words: Parameters<Write>) => process.stderr.write(...words)) as Write;
    if ("Bun" in globalThis || "Deno" in globalThis) divertConsole();
  }
  return wire;
}

/** @internal This process tests plugins: stdout is its own, and `definePlugin` serves nothing by itself. */
export function underTest(): void {
  tested = true;
  if (wire !== undefined) process.stdout.write = wire;
  wire = undefined;
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
  return !tested && file !== undefined && process.argv[1] !== undefined && real(file) === real(process.argv[1]);
}

function pathOf(name: string): string | undefined {
  if (name === "") return undefined;
  return name.startsWith("file:") ? fileURLToPath(name.replace(/[?#].*$/, "")) : name;
}

function real(path: string): string {
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
if (!tested && process.argv[1] !== undefined && !process.execArgv.includes("--test")) claimOutput();
