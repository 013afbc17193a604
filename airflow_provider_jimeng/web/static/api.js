// SPDX-License-Identifier: Apache-2.0
// Requests to the three data routes, and the notice for a request that failed.

import { h, icon } from "./dom.js";
import { airflowAddress, leavingFrame } from "./host.js";
import { t } from "./i18n.js";

export class ApiError extends Error {
  constructor(status) {
    super(`HTTP ${status}`);
    this.status = status;
  }
}

async function getJson(address, signal) {
  let response;
  try {
    response = await fetch(address, { signal, headers: { Accept: "application/json" }, credentials: "same-origin" });
  } catch (error) {
    if (error.name === "AbortError") throw error;
    throw new ApiError(0);
  }
  if (!response.ok) throw new ApiError(response.status);
  return response.json();
}

export function fetchRenders(query, signal) {
  return getJson(`api/renders?${query}`, signal);
}

export function fetchRender(ref, signal) {
  return getJson(`api/render?${new URLSearchParams(Object.entries(ref))}`, signal);
}

/** Returns the questions about a render, open and answered. */
export function fetchQuestions(ref) {
  return getJson(`api/review?${new URLSearchParams(Object.entries(ref))}`);
}

/** Returns where the frames are on the sheet of a render's preview. */
export async function fetchTiles(ref) {
  return (await getJson(`api/preview?${new URLSearchParams(Object.entries(ref))}`)).tiles;
}

/** Returns the task instances in this page's address, as parameters of `api/render`. */
export function refsOfAddress() {
  const query = new URLSearchParams(location.search);
  const dags = query.getAll("dag_id");
  return dags.slice(0, 4).map((dag_id, at) => ({
    dag_id,
    run_id: query.getAll("run_id")[at] ?? "",
    task_id: query.getAll("task_id")[at] ?? "",
    map_index: Number.parseInt(query.getAll("map_index")[at] ?? "-1", 10),
  }));
}

/** Returns what the page shows if it gets no data. */
export function errorNotice(error, retry) {
  const status = error instanceof ApiError ? error.status : null;
  const known = { 0: "error_network", 401: "error_401", 403: "error_403", 404: "error_404" }[status];
  const next = encodeURIComponent(location.href);
  const action =
    status === 401
      ? leavingFrame(
          h("a", { class: "button primary", href: `${airflowAddress()}api/v2/auth/login?next=${next}` }, t("sign_in")),
        )
      : h("button", { class: "button primary", type: "button", on: { click: retry } }, t("retry"));
  return h(
    "div",
    { class: "notice", aria: { role: "alert" } },
    icon("failed"),
    h("h2", {}, t("error_title")),
    h("p", {}, known ? t(known) : t("error_other", { status: status ?? error.message })),
    action,
  );
}
