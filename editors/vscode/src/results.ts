// What a command or a tool returned, shown as a person wants to see it.

import * as vscode from "vscode";

const SHORT = 200; // letters that a toast shows in full

/** A short line becomes a toast, anything longer a document; nothing is shown for nothing. */
export async function show(result: unknown): Promise<void> {
  const { text, failed } = told(result);
  if (failed) {
    void vscode.window.showErrorMessage(text);
  } else if (text.length > SHORT || text.trim().includes("\n")) {
    await open(text);
  } else if (text.trim() !== "") {
    void vscode.window.showInformationMessage(text.trim());
  }
}

function told(result: unknown): { text: string; failed: boolean } {
  if (result === null || result === undefined) return { text: "", failed: false };
  if (typeof result === "string") return { text: result, failed: false };
  const { content, isError } = result as { content?: unknown; isError?: unknown };
  if (!Array.isArray(content)) return { text: JSON.stringify(result, undefined, 2), failed: false };
  return { text: content.map(piece).join("\n"), failed: isError === true };
}

/** One piece of a tool's result: its text, or what it is. */
function piece(each: unknown): string {
  const { type, text } = each as { type?: string; text?: string };
  return text ?? `(${type ?? "unknown"})`;
}

async function open(text: string): Promise<void> {
  const json = text.startsWith("{") || text.startsWith("[");
  const document = await vscode.workspace.openTextDocument({ content: text, language: json ? "json" : "markdown" });
  await vscode.window.showTextDocument(document, { preview: true });
}
