// SPDX-License-Identifier: Apache-2.0
// The page of one render: player, prompt and seed, timeline, manifest, JSON, and other takes.

import { h, icon } from "./dom.js";
import { errorNotice, fetchRender, refsOfAddress } from "./api.js";
import { cardOrNotice, picture, priceText, stateBadge, taskName } from "./card.js";
import { bytes, clock, moment, number, resolution, span } from "./format.js";
import { compareAddress } from "./gallery.js";
import { leavingFrame, mediaAddress, taskAddress } from "./host.js";
import { has, t } from "./i18n.js";
import { reviewPanel } from "./review.js";

const LOOK_AT_RENDER_AGAIN_MS = 5000;
const NOT_LISTED = new Set(["version", "prompt", "seed", "width", "height", "model", "meaning", "advice"]);
const NAMES = new Set(["task_id", "req_key", "fingerprint", "sha256", "uri", "output_path", "request_id"]);
const NO_PICKS = { has: () => false, toggle: () => {} };

export function copyButton(label, text) {
  const status = h("span", {}, t("copy"));
  const button = h("button", { type: "button", class: "button small", title: label, aria: { label } }, icon("copy"), status);
  button.addEventListener("click", async () => {
    let done = true;
    try {
      await navigator.clipboard.writeText(text);
    } catch {
      done = copyBySelection(text);
    }
    status.textContent = t(done ? "copied" : "copy_failed");
    setTimeout(() => { status.textContent = t("copy"); }, 1500);
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

function player(card) {
  if (card.state !== "landed") return h("div", { class: "stage" }, picture(card));
  const video = h("video", { controls: true, playsInline: true, loop: true, preload: "auto", src: mediaAddress(card.ref) });
  const stage = h("div", { class: "stage" }, video);
  if (card.width && card.height) stage.style.aspectRatio = `${card.width} / ${card.height}`;
  video.addEventListener("error", () => stage.replaceChildren(h("p", { class: "gone" }, icon("film"), t("media_gone"))));
  return stage;
}

/** Returns the cost of a failed render: nothing if the API failed it or it got no slot, its price if it is done, else unknown. */
function failedPrice(card) {
  if (card.outcome === "failed" || card.outcome === "slot_timed_out") return t("not_billed");
  if (card.outcome === "succeeded") return priceText(card);
  return card.estimated_cost_cny ? t("maybe_billed", { amount: priceText(card) }) : t("unknown_price");
}

function shownValue(name, value) {
  if (value === null || value === undefined) return "–";
  if (typeof value === "boolean") return t(value ? "yes" : "no");
  if (name.endsWith("_at")) return moment(value);
  if (name.endsWith("_cny")) return `¥${value}`;
  if (typeof value === "object") return JSON.stringify(value);
  if (typeof value !== "number") return String(value);
  if (name.endsWith("_seconds") || name === "duration") return span(value);
  return name === "bytes" ? bytes(value) : number(value);
}

/** Returns the stages from submit to saved file, as far as Airflow saw them. */
function timelineElement(stages) {
  const lengths = stages.filter((stage) => stage.seconds !== null);
  const whole = lengths.reduce((sum, stage) => sum + stage.seconds, 0) || 1;
  const bar = h("div", { class: "bar", aria: { hidden: "true" } });
  for (const stage of lengths) {
    const part = h("i", { data: { stage: stage.name }, title: `${t(`stage_${stage.name}`)}: ${span(stage.seconds)}` });
    part.style.flexGrow = Math.max(0.02, stage.seconds / whole);
    bar.append(part);
  }
  const rows = stages.map((stage) =>
    h("li", { data: { stage: stage.name } },
      h("b", {}, t(`stage_${stage.name}`)),
      h("time", { dateTime: stage.at, title: moment(stage.at) }, clock(stage.at)),
      stage.seconds === null ? null : h("span", {}, span(stage.seconds))),
  );
  return h("div", { class: "timeline" }, lengths.length ? bar : null, h("ol", {}, rows));
}

function manifestList({ card, render, manifest }) {
  const rows = [[t("model"), card.model_title && card.model_title !== card.model ? `${card.model} · ${card.model_title}` : card.model]];
  if (resolution(card)) rows.push([t("resolution"), resolution(card)]);
  for (const [name, value] of Object.entries(manifest ?? render)) {
    if (!NOT_LISTED.has(name)) rows.push([has(name) ? t(name) : name, shownValue(name, value), NAMES.has(name) ? "name" : ""]);
  }
  return h("dl", {}, rows.map(([name, value, kind = ""]) => h("div", {}, h("dt", {}, name), h("dd", { class: kind }, value ?? "–"))));
}

function jsonBlock(payload) {
  const text = JSON.stringify(payload, null, 2);
  return h("details", { class: "json" }, h("summary", {}, t("json")), copyButton(t("copy_json"), text), h("pre", { tabIndex: 0 }, text));
}

function promptBlock(card) {
  const seed = card.seed === null || card.seed === undefined ? null : String(card.seed);
  return h("section", { class: "box prompt-box" },
    h("h2", {}, t("prompt")),
    h("blockquote", { lang: "" }, card.prompt || t("no_prompt")),
    h("div", { class: "row" },
      card.prompt ? copyButton(t("copy_prompt"), card.prompt) : null,
      seed === null ? null : h("span", { class: "seed" }, t("seed"), h("code", {}, seed), copyButton(t("copy_seed"), seed))));
}

function takesBlock({ card, takes }) {
  if (!takes.length) return null;
  const landed = [card, ...takes].filter((one) => one.state === "landed").slice(0, 4);
  return h("section", { class: "takes" },
    h("header", {}, h("h2", {}, t("other_takes")),
      landed.length > 1 ? h("a", { class: "button", href: compareAddress(landed.map((one) => one.ref)) }, icon("compare"), t("compare_takes")) : null),
    h("div", { class: "grid" }, takes.map((take) => cardOrNotice(take, NO_PICKS))));
}

function view(data) {
  const { card } = data;
  const payload = data.manifest ?? data.render;
  const download = h("a", { class: "button primary", href: `${mediaAddress(card.ref)}&download=1`, download: "" }, icon("download"), t("download"));
  return [
    h("div", { class: "heading" },
      h("h1", {}, stateBadge(card), h("span", {}, card.ref.dag_id, h("small", {}, ` ${taskName(card.ref)} · ${card.ref.run_id}`))),
      h("div", { class: "row" },
        leavingFrame(h("a", { class: "button", href: taskAddress(card.ref) }, icon("task"), t("open_task"))),
        card.state === "landed" ? leavingFrame(download) : null)),
    h("div", { class: "columns" },
      h("div", {},
        player(card),
        reviewPanel(card),
        promptBlock(card)),
      h("div", {},
        h("section", { class: "box headline" },
          h("b", {}, card.state === "failed" ? failedPrice(card) : priceText(card)),
          h("span", {}, [resolution(card), card.fps ? `${number(card.fps)} fps` : null, card.duration ? span(card.duration) : null].filter(Boolean).join(" · "))),
        data.timeline.length ? h("section", { class: "box" }, h("h2", {}, t("timeline")), timelineElement(data.timeline)) : null,
        h("section", { class: "box manifest" }, h("h2", {}, t(data.manifest ? "manifest" : "details")), manifestList(data)),
        jsonBlock(payload))),
    takesBlock(data),
  ];
}

export function renderPage(root) {
  const [ref] = refsOfAddress();
  const main = h("div", { class: "one" }, h("div", { class: "stage skeleton" }));
  root.append(main);
  let before = "";
  const load = async ({ quietly = false } = {}) => {
    try {
      const data = await fetchRender(ref ?? {});
      const text = JSON.stringify(data);
      if (text !== before) main.replaceChildren(...view(data).filter(Boolean));
      before = text;
      document.title = `${data.card.prompt?.slice(0, 60) || taskName(data.card.ref)} · ${t("renders")}`;
      if (data.card.state === "running") setTimeout(() => load({ quietly: true }), LOOK_AT_RENDER_AGAIN_MS);
    } catch (error) {
      if (!quietly) main.replaceChildren(errorNotice(error, () => load()));
      else setTimeout(() => load({ quietly: true }), LOOK_AT_RENDER_AGAIN_MS);
    }
  };
  load();
  setInterval(() => main.querySelector(".panel.running")?.refresh(), 1000);
}
