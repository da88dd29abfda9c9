// my-plugin: has a say in the calls of other plugins' tools.
import { definePlugin, Deny, hook } from "@plugin-broker/sdk";

// Its name and version come from plugin.toml.
export default definePlugin({
  hooks: {
    pre_request: hook((event, ctx) => {
      const refused = ctx.config.get("refused", "delete");
      if (event.tool?.includes(refused)) {
        return new Deny(`tools with ${refused} in their names are refused`);
      }
      return undefined; // the call goes on
    }),
  },
});
