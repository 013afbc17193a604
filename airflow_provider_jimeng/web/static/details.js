// SPDX-License-Identifier: Apache-2.0
// What is known of one render: its prompt, its timeline, its manifest and its JSON.

import { h, icon } from "./dom.js";
import { bytes, clock, moment, number, resolution, span, zoneName } from "./format.js";
import { has, t } from "./i18n.js";

const NOT_LISTED = new Set(["version", "prompt", "seed", "width", "height", "model", "meaning", "advice"]);
const NAMES = new Set(["task_id", "req_key", "fingerprint", "sha256", "uri", "output_path", "request_id"]);

/** Returns a button that copies a text. `name` is what it shows, `label` says more. */
export function copyButton(label, text, name = t("copy")) {
  const status = h("span", {}, name);
  const button = h("button", { type: "button", class: "button small", title: label, aria: { label } }, icon("copy"), status);
  button.addEventListener("click", async () => {
    let done = true;
    try {
      await navigator.clipboard.writeText(text);
    } catch {
      done = copyBySelection(text);
    }
    status.textContent = t(done ? "copied" : "copy_failed");
    setTimeout(() => { status.textContent = name; }, 1500);
  });
  return button;
}

/** Copies by selection, which works everywhere. There is no clipboard without https, and a frame can lack the right to it. */
function copyBySelection(text) {
  const field = h("textarea", { value: text, class: "offscreen", readOnly: true });
  document.body.append(field);
  field.select();
  const done = document.execCommand("copy");
  field.remove();
  return done;
}

function shownValue(name, value) {
  if (value === null || value === undefined) return "–";
  if (typeof value === "boolean") return t(value ? "yes" : "no");
  if (name.endsWith("_at")) return moment(value);
  if (name === "outcome" && has(`outcome_${value}`)) return t(`outcome_${value}`);
  if (name.endsWith("_cny")) return `¥${value}`;
  if (typeof value === "object") return JSON.stringify(value);
  if (typeof value !== "number") return String(value);
  if (name.endsWith("_seconds") || name === "duration") return span(value);
  return name === "bytes" ? bytes(value) : number(value);
}

/** Returns the length of a stage. Polling often knows only bounds of it. */
function lengthOf({ seconds, seconds_from: from, seconds_to: to }) {
  if (Number.isFinite(from) && Number.isFinite(to) && span(from) !== span(to)) return { middle: (from + to) / 2, text: t("between", { from: span(from), to: span(to) }), bounds: true };
  const length = Number.isFinite(seconds) ? seconds : to;
  return Number.isFinite(length) ? { middle: length, text: span(length), bounds: false } : null;
}

/** Returns the stages from submit to saved file, as far as Airflow saw them. */
export function timelineBlock(stages) {
  if (!stages.length) return null;
  const lengths = stages.map(lengthOf);
  const whole = lengths.reduce((sum, length) => sum + (length?.middle ?? 0), 0) || 1;
  const bar = h("div", { class: "bar", aria: { hidden: "true" } });
  stages.forEach((stage, at) => {
    if (!lengths[at]) return;
    const part = h("i", { data: { stage: stage.name, bounds: lengths[at].bounds }, title: `${t(`stage_${stage.name}`)}: ${lengths[at].text}` });
    part.style.flexGrow = Math.max(0.02, lengths[at].middle / whole);
    bar.append(part);
  });
  const rows = stages.map((stage, at) =>
    h("li", { data: { stage: stage.name } },
      h("b", {}, t(`stage_${stage.name}`)),
      h("time", { dateTime: stage.at, title: moment(stage.at) }, clock(stage.at)),
      lengths[at] ? h("span", {}, lengths[at].text) : null));
  return h("section", { class: "box timeline" }, h("h2", {}, t("timeline"), h("small", {}, t("in_zone", { zone: zoneName() }))),
    bar.children.length ? bar : null, h("ol", {}, rows));
}

/** Returns all values of the manifest, or of the render if nothing is saved, folded. */
export function manifestBlock({ card, render, manifest }) {
  const rows = [[t("model"), card.model_title && card.model_title !== card.model ? `${card.model} · ${card.model_title}` : card.model]];
  if (resolution(card)) rows.push([t("resolution"), resolution(card)]);
  for (const [name, value] of Object.entries(manifest ?? render)) {
    if (!NOT_LISTED.has(name)) rows.push([has(name) ? t(name) : name, shownValue(name, value), NAMES.has(name) ? "name" : ""]);
  }
  const list = h("dl", {}, rows.map(([name, value, kind = ""]) => h("div", {}, h("dt", {}, name), h("dd", { class: kind }, value ?? "–"))));
  return h("details", { class: "box manifest" }, h("summary", {}, t(manifest ? "manifest" : "details")), list);
}

export function jsonBlock(payload) {
  const text = JSON.stringify(payload, null, 2);
  return h("details", { class: "json" }, h("summary", {}, t("json")), copyButton(t("copy_json"), text), h("pre", { tabIndex: 0 }, text));
}

export function promptBlock(card) {
  const seed = card.seed === null || card.seed === undefined ? null : String(card.seed);
  return h("section", { class: "box prompt-box" },
    h("h2", {}, t("prompt")),
    h("blockquote", { lang: "" }, card.prompt || t("no_prompt")),
    h("div", { class: "row" },
      card.prompt ? copyButton(t("copy_prompt"), card.prompt) : null,
      seed === null ? null : h("span", { class: "seed" }, t("seed"), h("code", {}, seed), copyButton(t("copy_seed"), seed))));
}
