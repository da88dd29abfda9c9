// my-plugin: one command for people, in their editors.
import { command, definePlugin, s } from "@plugin-broker/sdk";

// Its name and version come from plugin.toml.
export default definePlugin({
  commands: {
    hello: command({
      title: "Say hello",
      input: s.object({ name: s.string().default("you") }),
      run({ name }, ctx) {
        ctx.toast(`Hello, ${name}!`);
        return `greeted ${name}`;
      },
    }),
  },
});
