// One `broker lsp` of this window: started, restarted when its command changes, ended with the window.

import { spawn } from "node:child_process";
import * as vscode from "vscode";
import { LanguageClient, RevealOutputChannelOn } from "vscode-languageclient/node";
import * as protocol from "./protocol";
import { answerQuestions } from "./questions";
import { show } from "./results";

const INSTALLING = "https://pypi.org/project/plugin-broker/";

/** The program and its arguments before `lsp` or `mcp`, as the user set them. */
export function command(): [string, ...string[]] {
  const [program, ...rest] = vscode.workspace.getConfiguration("broker").get<string[]>("command", []);
  return [program ?? "broker", ...rest];
}

export class Session implements vscode.Disposable {
  private client: LanguageClient | undefined;
  private turn: Promise<void> = Promise.resolve();

  constructor(
    private readonly channel: vscode.LogOutputChannel,
    private readonly onStatus: (status: protocol.Status | undefined) => void,
  ) {}

  /** Ends the broker that runs, if any, and starts one. Turns never overlap, however fast they are asked for. */
  restart(): Promise<void> {
    this.turn = this.turn.then(() => this.stop()).then(() => this.start());
    return this.turn;
  }

  /** The running client; an error for a person if there is none. */
  get running(): LanguageClient {
    if (!this.client?.isRunning()) throw new Error("The broker does not run. See Broker: Show Log.");
    return this.client;
  }

  /** Tells the broker that the plugins of the workspace may run now. */
  async trusted(): Promise<void> {
    if (this.client?.isRunning()) await this.client.sendNotification(protocol.trust, { trusted: true });
  }

  async dispose(): Promise<void> {
    await this.turn;
    await this.stop();
  }

  private async start(): Promise<void> {
    const [program, ...args] = command();
    const failure = await startable(program);
    if (failure) {
      this.channel.error(failure.message);
      void advise(program);
      return;
    }
    this.channel.info(`Starting ${[program, ...args, "lsp"].join(" ")}`);
    this.client = this.made(program, [...args, "lsp"]);
    try {
      await this.client.start();
    } catch (error) {
      this.channel.error(String(error)); // the client has told the person
    }
  }

  private made(program: string, args: string[]): LanguageClient {
    const client = new LanguageClient(
      "broker",
      "Broker",
      { command: program, args },
      {
        // Every document, and yet none is sent: that takes a broker that says it wants them, for a plugin that may know.
        documentSelector: [{ scheme: "file" }, { scheme: "untitled" }],
        initializationOptions: { broker: { ...protocol.wishes, trusted: vscode.workspace.isTrusted } },
        outputChannel: this.channel,
        revealOutputChannelOn: RevealOutputChannelOn.Never,
        middleware: {
          executeCommand: async (name, given, next) => {
            // the arguments in keybindings.json are one list
            const list: unknown = given.length === 1 ? given[0] : undefined;
            const result: unknown = await next(name, Array.isArray(list) ? (list as unknown[]) : given);
            await show(result);
            return result;
          },
        },
      },
    );
    client.onNotification(protocol.status, this.onStatus);
    answerQuestions(client);
    return client;
  }

  private async stop(): Promise<void> {
    const ended = this.client;
    this.client = undefined;
    this.onStatus(undefined);
    // dispose ends it also when its start failed half way, which stop alone refuses
    await ended?.dispose().catch((error: unknown) => {
      this.channel.warn(String(error));
    });
  }
}

/** Why the program cannot be started at all; undefined if it can. The client's own words for it help nobody. */
function startable(program: string): Promise<Error | undefined> {
  const child = spawn(program, ["--version"], { stdio: "ignore" });
  return new Promise((resolve) => {
    child.once("spawn", () => {
      resolve(undefined);
    });
    child.once("error", resolve);
  });
}

async function advise(program: string): Promise<void> {
  const text = `There is no program "${program}". Install it with: uv tool install plugin-broker. Or say where it is.`;
  const answer = await vscode.window.showErrorMessage(text, "How to Install", "Open Settings");
  if (answer === "How to Install") await vscode.env.openExternal(vscode.Uri.parse(INSTALLING));
  if (answer === "Open Settings") await vscode.commands.executeCommand("workbench.action.openSettings", "broker.command");
}
