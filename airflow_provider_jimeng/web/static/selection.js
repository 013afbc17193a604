// SPDX-License-Identifier: Apache-2.0
// The renders that the reader has selected: some, or all that match a filter. The selection lasts as long as the browser's tab.

const KEY = "jimeng.selection";

/** Returns the text that names a task instance in this page. */
export function keyOf(ref) {
  return JSON.stringify([ref.dag_id, ref.run_id, ref.task_id, ref.map_index]);
}

function read() {
  try {
    const { fitting, named } = JSON.parse(sessionStorage.getItem(KEY));
    return { fitting, named: new Map(named.map((one) => [keyOf(one.ref), one])) };
  } catch {
    return { fitting: null, named: new Map() };
  }
}

// `fitting` is the filter if all that match it are selected; `named` are then those that are left out, else the selected ones.
let { fitting, named } = read();
let here = null; // the filter of the list that this page belongs to
const listeners = [];

function changed() {
  try {
    sessionStorage.setItem(KEY, JSON.stringify({ fitting, named: [...named.values()] }));
  } catch {
    // Without storage in the browser, the selection lasts as long as the page.
  }
  for (const listener of listeners) listener();
}

/** Returns the renders that are selected one by one, in order: each with `ref`, `prompt` and `state`. */
export function selection() {
  return fitting ? [] : [...named.values()];
}

/** Returns the selection of all that match a filter: its `query`, `count`, how many are `saved`, and `without`; or null. */
export function wholeSelection() {
  if (!fitting) return null;
  const without = [...named.values()];
  return {
    query: fitting.query,
    count: fitting.count - without.length,
    saved: fitting.saved - without.filter(({ state }) => state === "landed").length,
    without: without.map(({ ref }) => ref),
  };
}

export function isSelected(key) {
  return fitting ? fitting.query === here && !named.has(key) : named.has(key);
}

/** Selects a render or takes it out. Beside another list, this ends a selection of all that match a filter. */
export function select({ ref, prompt, state }, on = true) {
  if (fitting && fitting.query !== here) clear();
  if (on === Boolean(fitting)) named.delete(keyOf(ref));
  else named.set(keyOf(ref), { ref, state, prompt: (prompt ?? "").slice(0, 80) });
  changed();
}

/** Selects all renders that match the filter of this page. */
export function selectFitting(count, saved) {
  clear();
  fitting = { query: here, count, saved };
  changed();
}

/** Says to which filter this page belongs, and how many renders match it. Another filter ends a selection of all. */
export function standIn(query, count = null, saved = null) {
  here = query;
  if (!fitting || count === null) return;
  if (fitting.query !== here) clear();
  else if (fitting.count === count && fitting.saved === saved) return;
  else fitting = { query, count, saved };
  changed();
}

function clear() {
  fitting = null;
  named = new Map();
}

export function clearSelection() {
  clear();
  changed();
}

/** Calls back after each change. */
export function onSelection(listener) {
  listeners.push(listener);
}
