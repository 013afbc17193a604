// SPDX-License-Identifier: Apache-2.0
// Requests to the routes for data, and the notice for a request that failed.

import { h, icon } from "./dom.js";
import { airflowAddress, leavingFrame } from "./host.js";
import { t } from "./i18n.js";

export class ApiError extends Error {
  constructor(status) {
    super(`HTTP ${status}`);
    this.status = status;
  }
}

async function get(address, { signal, headers = {} } = {}) {
  let response;
  try {
    response = await fetch(address, { signal, headers: { Accept: "application/json", ...headers }, credentials: "same-origin" });
  } catch (error) {
    if (error.name === "AbortError") throw error;
    throw new ApiError(0);
  }
  if (!response.ok && response.status !== 304) throw new ApiError(response.status);
  return response;
}

async function getJson(address, options) {
  return (await get(address, options)).json();
}

/** Returns a page of renders and its `tag`. If the page with the tag `known` is still valid, the page is null. */
export async function fetchRenders(query, { signal, known } = {}) {
  const response = await get(`api/renders?${query}`, { signal, headers: known ? { "If-None-Match": known } : {} });
  if (response.status === 304) return { tag: known, page: null };
  return { tag: response.headers.get("ETag"), page: await response.json() };
}

/** Returns one render; `within` is the query of the list in which it has a previous and a next one. */
export function fetchRender(ref, within = null) {
  const query = new URLSearchParams(Object.entries(ref));
  if (within !== null) query.set("within", within);
  return getJson(`api/render?${query}`);
}

export function fetchCampaign(query, signal) {
  return getJson(`api/campaign?${query}`, { signal });
}

export function fetchCosts(query, signal) {
  return getJson(`api/costs?${query}`, { signal });
}

/** Returns the call and the command that make a render again; null if they are not known. */
export function fetchAgain(ref) {
  return getJson(`api/again?${new URLSearchParams(Object.entries(ref))}`);
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

/** Returns why a request failed, as a sentence. */
export function reason(error) {
  const status = error instanceof ApiError ? error.status : null;
  const known = { 0: "error_network", 401: "error_401", 403: "error_403", 404: "error_404" }[status];
  return known ? t(known) : t("error_other", { status: status ?? error.message });
}

/** Returns what the page shows if it gets no data. */
export function errorNotice(error, retry) {
  const next = encodeURIComponent(location.href);
  const action =
    error.status === 401
      ? leavingFrame(
          h("a", { class: "button primary", href: `${airflowAddress()}api/v2/auth/login?next=${next}` }, t("sign_in")),
        )
      : h("button", { class: "button primary", type: "button", on: { click: retry } }, t("retry"));
  return h(
    "div",
    { class: "notice", aria: { role: "alert" } },
    icon("failed"),
    h("h2", {}, t("error_title")),
    h("p", {}, reason(error)),
    action,
  );
}
