// The scenarios of ../../README.md with the published @dapr/dapr.
import assert from "node:assert/strict";
import { setTimeout as sleep } from "node:timers/promises";

import dapr from "@dapr/dapr";

import { append, count, exists, gate } from "./ledger.js";

const { DaprWorkflowClient, WorkflowRuntime, WorkflowRuntimeStatus: Status } = dapr;

const PATIENCE_SECONDS = 45;
const FOREVER_SECONDS = Infinity;
const POLL_MILLISECONDS = 50;
const FAN = 50;
const EVENTS = 5;
const LONG = 350;
const WORK_MILLISECONDS = 30;
const PAYLOAD = "aé漢🙂".repeat(50_000);

// What a call answers while the server is away: CANCELLED, INTERNAL, UNAVAILABLE.
const AWAY = new Set([1, 13, 14]);

const GAPS = {
  "query-list": "the client has no call that lists instances",
  "retry-third": "callActivity takes no retry policy",
  "retry-exhausted": "callActivity takes no retry policy",
  "terminate-recursive": "terminateWorkflow cannot ask for recursion",
};

const activities = {
  work: async (_, { name, number }) => {
    append(name, `begun ${Date.now()}`);
    await sleep(WORK_MILLISECONDS);
    append(name, `done ${Date.now()}`);
    return number + 1;
  },
  add_one: async (_, number) => number + 1,
  double: async (_, number) => number * 2,
  echo: async (_, value) => value,
  note: async (_, name) => append(name),
  square: async (_, { number, name }) => {
    append(name);
    return number * number;
  },
  slow: async (_, prefix) => {
    append(`${prefix}-slow`);
    gate(`${prefix}-gate`);
  },
  broken: async () => {
    throw new TypeError("the parcel is lost", { cause: new RangeError("the van is full") });
  },
};

const workflows = {
  async *storm(context, { id, number, padding }) {
    const work = (name) => context.callActivity("work", { name: `${id}-${name}`, number });
    let sum = yield work("first");
    const three = ["a", "b", "c"].map(work);
    for (const one of yield context.whenAll(three)) sum += one;
    yield context.createTimer(0.5);
    sum += yield context.callChildWorkflow("squall", { id, number, padding });
    sum += yield context.waitForExternalEvent("go");
    return sum + (yield work("last"));
  },

  async *squall(context, { id, number }) {
    return yield context.callActivity("work", { name: `${id}-child`, number });
  },

  async *chaining(context, number) {
    for (let step = 0; step < 3; step++) number = yield context.callActivity("add_one", number);
    return number;
  },

  async *fan_out(context, name) {
    const calls = [];
    for (let number = 0; number < FAN; number++) calls.push(context.callActivity("square", { number, name }));
    const squares = yield context.whenAll(calls);
    return squares.reduce((sum, square) => sum + square, 0);
  },

  async *parent(context, number) {
    return yield context.callChildWorkflow("child", number);
  },

  async *child(context, number) {
    return yield context.callActivity("double", number);
  },

  async *timer(context) {
    yield context.createTimer(1);
    return "fired";
  },

  async *event_after_timer(context) {
    yield context.createTimer(1);
    return yield context.waitForExternalEvent("parcel");
  },

  async *event(context) {
    context.setCustomStatus("waiting");
    return yield context.waitForExternalEvent("parcel");
  },

  async *event_or_timeout(context) {
    const event = context.waitForExternalEvent("parcel");
    const timeout = context.createTimer(1);
    const first = yield context.whenAny([event, timeout]);
    return first === timeout ? "timed out" : event.getResult();
  },

  async *collect(context, seen) {
    seen = [...seen, yield context.waitForExternalEvent("item")];
    if (seen.length < EVENTS) context.continueAsNew(seen, true);
    return seen;
  },

  async *statuses(context) {
    context.setCustomStatus("before");
    yield context.waitForExternalEvent("parcel");
    context.setCustomStatus("after");
  },

  async *failing(context) {
    yield context.callActivity("broken");
  },

  async *payload(context, value) {
    return yield context.callActivity("echo", value);
  },

  async *long(context) {
    // From 1, because this SDK sends no input in place of a 0.
    let number;
    for (let step = 1; step <= LONG; step++) number = yield context.callActivity("echo", step);
    return number;
  },

  async *killed_turn(context, prefix) {
    yield context.callActivity("note", `${prefix}-first`);
    gate(`${prefix}-gate`);
    yield context.callActivity("note", `${prefix}-second`);
    return "done";
  },

  async *killed_activity(context, prefix) {
    yield context.callActivity("note", `${prefix}-first`);
    yield context.callActivity("slow", prefix);
    return "done";
  },

  async *restarted(context, prefix) {
    yield context.callActivity("note", `${prefix}-first`);
    context.setCustomStatus("sleeping");
    yield context.createTimer(3);
    yield context.callActivity("note", `${prefix}-second`);
    return "done";
  },

  async *describe(_, number) {
    return `${number} from JavaScript`;
  },
};

const scenarios = {
  async chaining(client, prefix) {
    return completed(client, await start(client, prefix, "chaining", 1), 4);
  },

  async "fan-out-50"(client, prefix) {
    await completed(client, await start(client, prefix, "fan_out", `${prefix}-squares`), 40_425);
    assert.equal(count(`${prefix}-squares`), FAN);
    return { activities: FAN };
  },

  async child(client, prefix) {
    return completed(client, await start(client, prefix, "parent", 21), 42);
  },

  async timer(client, prefix) {
    const started = performance.now();
    await completed(client, await start(client, prefix, "timer"), "fired");
    const seconds = (performance.now() - started) / 1000;
    assert.ok(seconds >= 1, `fired after ${seconds} s`);
    return { seconds };
  },

  async "event-before"(client, prefix) {
    const id = await start(client, prefix, "event_after_timer");
    await client.raiseEvent(id, "parcel", { weight: 7 });
    return completed(client, id, { weight: 7 });
  },

  async "event-after"(client, prefix) {
    const id = await start(client, prefix, "event");
    await customStatus(client, id, "waiting");
    await client.raiseEvent(id, "parcel", { weight: 7 });
    return completed(client, id, { weight: 7 });
  },

  async "event-timeout"(client, prefix) {
    return completed(client, await start(client, prefix, "event_or_timeout"), "timed out");
  },

  async "continue-as-new"(client, prefix) {
    const id = await start(client, prefix, "collect", []);
    for (let item = 1; item <= EVENTS; item++) await client.raiseEvent(id, "item", item);
    return completed(client, id, [1, 2, 3, 4, 5]);
  },

  async "custom-status"(client, prefix) {
    const id = await start(client, prefix, "statuses");
    await customStatus(client, id, "before");
    await client.raiseEvent(id, "parcel", null);
    const state = await outcome(client, id);
    assert.equal(state.runtimeStatus, Status.COMPLETED);
    assert.equal(state.customStatus, "after");
  },

  async "suspend-resume"(client, prefix) {
    const id = await start(client, prefix, "event");
    await customStatus(client, id, "waiting");
    await client.suspendWorkflow(id);
    await status(client, id, Status.SUSPENDED);
    await client.raiseEvent(id, "parcel", "kept");
    await sleep(1000);
    await status(client, id, Status.SUSPENDED);
    await client.resumeWorkflow(id);
    return completed(client, id, "kept");
  },

  async purge(client, prefix) {
    const id = await start(client, prefix, "chaining", 1);
    await completed(client, id, 4);
    assert.equal(await client.purgeWorkflow(id), true);
    assert.equal(await client.getWorkflowState(id, true), undefined);
    assert.equal(await client.purgeWorkflow(`${prefix}-unknown`), false);
  },

  async "failure-cause"(client, prefix) {
    const state = await outcome(client, await start(client, prefix, "failing"));
    assert.equal(state.runtimeStatus, Status.FAILED);
    const failure = state.workflowFailureDetails;
    assert.match(failure.getErrorMessage(), /the parcel is lost/);
    return { type: failure.getErrorType(), message: failure.getErrorMessage(), cause: "this SDK does not send it" };
  },

  async "payload-200k"(client, prefix) {
    await completed(client, await start(client, prefix, "payload", PAYLOAD), PAYLOAD);
    return { characters: [...PAYLOAD].length };
  },

  async "history-1000"(client, prefix) {
    return completed(client, await start(client, prefix, "long"), LONG);
  },

  async "worker-killed-turn"(client, prefix) {
    const id = await start(client, prefix, "killed_turn", prefix);
    await until("the gate", () => exists(`${prefix}-gate`));
    at("gate");
    await completed(client, id, "done");
    return ran(prefix, { first: 1, second: 1 });
  },

  async "worker-killed-activity"(client, prefix) {
    const id = await start(client, prefix, "killed_activity", prefix);
    await until("the gate", () => exists(`${prefix}-gate`));
    at("gate");
    await completed(client, id, "done");
    return ran(prefix, { first: 1, slow: 2 });
  },

  async "server-restarted"(client, prefix) {
    const id = await start(client, prefix, "restarted", prefix);
    await customStatus(client, id, "sleeping");
    at("timer");
    await completed(client, id, "done");
    return { ...ran(prefix, { first: 1, second: 1 }), worker: "started again by its program: the SDK's does not reconnect" };
  },
};

async function start(client, prefix, workflow, input) {
  return client.scheduleNewWorkflow(workflow, input, `${prefix}-${workflow}`);
}

async function outcome(client, id) {
  let state;
  await until(`the end of ${id}`, async () => {
    state = await client.waitForWorkflowCompletion(id, true, PATIENCE_SECONDS);
    return state !== undefined;
  });
  return state;
}

async function completed(client, id, output) {
  const state = await outcome(client, id);
  const failure = state.workflowFailureDetails?.getErrorMessage();
  assert.equal(state.runtimeStatus, Status.COMPLETED, `status ${Status[state.runtimeStatus]}: ${failure}`);
  assert.deepEqual(JSON.parse(state.serializedOutput), output);
  return {};
}

async function status(client, id, wanted) {
  await until(`status ${Status[wanted]}`, async () => (await client.getWorkflowState(id, true)).runtimeStatus === wanted);
}

async function customStatus(client, id, wanted) {
  await until(`custom status ${wanted}`, async () => (await client.getWorkflowState(id, true)).customStatus === wanted);
}

function ran(prefix, counts) {
  for (const [name, times] of Object.entries(counts)) assert.equal(count(`${prefix}-${name}`), times, `${name} ran`);
  return counts;
}

async function until(what, condition, seconds = PATIENCE_SECONDS) {
  const deadline = performance.now() + seconds * 1000;
  for (;;) {
    try {
      if (await condition()) return;
    } catch (error) {
      if (!AWAY.has(error.code)) throw error;
    }
    if (performance.now() > deadline) throw new Error(`waited ${seconds} s for ${what}`);
    await sleep(POLL_MILLISECONDS);
  }
}

function at(where) {
  process.stdout.write(`AT ${where}\n`);
}

async function work() {
  let runtime = await serve();
  process.on("SIGTERM", async () => {
    await runtime.stop();
    process.exit(0);
  });
  process.stdout.write("READY\n");
  const client = new DaprWorkflowClient();
  for (;;) {
    await until("the server to go", async () => !(await answers(client)), FOREVER_SECONDS);
    await until("the server to come", () => answers(client), FOREVER_SECONDS);
    // Because this SDK's worker ends for good, without a word, when its first stream breaks.
    runtime = await serve();
  }
}

async function serve() {
  const runtime = new WorkflowRuntime();
  for (const [name, workflow] of Object.entries(workflows)) runtime.registerWorkflowWithName(name, workflow);
  for (const [name, activity] of Object.entries(activities)) runtime.registerActivityWithName(name, activity);
  await runtime.start();
  return runtime;
}

async function answers(client) {
  try {
    await client.getWorkflowState("nobody", false);
    return true;
  } catch {
    return false;
  }
}

async function drive(scenario, prefix) {
  if (scenario in GAPS) return { unsupported: GAPS[scenario] };
  const client = new DaprWorkflowClient();
  try {
    return { ok: true, ...(await scenarios[scenario](client, prefix)) };
  } catch (error) {
    return { ok: false, error: `${error.message ?? error}` };
  }
}

const [role, scenario, prefix] = process.argv.slice(2);
if (role === "worker") {
  await work();
} else {
  const report = await drive(scenario, prefix);
  process.stdout.write(`${JSON.stringify(report)}\n`, () => process.exit(report.ok === false ? 1 : 0));
}
