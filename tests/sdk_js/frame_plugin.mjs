// A plugin of the SDK with the tools that the bad frames call.
import { definePlugin, tool } from "@plugin-broker/sdk";

export default definePlugin({
  name: "frames",
  version: "1",
  tools: {
    two__echo: tool({ description: "Answers.", run: () => "true" }),
    hold__hold: tool({ description: "Never answers.", timeout: null, run: () => new Promise(() => {}) }),
  },
});
