// Plugin Broker for VS Code: starts `broker lsp`, and gives a person what its plugins offer.

import * as vscode from "vscode";
import { offerMcpServer } from "./mcp";
import { callTool, runPluginCommand } from "./palette";
import { Session } from "./session";
import { StatusBar } from "./statusbar";

let session: Session | undefined;

export async function activate(context: vscode.ExtensionContext): Promise<void> {
  const { version } = context.extension.packageJSON as { version: string };
  const channel = vscode.window.createOutputChannel("Broker", { log: true });
  const bar = new StatusBar();
  const held = (session = new Session(channel, bar.show));
  context.subscriptions.push(
    channel,
    bar,
    vscode.commands.registerCommand("broker.runPluginCommand", () => runPluginCommand(held.running)),
    vscode.commands.registerCommand("broker.callTool", () => callTool(held.running)),
    vscode.commands.registerCommand("broker.restart", () => held.restart()),
    vscode.commands.registerCommand("broker.showLog", () => {
      channel.show();
    }),
    vscode.workspace.onDidGrantWorkspaceTrust(() => held.trusted()),
    vscode.workspace.onDidChangeConfiguration((event) => {
      if (event.affectsConfiguration("broker.command")) void held.restart();
    }),
    offerMcpServer(version),
  );
  await held.restart();
}

/** VS Code waits for this: the broker and its plugins are gone when it returns. */
export async function deactivate(): Promise<void> {
  await session?.dispose();
}
