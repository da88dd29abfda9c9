// The command palette's way to what plugins offer.

import * as vscode from "vscode";
import { ExecuteCommandRequest } from "vscode-languageclient/node";
import type { LanguageClient } from "vscode-languageclient/node";
import * as protocol from "./protocol";
import { show } from "./results";

const SLOW = 500; // milliseconds after which a run shows that it runs, with a button that cancels it

/** "Broker: Run Plugin Command…" */
export async function runPluginCommand(client: LanguageClient): Promise<void> {
  const { commands } = await client.sendRequest(protocol.list);
  const items = commands.map(({ name, title, description }) => ({ label: title || name, description: name, detail: description }));
  const chosen = await choose(items, "Run a command of a plugin", "No plugin offers a command.");
  if (chosen) await run(client, chosen.label, "broker.run", [chosen.description]);
}

/** "Broker: Call Tool…" */
export async function callTool(client: LanguageClient): Promise<void> {
  const { tools } = await client.sendRequest(protocol.list);
  const items = tools.map((tool) => ({ label: tool.name, detail: tool.description ?? "", tool }));
  const chosen = await choose(items, "Call a tool of a plugin", "No plugin offers a tool.");
  if (!chosen) return;
  const text = await vscode.window.showInputBox({
    title: `${chosen.label}: arguments`,
    prompt: "A JSON object",
    value: JSON.stringify(skeleton(chosen.tool)),
    ignoreFocusOut: true,
    validateInput: complaint,
  });
  if (text !== undefined) await run(client, chosen.label, "broker.call", [chosen.label, JSON.parse(text)]);
}

async function choose<T extends vscode.QuickPickItem>(items: T[], placeHolder: string, none: string): Promise<T | undefined> {
  if (items.length === 0) {
    void vscode.window.showInformationMessage(none);
    return undefined;
  }
  return vscode.window.showQuickPick(items, { placeHolder, matchOnDescription: true, matchOnDetail: true });
}

/** An object with the members that the tool must be given, each empty in its own way. */
function skeleton({ inputSchema }: protocol.Tool): Record<string, unknown> {
  const empty: Record<string, unknown> = { string: "", number: 0, integer: 0, boolean: false, array: [], object: {} };
  const names = inputSchema?.required ?? [];
  return Object.fromEntries(names.map((name) => [name, empty[inputSchema?.properties?.[name]?.type ?? ""] ?? null]));
}

function complaint(text: string): string | undefined {
  try {
    const value: unknown = JSON.parse(text);
    const fits = typeof value === "object" && value !== null && !Array.isArray(value);
    return fits ? undefined : "This must be a JSON object: { … }";
  } catch (error) {
    return String(error);
  }
}

async function run(client: LanguageClient, title: string, command: string, args: unknown[]): Promise<void> {
  const source = new vscode.CancellationTokenSource();
  const result: Promise<unknown> = client.sendRequest(ExecuteCommandRequest.type, { command, arguments: args }, source.token);
  const slow = setTimeout(() => {
    watch(result, title, source);
  }, SLOW);
  try {
    await show(await result);
  } catch (error) {
    const why = error instanceof Error ? error.message : String(error);
    if (!source.token.isCancellationRequested) void vscode.window.showErrorMessage(`${title}: ${why}`);
  } finally {
    clearTimeout(slow);
    source.dispose();
  }
}

function watch(result: Promise<unknown>, title: string, source: vscode.CancellationTokenSource): void {
  const options = { location: vscode.ProgressLocation.Notification, title, cancellable: true };
  void vscode.window.withProgress(options, async (_, token) => {
    token.onCancellationRequested(() => {
      source.cancel();
    });
    await Promise.allSettled([result]);
  });
}
