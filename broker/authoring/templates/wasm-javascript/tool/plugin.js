// my-plugin: one tool for models.
import { config, definePlugin, log } from "./broker.js";

export const guest = definePlugin({
  greet: {
    description: "Greets somebody",
    readOnly: true,
    input: {
      type: "object",
      properties: { name: { type: "string", description: "Whom" } },
      required: ["name"],
    },
    run({ name }) {
      log("greeting");
      return `${config("greeting")}, ${name}!`;
    },
  },
});
