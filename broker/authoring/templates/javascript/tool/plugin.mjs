// my-plugin: one tool for models.
import { definePlugin, s, tool } from "@plugin-broker/sdk";

// Its name and version come from plugin.toml.
export default definePlugin({
  tools: {
    greet: tool({
      description: "Greets somebody",
      readOnly: true,
      input: s.object({ name: s.string("whom") }),
      run: ({ name }, ctx) => `${ctx.config.get("greeting", "Hello")}, ${name}!`,
    }),
  },
});
