// What a person does in VS Code, done in a browser: node drive.mjs '{"address", "chromium", "shots", "workspace"}'
//
// Each step waits for what must be on the page and says so as one line of JSON, {"step": name, ...}. The first that
// does not find it ends the run with {"failed": step, "why", "page"} and a screenshot.

import { existsSync, mkdirSync } from "node:fs";
import { createRequire } from "node:module";
import path from "node:path";

const { address, chromium: executablePath, modules, shots, workspace } = JSON.parse(process.argv[2]);
const { chromium } = createRequire(modules)("playwright-core");
const PATIENCE = 20_000; // milliseconds for one thing to be on the page
const CLEAR = "Notifications: Clear All Notifications";
const START = 60_000; // milliseconds for VS Code to be drawn and the broker to run

mkdirSync(shots, { recursive: true });
const browser = await chromium.launch({ executablePath, args: ["--no-sandbox", "--disable-gpu"] });
const page = await browser.newPage({ viewport: { width: 1280, height: 800 } });
page.setDefaultTimeout(PATIENCE);
const quick = page.locator(".quick-input-widget");
const toast = (text) => page.locator(".notification-toast", { hasText: text }).first();
const say = (line) => process.stdout.write(JSON.stringify(line) + "\n");
let current = "start";

/** One step: what `seen` says of the page is part of its line. */
async function step(name, work) {
  current = name;
  const seen = await work();
  await page.screenshot({ path: path.join(shots, `${name}.png`) });
  say({ step: name, ...seen });
}

async function palette(command) {
  await page.keyboard.press("F1");
  await quick.locator("input").first().waitFor();
  await take(command);
}

/** Pick an entry of the list that is open, of which the page has only the first few before it is narrowed. */
async function take(text) {
  await page.keyboard.insertText(text);
  await quick.locator(".monaco-list-row", { hasText: text }).first().click();
}

/** Wait for the list or the field whose title or hint has this text. */
async function asked(text) {
  const hint = quick.locator(`input[placeholder="${text}"]`);
  await quick.locator(".quick-input-title", { hasText: text }).or(hint).first().waitFor();
}

async function run(command) {
  await palette("Broker: Run Plugin Command");
  await asked("Run a command of a plugin");
  await take(command);
}

async function press(message, button) {
  const found = toast(message);
  await found.waitFor();
  await found.hover(); // buttons of a toast are drawn under the mouse
  await found.locator(".monaco-button", { hasText: button }).first().click();
}

async function words(message) {
  const found = toast(message);
  await found.waitFor();
  return (await found.locator(".notification-list-item-message").innerText()).trim();
}

/** The MCP servers that agents in VS Code may use. */
async function servers() {
  await palette("MCP: List Servers");
  await quick.locator(".monaco-list-row", { hasText: "Add Server" }).waitFor();
  const found = await quick.locator(".monaco-list-row").allInnerTexts();
  await page.keyboard.press("Escape");
  return found;
}

async function until(happened) {
  const end = Date.now() + PATIENCE;
  while (!happened()) {
    if (Date.now() > end) throw new Error(`never: ${happened}`);
    await page.waitForTimeout(100);
  }
}

/** Clear all toasts, at a time when no other can come. */
async function dismiss() {
  await palette(CLEAR);
  await page.locator(".notification-toast").first().waitFor({ state: "detached" });
}

const bar = page.locator('.statusbar-item[id$=".broker"]').first();

try {
  await page.goto(`${address}/?folder=${workspace}`);
  await page.locator(".monaco-workbench").waitFor({ timeout: START });

  await step("restricted", async () => {
    await bar.waitFor({ timeout: START });
    return { marks: await page.locator(".statusbar-item", { hasText: "Restricted Mode" }).count() };
  });

  await step("greet", async () => {
    await run("demo.greet");
    return { toast: await words("Hello you from demo"), result: await words("greeted you") };
  });

  await step("consent", async () => {
    await dismiss();
    await run("shy.greet");
    await toast("Allow once").waitFor();
    return { question: await words("shy"), buttons: await toast("Allow once").locator(".monaco-button").allInnerTexts() };
  });
  await step("allowed", async () => {
    await press("Allow once", "Allow once");
    return { toast: await words("shy: Hello you") };
  });

  await step("sure", async () => {
    await dismiss();
    await run("demo.sure");
    await press("Are you sure?", "Do it");
    return { result: await words("sure: True") };
  });
  await step("dismissed", async () => {
    await dismiss();
    await run("demo.sure");
    await toast("Are you sure?").waitFor();
    await palette(CLEAR);
    return { result: await words("sure: False") };
  });

  await step("choose", async () => {
    await run("demo.choose");
    await asked("Which colour?");
    await take("green");
    return { result: await words("chose green") };
  });
  await step("type", async () => {
    await run("demo.type");
    await asked("Your name?");
    await page.keyboard.press("ControlOrMeta+A");
    await page.keyboard.insertText("Grace");
    await page.keyboard.press("Enter");
    return { result: await words("typed Grace") };
  });

  await step("fail", async () => {
    await dismiss();
    await run("demo.fail");
    return { error: await words("this never works") };
  });

  await step("insert", async () => {
    await page.locator(".explorer-folders-view .monaco-list-row", { hasText: "note.txt" }).dblclick();
    await page.locator(".tab", { hasText: "note.txt" }).waitFor();
    await run("demo.insert");
    await page.locator(".view-line", { hasText: "inserted" }).waitFor();
    return { result: await words("applied: True") };
  });
  await step("length", async () => {
    await run("demo.length");
    return { result: await words("characters") };
  });
  await step("lint", async () => {
    await run("demo.lint");
    await page.locator(".squiggly-info, .squiggly-warning, .squiggly-error").first().waitFor();
    return { result: await words("found 1") };
  });

  await step("status", async () => {
    await run("demo.busy");
    await page.locator('.statusbar-item[id$=".broker"]', { hasText: "busy" }).waitFor();
    return { bar: (await bar.innerText()).trim() };
  });
  await step("work", async () => {
    await dismiss();
    await run("demo.work");
    await press("Work until it is cancelled", "Cancel");
    await toast("Work until it is cancelled").waitFor({ state: "detached" });
    return { left: await page.locator(".notification-toast").count() };
  });

  await step("call", async () => {
    await palette("Broker: Call Tool");
    await asked("Call a tool of a plugin");
    await take("demo__count");
    await asked("arguments");
    const offered = await quick.locator("input").first().inputValue();
    await page.keyboard.press("ControlOrMeta+A");
    await page.keyboard.insertText('{"to": 2}');
    await page.keyboard.press("Enter");
    return { offered, result: await words("counted to 2") };
  });
  await step("log", async () => {
    await palette("Broker: Show Log");
    await page.locator(".output-view-container .view-line, .output-view .view-line", { hasText: "Starting" }).first().waitFor();
    return {};
  });
  await step("untrusted", async () => ({ servers: await servers(), ran: existsSync(path.join(workspace, "ran")) }));
  await step("trusted", async () => {
    await palette("Workspaces: Manage Workspace Trust");
    await page.locator(".workspace-trust-editor .monaco-button", { hasText: /^Trust$/ }).first().click();
    await page.locator(".statusbar-item", { hasText: "Restricted Mode" }).waitFor({ state: "detached" });
    await until(() => existsSync(path.join(workspace, "ran")));
    await bar.waitFor();
    return { servers: await servers() };
  });
} catch (error) {
  await page.screenshot({ path: path.join(shots, "failed.png") });
  say({ failed: current, why: String(error).slice(0, 1500), page: (await page.locator("body").innerText()).slice(0, 3000) });
  process.exitCode = 1;
}
await browser.close();
