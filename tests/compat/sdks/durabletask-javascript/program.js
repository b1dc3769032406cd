// The scenarios of ../../README.md with the published @microsoft/durabletask-js.
import assert from "node:assert/strict";
import { setTimeout as sleep } from "node:timers/promises";

import durabletask from "@microsoft/durabletask-js";

import { append, count, exists, gate } from "./ledger.js";

const {
  EntityInstanceId,
  NoOpLogger,
  OrchestrationStatus: Status,
  RetryPolicy,
  TaskEntity,
  TaskHubGrpcClient,
  TaskHubGrpcWorker,
  terminateOptions,
  whenAll,
  whenAny,
} = durabletask;

const SERVER = { hostAddress: `${process.env.COMPAT_HOST}:${process.env.COMPAT_PORT}`, logger: new NoOpLogger() };

const PATIENCE_SECONDS = 45;
const POLL_MILLISECONDS = 50;
const FAN = 50;
const EVENTS = 5;
const LONG = 350;
const WORK_MILLISECONDS = 30;
const FAST = { firstRetryIntervalInMilliseconds: 50 };
const PAYLOAD = "aé漢🙂".repeat(50_000);

// What a call answers while the server is away: CANCELLED, INTERNAL, UNAVAILABLE.
const AWAY = new Set([1, 13, 14]);

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
  flaky: async (_, { name, failures }) => {
    append(name);
    if (count(name) <= failures) throw new Error("not yet");
    return count(name);
  },
  broken: async () => {
    throw new TypeError("the parcel is lost", { cause: new RangeError("the van is full") });
  },
};

class Counter extends TaskEntity {
  initializeState() {
    return 0;
  }

  add(amount) {
    this.state += amount;
    return this.state;
  }

  set(amount) {
    this.state = amount;
  }

  get() {
    return this.state;
  }
}

const workflows = {
  async *storm(context, { id, number, padding }) {
    const work = (name) => context.callActivity("work", { name: `${id}-${name}`, number });
    let sum = yield work("first");
    const three = ["a", "b", "c"].map(work);
    for (const one of yield whenAll(three)) sum += one;
    yield context.createTimer(0.5);
    sum += yield context.callSubOrchestrator("squall", { id, number, padding });
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
    const squares = yield whenAll(calls);
    return squares.reduce((sum, square) => sum + square, 0);
  },

  async *parent(context, number) {
    return yield context.callSubOrchestrator("child", number);
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
    const first = yield whenAny([event, timeout]);
    return first === timeout ? "timed out" : event.getResult();
  },

  async *retried(context, { name, failures, attempts }) {
    const retry = new RetryPolicy({ ...FAST, maxNumberOfAttempts: attempts });
    return yield context.callActivity("flaky", { name, failures }, { retry });
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

  async *family(context) {
    yield context.callSubOrchestrator("event", undefined, { instanceId: `${context.instanceId}-child` });
  },

  async *failing(context) {
    yield context.callActivity("broken");
  },

  async *payload(context, value) {
    return yield context.callActivity("echo", value);
  },

  async *long(context) {
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

  async *add_to_entity(context, { key, amount }) {
    return yield context.entities.callEntity(new EntityInstanceId("counter", key), "add", amount);
  },

  async *add_under_lock(context, { key, amount }) {
    const counter = new EntityInstanceId("counter", key);
    const lock = yield context.entities.lockEntities(counter);
    const before = yield context.entities.callEntity(counter, "get");
    yield context.createTimer(0.1);
    yield context.entities.callEntity(counter, "set", before + amount);
    lock.release();
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
    await client.raiseOrchestrationEvent(id, "parcel", { weight: 7 });
    return completed(client, id, { weight: 7 });
  },

  async "event-after"(client, prefix) {
    const id = await start(client, prefix, "event");
    await customStatus(client, id, "waiting");
    await client.raiseOrchestrationEvent(id, "parcel", { weight: 7 });
    return completed(client, id, { weight: 7 });
  },

  async "event-timeout"(client, prefix) {
    return completed(client, await start(client, prefix, "event_or_timeout"), "timed out");
  },

  async "retry-third"(client, prefix) {
    const name = `${prefix}-attempts`;
    await completed(client, await start(client, prefix, "retried", { name, failures: 2, attempts: 5 }), 3);
    assert.equal(count(name), 3);
    return { attempts: 3 };
  },

  async "retry-exhausted"(client, prefix) {
    const name = `${prefix}-attempts`;
    const state = await outcome(client, await start(client, prefix, "retried", { name, failures: 9, attempts: 3 }));
    assert.equal(state.runtimeStatus, Status.FAILED);
    assert.match(state.failureDetails.message, /not yet/);
    assert.equal(count(name), 3);
    return { attempts: 3 };
  },

  async "continue-as-new"(client, prefix) {
    const id = await start(client, prefix, "collect", []);
    for (let item = 1; item <= EVENTS; item++) await client.raiseOrchestrationEvent(id, "item", item);
    return completed(client, id, [1, 2, 3, 4, 5]);
  },

  async "custom-status"(client, prefix) {
    const id = await start(client, prefix, "statuses");
    await customStatus(client, id, "before");
    await client.raiseOrchestrationEvent(id, "parcel", null);
    const state = await outcome(client, id);
    assert.equal(state.runtimeStatus, Status.COMPLETED);
    assert.equal(JSON.parse(state.serializedCustomStatus), "after");
  },

  async "suspend-resume"(client, prefix) {
    const id = await start(client, prefix, "event");
    await customStatus(client, id, "waiting");
    await client.suspendOrchestration(id);
    await status(client, id, Status.SUSPENDED);
    await client.raiseOrchestrationEvent(id, "parcel", "kept");
    await sleep(1000);
    await status(client, id, Status.SUSPENDED);
    await client.resumeOrchestration(id);
    return completed(client, id, "kept");
  },

  async "terminate-recursive"(client, prefix) {
    const id = await start(client, prefix, "family");
    await until("the child", async () => (await client.getOrchestrationState(`${id}-child`, true)) !== undefined);
    await customStatus(client, `${id}-child`, "waiting");
    await client.terminateOrchestration(id, terminateOptions({ recursive: true, output: "stopped" }));
    const state = await outcome(client, id);
    assert.equal(state.runtimeStatus, Status.TERMINATED);
    assert.equal(JSON.parse(state.serializedOutput), "stopped");
    assert.equal((await outcome(client, `${id}-child`)).runtimeStatus, Status.TERMINATED);
  },

  async purge(client, prefix) {
    const id = await start(client, prefix, "chaining", 1);
    await completed(client, id, 4);
    assert.equal((await client.purgeOrchestration(id)).deletedInstanceCount, 1);
    assert.equal(await client.getOrchestrationState(id, true), undefined);
    assert.equal((await client.purgeOrchestration(`${prefix}-unknown`)).deletedInstanceCount, 0);
  },

  async "query-list"(client, prefix) {
    const started = performance.timeOrigin + performance.now();
    const ids = [1, 2, 3].map((number) => `${prefix}-${number}`);
    for (const id of ids) await client.scheduleNewOrchestration("chaining", 1, id);
    for (const id of ids) await outcome(client, id);
    const found = [];
    const pages = client.getAllInstances({ instanceIdPrefix: prefix, pageSize: 2 }).asPages();
    for await (const page of pages) {
      assert.ok(page.values.length <= 2);
      found.push(...page.values.map((state) => state.instanceId));
    }
    assert.deepEqual(found.sort(), ids);
    const listed = [];
    let lastInstanceKey;
    do {
      const completedTimeFrom = new Date(started - 5000);
      const page = await client.listInstanceIds({ pageSize: 2, completedTimeFrom, lastInstanceKey });
      listed.push(...page.values);
      lastInstanceKey = page.continuationToken;
    } while (lastInstanceKey);
    assert.deepEqual(ids.filter((id) => !listed.includes(id)), []);
    return { queried: found.length, listed: listed.length };
  },

  async "failure-cause"(client, prefix) {
    const state = await outcome(client, await start(client, prefix, "failing"));
    assert.equal(state.runtimeStatus, Status.FAILED);
    const failure = state.failureDetails;
    assert.match(failure.message, /the parcel is lost/);
    assert.equal(failure.errorType, "TaskFailedError");
    return { type: failure.errorType, message: failure.message, cause: "sent, but this client does not show it" };
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
    return ran(prefix, { first: 1, second: 1 });
  },

  async "entity-signal"(client, prefix) {
    const id = new EntityInstanceId("counter", prefix);
    await client.signalEntity(id, "add", 3);
    await client.signalEntity(id, "add", 4);
    await until("the sum", async () => (await client.getEntity(id, true))?.state === 7);
  },

  async "entity-call"(client, prefix) {
    const id = new EntityInstanceId("counter", prefix);
    await client.signalEntity(id, "add", 3);
    await completed(client, await start(client, prefix, "add_to_entity", { key: prefix, amount: 4 }), 7);
    assert.equal((await client.getEntity(id, true)).state, 7);
  },

  async "entity-lock"(client, prefix) {
    const ids = [1, 2, 3].map((number) => `${prefix}-${number}`);
    for (const id of ids) await client.scheduleNewOrchestration("add_under_lock", { key: prefix, amount: 1 }, id);
    for (const id of ids) assert.equal((await outcome(client, id)).runtimeStatus, Status.COMPLETED);
    const counter = new EntityInstanceId("counter", prefix);
    assert.equal((await client.getEntity(counter, true)).state, ids.length);
    // The release is a message of the last workflow: it may arrive after that workflow's end was seen.
    await until("the release", async () => (await client.getEntity(counter, true)).lockedBy === undefined);
  },
};

async function start(client, prefix, workflow, input) {
  return client.scheduleNewOrchestration(workflow, input, `${prefix}-${workflow}`);
}

async function outcome(client, id) {
  let state;
  await until(`the end of ${id}`, async () => {
    state = await client.waitForOrchestrationCompletion(id, true, PATIENCE_SECONDS);
    return state !== undefined;
  });
  return state;
}

async function completed(client, id, output) {
  const state = await outcome(client, id);
  const failure = state.failureDetails?.message;
  assert.equal(state.runtimeStatus, Status.COMPLETED, `status ${Status[state.runtimeStatus]}: ${failure}`);
  assert.deepEqual(JSON.parse(state.serializedOutput), output);
  return {};
}

async function status(client, id, wanted) {
  await until(`status ${Status[wanted]}`, async () => (await client.getOrchestrationState(id, true)).runtimeStatus === wanted);
}

async function customStatus(client, id, wanted) {
  await until(`custom status ${wanted}`, async () => {
    const { serializedCustomStatus } = await client.getOrchestrationState(id, true);
    return serializedCustomStatus === JSON.stringify(wanted);
  });
}

function ran(prefix, counts) {
  for (const [name, times] of Object.entries(counts)) assert.equal(count(`${prefix}-${name}`), times, `${name} ran`);
  return counts;
}

async function until(what, condition) {
  const deadline = performance.now() + PATIENCE_SECONDS * 1000;
  for (;;) {
    try {
      if (await condition()) return;
    } catch (error) {
      if (!AWAY.has(error.code)) throw error;
    }
    if (performance.now() > deadline) throw new Error(`waited ${PATIENCE_SECONDS} s for ${what}`);
    await sleep(POLL_MILLISECONDS);
  }
}

function at(where) {
  process.stdout.write(`AT ${where}\n`);
}

async function work() {
  const worker = new TaskHubGrpcWorker(SERVER);
  for (const [name, workflow] of Object.entries(workflows)) worker.addNamedOrchestrator(name, workflow);
  for (const [name, activity] of Object.entries(activities)) worker.addNamedActivity(name, activity);
  worker.addNamedEntity("counter", () => new Counter());
  process.on("SIGTERM", async () => {
    await worker.stop();
    process.exit(0);
  });
  await worker.start();
  process.stdout.write("READY\n");
}

async function drive(scenario, prefix) {
  const client = new TaskHubGrpcClient(SERVER);
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
