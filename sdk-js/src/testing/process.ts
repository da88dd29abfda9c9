/* A plugin under test as a process of its own: its pipes, the channel to its host, and its end. */

import { spawn } from "node:child_process";
import { once } from "node:events";
import type { Duplex, Readable } from "node:stream";

import { bounded } from "./host.ts";

const BOUND = 10_000; // ms from the end of its input to its own
const RUNNER = /^--(test|inspect|watch|experimental-test)/; // flags that are of the process that tests

/** What is heard of a process. */
export interface Hears {
  line(line: string): void;
  ended(why: string): void;
  /** A line on the channel to the host; without this there is no channel. */
  host?: (line: string) => void;
}

/** A running plugin. */
export interface Running {
  write(line: string): void;
  tellHost(line: string): void;
  end(): Promise<void>;
}

/** Start the file as Node runs this very process: with its loaders, without its flags of testing. */
export function started(file: string, env: Record<string, string>, hears: Hears): Running {
  const { NODE_TEST_CONTEXT, BROKER_HOST_FD, ...inherited } = process.env;
  const words = [...process.execArgv.filter((each) => !RUNNER.test(each)), file];
  const child = spawn(process.execPath, words, {
    stdio: hears.host ? ["pipe", "pipe", "inherit", "pipe"] : ["pipe", "pipe", "inherit"],
    env: { ...inherited, ...(hears.host && { BROKER_HOST_FD: "3" }), ...env },
  });
  const exited = once(child, "exit").then(([code, signal]) => (code ?? signal) as number | string);
  exited.then((how) => hears.ended(`the plugin ended with ${how}`), (error) => hears.ended(String(error)));
  const [stdin, stdout, , channel] = child.stdio as unknown as [Duplex, Readable, null, Duplex | undefined];
  lines(stdout, hears.line);
  if (channel !== undefined && hears.host) lines(channel, hears.host);
  for (const pipe of [stdin, channel]) pipe?.on("error", () => {}); // it has ended, of which `exited` tells
  const end = async (): Promise<void> => {
    stdin.end();
    const how = await bounded(exited, BOUND, `${file} did not end`).finally(() => child.kill("SIGKILL"));
    channel?.destroy();
    if (how !== 0) throw new Error(`${file} ended with ${how}`);
  };
  return { write: (line) => stdin.write(`${line}\n`), tellHost: (line) => channel?.write(`${line}\n`), end };
}

function lines(stream: Readable, hear: (line: string) => void): void {
  let rest = "";
  stream.setEncoding("utf8").on("data", (text: string) => {
    const found = (rest + text).split("\n");
    rest = found.pop()!;
    found.forEach(hear);
  });
}
