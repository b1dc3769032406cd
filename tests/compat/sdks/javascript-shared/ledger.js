// What really ran: files in COMPAT_LEDGER, one line for each run.
import { closeSync, existsSync, fsyncSync, openSync, readFileSync, writeSync } from "node:fs";
import { join } from "node:path";

const GATE_SECONDS = 60;

const file = (name) => join(process.env.COMPAT_LEDGER, name);

export function append(name, line = "ran") {
  const handle = openSync(file(name), "a");
  writeSync(handle, `${line}\n`);
  fsyncSync(handle);
  closeSync(handle);
}

export const exists = (name) => existsSync(file(name));

export function count(name) {
  return exists(name) ? readFileSync(file(name), "utf8").trimEnd().split("\n").length : 0;
}

// Blocks the whole process at its first visit, because a killed process is what the scenario wants.
export function gate(name) {
  if (exists(name)) return;
  append(name, "begun");
  Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, GATE_SECONDS * 1000);
}
