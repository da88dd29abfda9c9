// What a plugin of broker has to have as a component: its tools, each with the JSON Schema of what it takes, and its
// host. An instance of the component that was called is thrown away after it.
import * as host from "broker:plugin/host@1.0.0";

/** What the model is told instead of a result. Of any other error only broker's log says more. */
export class ToolError extends Error {}

/** One line for `broker log`; levels are error, warning, info and debug. */
export function log(message, level = "info") {
  host.log(level, typeof message === "string" ? message : JSON.stringify(message));
}

/** An option of the plugin's configuration. */
export function config(key) {
  const found = host.config(key);
  return found === undefined ? undefined : JSON.parse(found);
}

/**
 * The result of one operation of the host, such as `call("state.get", { key: "seen" })`. Throws `ToolError`.
 * What it may do stands under `[permissions]` in plugin.toml.
 */
export function call(operation, params = {}) {
  try {
    return JSON.parse(host.call(operation, JSON.stringify(params)));
  } catch (error) {
    if (typeof error?.payload !== "string") throw error;
    throw new ToolError(JSON.parse(error.payload).message);
  }
}

/** What broker calls, of tools by their names: `{ description, input, readOnly, run(given) }`. */
export function definePlugin(tools) {
  const listed = Object.entries(tools).map(([name, { description, input, readOnly = false }]) => ({
    name,
    description,
    inputSchema: input,
    annotations: { readOnlyHint: readOnly },
  }));
  return {
    describe: () => "{}",
    listTools: () => JSON.stringify({ tools: listed }),
    callTool(name, given) {
      try {
        return JSON.stringify(tools[name].run(JSON.parse(given)) ?? null);
      } catch (error) {
        if (error instanceof ToolError) throw error.message; // the error of a WIT result
        throw error;
      }
    },
  };
}
