// The item at the right of the status bar: how the plugins are, in a word, and one by one in its tooltip.

import * as vscode from "vscode";
import type { Plugin, Status } from "./protocol";

const ICON = { ready: "$(plug)", starting: "$(loading~spin)", failing: "$(warning)", empty: "$(plug)" };

export class StatusBar implements vscode.Disposable {
  private readonly item = vscode.window.createStatusBarItem("broker", vscode.StatusBarAlignment.Right);

  constructor() {
    this.item.name = "Broker";
    this.item.command = "broker.runPluginCommand";
  }

  /** Shows what the broker says of itself; hides the item while there is no broker. */
  readonly show = (status: Status | undefined): void => {
    if (status === undefined) {
      this.item.hide();
      return;
    }
    this.item.text = `${ICON[status.state]} ${status.text}`.trim();
    this.item.tooltip = new vscode.MarkdownString().appendText(status.plugins.map(line).join("\n\n") || "No plugins");
    this.item.accessibilityInformation = { label: `Broker: ${status.text || status.state}` };
    this.item.backgroundColor =
      status.state === "failing" ? new vscode.ThemeColor("statusBarItem.warningBackground") : undefined;
    this.item.show();
  };

  dispose(): void {
    this.item.dispose();
  }
}

function line({ name, state, failure, hint, notes }: Plugin): string {
  const said = [failure, hint, ...Object.values(notes ?? {})].filter((each) => each !== undefined && each !== "");
  return [`${name}: ${state}`, ...said].join(" – ");
}
