/* The names in a plugin's manifest, as `broker types` writes them down for the compiler. */

/**
 * What `plugin.toml` says: `config`, the options with their types, and `secrets`, the names. `broker types` adds them
 * here (in `broker-env.d.ts`); then every other name is an error of the compiler. Until then any name may be asked for.
 */
export interface Manifest {}

/** The options of the manifest, if it is known. */
export type Options = Manifest extends { config: infer Table } ? Table : never;
/** The name of an option, if those of the manifest are not known. */
export type Unlisted = Manifest extends { config: unknown } ? never : string;
/** The name of a secret. */
export type Secret = Manifest extends { secrets: infer Names } ? Names & string : string;
