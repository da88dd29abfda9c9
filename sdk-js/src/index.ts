/* Plugins for broker, and for any other client of MCP, in a few lines. See `definePlugin` and `Ctx`. */

import "./output.ts"; // first of all: what is printed from here on goes to stderr

export type { Ask, AskOptions, Choices } from "./asking.ts";
export { assistant, audio, Content, embedded, image, link, Message, Result, result, text, user } from "./content.ts";
export type { ResultOptions } from "./content.ts";
export type { Ctx, Level, Log, SampleOptions } from "./ctx.ts";
export { Command, command, Listener, on, Prompt, prompt, Resource, resource, Tool, tool } from "./definitions.ts";
export type { CommandOptions, Complete, Listen, PromptOptions, ResourceOptions, ToolOptions } from "./definitions.ts";
export { CannotAsk, HostError, HostUnavailable, Misdeclared, Refusal, ToolError } from "./errors.ts";
export type { Manifest } from "./known.ts";
export type { Operation, Operations, ParamsOf, ResultOf } from "./operations.ts";
export { Change, definePlugin, Deny, hook, Plugin } from "./plugin.ts";
export type { Hook, On, PluginOptions } from "./plugin.ts";
export type { Progress } from "./progress.ts";
export { Kind, s } from "./s.ts";
export type { AnySchema, Infer, InferInput, Json, JsonSchema, StandardSchema } from "./schema.ts";
