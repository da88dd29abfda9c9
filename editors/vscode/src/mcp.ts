// The same plugins for Copilot and other agents in VS Code: `broker mcp` as an MCP server nobody has to write down.

import * as vscode from "vscode";
import { command } from "./session";

const changed = new vscode.EventEmitter<void>();

export function offerMcpServer(version: string): vscode.Disposable {
  const settings = vscode.workspace.onDidChangeConfiguration((event) => {
    if (event.affectsConfiguration("broker")) changed.fire();
  });
  const trust = vscode.workspace.onDidGrantWorkspaceTrust(() => {
    changed.fire();
  });
  const provider = vscode.lm.registerMcpServerDefinitionProvider("broker", {
    onDidChangeMcpServerDefinitions: changed.event,
    provideMcpServerDefinitions: () => definitions(version),
  });
  return vscode.Disposable.from(settings, trust, provider);
}

/** None until the workspace is trusted: the broker starts in its folder, and an agent would call what lies there. */
function definitions(version: string): vscode.McpServerDefinition[] {
  if (!vscode.workspace.isTrusted || !vscode.workspace.getConfiguration("broker").get<boolean>("mcp", true)) return [];
  const [program, ...args] = command();
  const server = new vscode.McpStdioServerDefinition("Plugin Broker", program, [...args, "mcp"], {}, version);
  const folder = vscode.workspace.workspaceFolders?.[0]?.uri;
  if (folder) server.cwd = folder;
  return [server];
}
