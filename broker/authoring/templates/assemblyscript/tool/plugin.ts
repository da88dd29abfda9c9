// my-plugin: one tool for models.
import { INFO, Json, Tool, log, offer, quoted } from "./broker";
export { alloc, handle, protocol_version } from "./broker";

offer(
  new Tool(
    "greet",
    "Greets somebody",
    '{"type":"object","properties":{"name":{"type":"string","description":"Whom"}},"required":["name"]}',
    (given: Json, config: Json): string => {
      log(INFO, "greeting");
      return quoted(`${config.get("greeting").text}, ${given.get("name").text}!`);
    },
  ).readOnly(),
);
