// What plugins ask of the person beyond a message with buttons, which the client shows by itself.

import * as vscode from "vscode";
import type { LanguageClient } from "vscode-languageclient/node";
import * as protocol from "./protocol";

/** Answers the broker's own requests. The broker may take a question back: its token closes what is open. */
export function answerQuestions(client: LanguageClient): void {
  client.onRequest(protocol.pick, pick);
  client.onRequest(protocol.input, input);
  client.onRequest(protocol.active, () => active(client));
}

async function pick(asked: protocol.Pick, token: vscode.CancellationToken): Promise<{ indexes: number[] } | null> {
  const items = asked.items.map((each, index) => ({ ...each, index }));
  const options = { title: `${asked.plugin}: ${asked.title}`, ignoreFocusOut: true, matchOnDescription: true };
  if (asked.many) {
    const chosen = await vscode.window.showQuickPick(items, { ...options, canPickMany: true }, token);
    return chosen ? { indexes: chosen.map((each) => each.index) } : null;
  }
  const chosen = await vscode.window.showQuickPick(items, options, token);
  return chosen ? { indexes: [chosen.index] } : null;
}

async function input(asked: protocol.Input, token: vscode.CancellationToken): Promise<{ value: string } | null> {
  const value = await vscode.window.showInputBox(
    {
      title: `${asked.plugin}: ${asked.title}`,
      value: asked.value,
      placeHolder: asked.placeholder,
      password: asked.secret,
      ignoreFocusOut: true,
    },
    token,
  );
  return value === undefined ? null : { value };
}

function active(client: LanguageClient): protocol.Active | null {
  const editor = vscode.window.activeTextEditor;
  if (!editor) return null;
  return {
    uri: client.code2ProtocolConverter.asUri(editor.document.uri),
    range: client.code2ProtocolConverter.asRange(editor.selection),
    languageId: editor.document.languageId,
  };
}
