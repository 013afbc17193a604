// One render: player, prompt and seed, timeline, manifest, JSON, and its other takes.

import { h, icon } from "./dom.js";
import { errorNotice, fetchRender, refsOfAddress } from "./api.js";
import { cardOrNotice, picture, priceText, stateBadge, taskName } from "./card.js";
import { bytes, moment, number, resolution, span } from "./format.js";
import { compareAddress } from "./gallery.js";
import { leavingFrame, mediaAddress, taskAddress } from "./host.js";
import { has, t } from "./i18n.js";
import { timelineElement } from "./timeline.js";

const LOOK_AT_RENDER_AGAIN_MS = 5000;
const NOT_LISTED = new Set(["version", "prompt", "seed", "width", "height", "model", "meaning", "advice"]);
const NAMES = new Set(["task_id", "req_key", "fingerprint", "sha256", "uri", "output_path", "request_id"]);
const NO_PICKS = { has: () => false, toggle: () => {} };

export function copyButton(label, text) {
  const said = h("span", {}, t("copy"));
  const button = h("button", { type: "button", class: "button small", title: label, aria: { label } }, icon("copy"), said);
  button.addEventListener("click", async () => {
    let done = true;
    try {
      await navigator.clipboard.writeText(text);
    } catch {
      done = copyBySelection(text);
    }
    said.textContent = t(done ? "copied" : "copy_failed");
    setTimeout(() => { said.textContent = t("copy"); }, 1500);
  });
  return button;
}

/** Without https there is no clipboard to write to, and a frame may be denied it; selecting works everywhere. */
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

/** What a failed render cost: nothing if the API itself failed it or it never got a slot, its price if it is done; else only the bill knows. */
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

function view(found) {
  const { card } = found;
  const payload = found.manifest ?? found.render;
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
        promptBlock(card)),
      h("div", {},
        h("section", { class: "box headline" },
          h("b", {}, card.state === "failed" ? failedPrice(card) : priceText(card)),
          h("span", {}, [resolution(card), card.fps ? `${number(card.fps)} fps` : null, card.duration ? span(card.duration) : null].filter(Boolean).join(" · "))),
        found.timeline.length ? h("section", { class: "box" }, h("h2", {}, t("timeline")), timelineElement(found.timeline)) : null,
        h("section", { class: "box manifest" }, h("h2", {}, t(found.manifest ? "manifest" : "details")), manifestList(found)),
        jsonBlock(payload))),
    takesBlock(found),
  ];
}

export function renderPage(root) {
  const [ref] = refsOfAddress();
  const main = h("div", { class: "one" }, h("div", { class: "stage skeleton" }));
  root.append(main);
  let before = "";
  const load = async ({ quietly = false } = {}) => {
    try {
      const found = await fetchRender(ref ?? {});
      const text = JSON.stringify(found);
      if (text !== before) main.replaceChildren(...view(found).filter(Boolean));
      before = text;
      document.title = `${found.card.prompt?.slice(0, 60) || taskName(found.card.ref)} · ${t("renders")}`;
      if (found.card.state === "running") setTimeout(() => load({ quietly: true }), LOOK_AT_RENDER_AGAIN_MS);
    } catch (error) {
      if (!quietly) main.replaceChildren(errorNotice(error, () => load()));
      else setTimeout(() => load({ quietly: true }), LOOK_AT_RENDER_AGAIN_MS);
    }
  };
  load();
  setInterval(() => main.querySelector(".panel.running")?.refresh(), 1000);
}
