// SPDX-License-Identifier: Apache-2.0
// The renders that the reader has selected. The selection lasts as long as the browser's tab.

const KEY = "jimeng.selection";

/** Returns the text that names a task instance in this page. */
export function keyOf(ref) {
  return JSON.stringify([ref.dag_id, ref.run_id, ref.task_id, ref.map_index]);
}

function read() {
  try {
    const stored = JSON.parse(sessionStorage.getItem(KEY) ?? "[]");
    return new Map(stored.map((one) => [keyOf(one.ref), one]));
  } catch {
    return new Map();
  }
}

const selected = read();
const listeners = [];

function changed() {
  try {
    sessionStorage.setItem(KEY, JSON.stringify([...selected.values()]));
  } catch {
    // Without storage in the browser, the selection lasts as long as the page.
  }
  for (const listener of listeners) listener();
}

/** Returns what is selected, in order: each with `ref`, `prompt` and `state`. */
export function selection() {
  return [...selected.values()];
}

export function isSelected(ref) {
  return selected.has(keyOf(ref));
}

export function select({ ref, prompt, state }, on = true) {
  if (on) selected.set(keyOf(ref), { ref, state, prompt: (prompt ?? "").slice(0, 80) });
  else selected.delete(keyOf(ref));
  changed();
}

export function clearSelection() {
  selected.clear();
  changed();
}

/** Calls back after each change. */
export function onSelection(listener) {
  listeners.push(listener);
}
