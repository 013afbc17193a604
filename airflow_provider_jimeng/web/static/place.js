// SPDX-License-Identifier: Apache-2.0
// The reader's place: the filters in the address, the way back to them, and the page that a reload of Airflow shows again.

import { airflow, airflowAddress } from "./host.js";
import { startOfDay } from "./format.js";

const PLACE = "jimeng.place";

/** Returns the gallery's query that the address of another page carries, or null. */
export function within() {
  return new URLSearchParams(location.search).get("within");
}

export function galleryAddress() {
  return within() ? `./?${within()}` : "./";
}

/** Returns the gallery's query as the server takes it: the days of the address become times. */
export function serverQuery(address) {
  const query = new URLSearchParams([...address].filter(([, value]) => value)); // the server takes no empty value
  query.delete("since");
  query.delete("until");
  const start = startOfDay(address.get("since"));
  const end = startOfDay(address.get("until"), 1);
  if (start) query.set("since", start.toISOString());
  if (end) query.set("until", end.toISOString());
  return query;
}

/** Returns what a gallery's query filters by, without the order and the place in it. */
export function filterOf(query) {
  const filter = new URLSearchParams(query ?? "");
  for (const name of ["offset", "sort"]) filter.delete(name);
  return String(filter);
}

/** Writes the filters into the address. Back leads to the former filters, unless `inPlace`. */
export function writeAddress(query, { inPlace = false } = {}) {
  const address = query.size ? `?${query}` : location.pathname;
  const now = location.search || location.pathname;
  if (address !== now) history[inPlace ? "replaceState" : "pushState"](null, "", address);
  rememberPlace();
}

function rememberPlace(address = location.href) {
  if (!airflow) return;
  try {
    sessionStorage.setItem(PLACE, JSON.stringify({ address, shell: airflow.performance.timeOrigin }));
  } catch {
    // Without storage in the browser, a reload of Airflow's page shows the gallery without filters.
  }
}

function placeBeforeReload() {
  const [load] = airflow.performance.getEntriesByType("navigation");
  if (load?.type !== "reload" || !load.name.startsWith(`${airflowAddress()}plugin/`)) return null;
  try {
    const place = JSON.parse(sessionStorage.getItem(PLACE));
    return place && place.shell !== airflow.performance.timeOrigin ? place.address : null;
  } catch {
    return null;
  }
}

/**
 * Returns whether the page goes to another place: the one before a reload of Airflow's page. Airflow does not know the
 * addresses inside the frame, or only those of whole pages, so that a reload would lose the filters.
 */
export function returnsToPlace() {
  if (!airflow) return false;
  const before = placeBeforeReload();
  rememberPlace(before ?? location.href);
  if (before === null || before === location.href) return false;
  location.replace(before);
  return true;
}
