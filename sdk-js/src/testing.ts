/*
 * Test a plugin without broker: in this very process, or through real pipes with the same test, by any runner of tests.
 *
 * @module
 */

import { underTest } from "./output.ts";

underTest();

export { Failed, type Json, type Pending, type Reply, type Report } from "./testing/client.ts";
export type { MovedClock } from "./testing/clock.ts";
export { type Harness, type Options, pluginClient, type Testable } from "./testing/harness.ts";
export type { HostOptions, RecordingHost } from "./testing/host.ts";
