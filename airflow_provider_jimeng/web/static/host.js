// SPDX-License-Identifier: Apache-2.0
// Airflow around our pages: its theme and language, its addresses, and links that leave its frame.

function readable(frame) {
  try {
    return frame !== window && Boolean(frame.document?.documentElement);
  } catch {
    return false;
  }
}

/** The window of Airflow's page around ours, or null. */
export const airflow = readable(window.parent) ? window.parent : null;
const AIRFLOW_ROOT = new URL("../", document.baseURI);

export const embedded = airflow !== null;

function stored(key) {
  try {
    return localStorage.getItem(key);
  } catch {
    return null;
  }
}

/** Returns the time zone that the reader chose in Airflow, else the browser's. */
export function timeZone() {
  const chosen = stored("timezone")?.replace(/^"|"$/g, "");
  try {
    return new Intl.DateTimeFormat("en", chosen ? { timeZone: chosen } : {}).resolvedOptions().timeZone;
  } catch {
    return undefined; // Airflow stored a name that this browser does not know
  }
}

/** Returns the language of the page, "en" or "zh": the one chosen here, else Airflow's, else the browser's. */
export function language() {
  const name = stored("jimeng.language") ?? stored("i18nextLng") ?? navigator.language;
  return name?.toLowerCase().startsWith("zh") ? "zh" : "en";
}

export function chooseLanguage(name) {
  try {
    localStorage.setItem("jimeng.language", name);
  } catch {
    return;
  }
  location.reload();
}

function isDark() {
  const classes = airflow?.document.documentElement.classList;
  if (classes?.contains("dark")) return true;
  if (classes?.contains("light")) return false;
  const chosen = stored("theme");
  if (chosen === "dark" || chosen === "light") return chosen === "dark";
  return matchMedia("(prefers-color-scheme: dark)").matches;
}

function applyTheme() {
  document.documentElement.dataset.theme = isDark() ? "dark" : "light";
}

/** Applies Airflow's theme now and after each change. */
export function followTheme() {
  applyTheme();
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", applyTheme);
  addEventListener("storage", applyTheme);
  if (airflow) {
    const attributes = { attributes: true, attributeFilter: ["class"] };
    new MutationObserver(applyTheme).observe(airflow.document.documentElement, attributes);
  }
}

/** Returns the address of a task instance in Airflow. */
export function taskAddress(ref) {
  const parts = ["dags", ref.dag_id, "runs", ref.run_id, "tasks", ref.task_id];
  if (ref.map_index >= 0) parts.push("mapped", String(ref.map_index));
  return new URL(parts.map(encodeURIComponent).join("/"), AIRFLOW_ROOT).href;
}

export function airflowAddress() {
  return AIRFLOW_ROOT.href;
}

export function refQuery(ref) {
  return new URLSearchParams(Object.entries(ref)).toString();
}

/** Returns the address of the page of one render. `within` is the gallery's query, to which the page leads back, or null. */
export function renderAddress(ref, within = null) {
  return `render?${refQuery(ref)}${within === null ? "" : `&within=${encodeURIComponent(within)}`}`;
}

export function compareAddress(refs, within = null) {
  const query = new URLSearchParams();
  for (const ref of refs) for (const [name, value] of Object.entries(ref)) query.append(name, value);
  if (within !== null) query.set("within", within);
  return `compare?${query}`;
}

/** Returns the address of the page of one DAG run. */
export function campaignAddress({ dag_id, run_id }) {
  return `campaign?${new URLSearchParams({ dag_id, run_id })}`;
}

/** Returns the address of a render's video, or of a picture beside it: "poster" or "preview". */
export function mediaAddress(ref, part) {
  return `media?${refQuery(ref)}${part ? `&part=${part}` : ""}`;
}

/** Follows a link in the page around the frame. */
function followOutside(link) {
  const twin = airflow.document.createElement("a");
  twin.href = link.href;
  if (link.download) twin.download = link.download;
  airflow.document.body.append(twin);
  twin.click();
  twin.remove();
}

/**
 * Makes a link work inside Airflow's frame. The frame is not allowed to navigate Airflow or, before 3.3, to download, so
 * the page around the frame follows the link.
 */
export function leavingFrame(link) {
  if (!airflow) return link;
  link.addEventListener("click", (event) => {
    if (event.ctrlKey || event.metaKey || event.shiftKey || event.button !== 0) return;
    event.preventDefault();
    followOutside(link);
  });
  return link;
}

/** Posts a form whose answer is a download. As with links, the page around the frame does it. */
export function postOutsideFrame(path, fields) {
  const page = (airflow ?? window).document;
  const form = page.createElement("form");
  form.method = "post";
  form.action = new URL(path, document.baseURI).href;
  form.hidden = true;
  for (const [name, value] of Object.entries(fields)) {
    const field = page.createElement("input");
    field.type = "hidden";
    field.name = name;
    field.value = value;
    form.append(field);
  }
  page.body.append(form);
  form.submit();
  form.remove();
}

/** Saves bytes as a file of the reader. */
export function saveFile(blob, name) {
  const link = document.createElement("a");
  link.href = URL.createObjectURL(blob);
  link.download = name;
  if (airflow) followOutside(link);
  else link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 60_000); // the browser reads it after the click
}
