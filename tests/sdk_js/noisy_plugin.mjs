// A plugin that prints by every way there is, and starts programs that do.
import { spawn } from "node:child_process";
import { writeSync } from "node:fs";
import { definePlugin, tool } from "@plugin-broker/sdk";

console.log("noise of the module");

export default definePlugin({
  name: "noisy",
  version: "1",
  tools: {
    print: tool({
      async run() {
        console.log("noise of console");
        process.stdout.write("noise of stdout\n");
        writeSync(1, "noise of a descriptor\n");
        const child = spawn("sh", ["-c", "echo noise of a child; read stolen; echo noise of $stolen"], {
          stdio: "inherit",
        });
        return new Promise((resolve) => child.on("exit", () => resolve("quiet")));
      },
    }),
  },
});
