// Written by `broker types` from plugin.toml; run it again when that changes.
import "@plugin-broker/sdk";

declare module "@plugin-broker/sdk" {
  interface Manifest {
    config: {
      /** How to greet */
      greeting: string;
    };
    secrets: never;
  }
}
