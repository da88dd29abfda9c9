/*
 * The owner of stdin and stdout, and a plugin's life between the two.
 *
 * Rule 1: what the plugin prints goes to stderr, so it cannot tear a message (see `output` and `pipes`).
 * Rule 2: no write blocks; a client that does not read is not listened to either, from `MOST_UNSENT` bytes on.
 * Rule 3: it ends when its client is gone, or at a signal; a second signal ends it at once.
 */

import { Buffer } from "node:buffer";
import { Socket } from "node:net";
import type { Readable, Writable } from "node:stream";
import { MAX_HOST_LINE, VARIABLE } from "./host.ts";
import type { Channel } from "./host.ts";
import { claimPipes } from "./pipes.ts";
import type { Plugin } from "./plugin.ts";
import { ENDING, Server } from "./server.ts";
import { Lines } from "./wire.ts";

const MOST_UNSENT = 32 << 20; // bytes

/** Serve on this process's stdin and stdout, until the client is gone; then the process ends. */
export async function serve(plugin: Plugin): Promise<void> {
  const { input, output } = claimPipes();
  const server: Server = new Server(plugin, (line) => send(input, output, line), { channel: channelGiven() });
  let ending: Promise<void> | undefined;
  const end = (): void => void (ending ??= ended(server, output));
  output.on("error", () => process.exit(0)); // nobody reads any more
  process.on("unhandledRejection", (error) => server.failed("a promise that nobody awaits", error));
  let signals = 0;
  for (const name of ["SIGINT", "SIGTERM"] as const) process.on(name, () => (++signals > 1 ? process.exit(1) : end()));
  try {
    await server.start();
  } catch (error) {
    server.failed("start", error);
    process.exit(1);
  }
  input.on("data", (data: Buffer) => server.feed(data));
  input.on("end", () => {
    server.feed("\n"); // a last line may have no end
    end();
  });
  input.on("error", end);
}

function send(input: Readable, output: Writable, line: string): void {
  output.write(line);
  if (output.writableLength <= MOST_UNSENT || input.isPaused()) return;
  input.pause();
  output.once("drain", () => input.resume());
}

async function ended(server: Server, output: Writable): Promise<void> {
  await server.close();
  const flushed = new Promise((resolve) => output.write("", resolve));
  const late = new Promise((resolve) => setTimeout(resolve, ENDING * 1000));
  await Promise.race([flushed, late]);
  process.exit(0);
}

/** The channel that broker handed over, taken out of the environment; undefined without broker. */
function channelGiven(): Channel | undefined {
  const number = process.env[VARIABLE] ?? "";
  delete process.env[VARIABLE];
  if (!/^\d+$/.test(number)) return undefined;
  try {
    return new Wire(new Socket({ fd: Number(number), readable: true, writable: true }));
  } catch {
    return undefined; // a number that somebody else left there
  }
}

/** The channel to broker on a socket. */
class Wire implements Channel {
  readonly #socket: Socket;

  constructor(socket: Socket) {
    this.#socket = socket;
    socket.on("error", () => undefined); // it closes then
  }

  write(line: string): void {
    this.#socket.write(`${line}\n`);
  }

  onLine(take: (line: string) => void): void {
    const lines = new Lines(MAX_HOST_LINE);
    this.#socket.on("data", (data) => {
      lines.feed(data as Buffer, (line, whole) => {
        if (whole) take(Buffer.from(line).toString("utf8"));
      });
    });
  }

  onEnd(ended: () => void): void {
    this.#socket.on("close", ended);
  }

  close(): void {
    this.#socket.destroy();
  }
}
