// SPDX-License-Identifier: Apache-2.0
// Two to four renders side by side, one over the other with an edge between, or one at a time.

import { h, icon, replaceChildren } from "./dom.js";
import { errorNotice, fetchRender, refsOfAddress } from "./api.js";
import { facts, failurePanel, taskName } from "./card.js";
import { Deck } from "./deck.js";
import { difference } from "./diff.js";
import { shape } from "./format.js";
import { fpsOf } from "./frames.js";
import { leavingFrame, renderAddress, taskAddress } from "./host.js";
import { t } from "./i18n.js";
import { useKeys } from "./keys.js";
import { galleryAddress, within } from "./place.js";
import { reviewPanel } from "./review.js";
import { transport } from "./transport.js";
import { stageVideo } from "./video.js";

const COMPARED = { model: "model", seed: "seed", duration: "duration", ratio: "aspect_ratio", take: "take_field" };

/** Returns the prompt of a take; what differs from the first one is marked, and its kind is also read aloud. */
function promptText(prompt, first) {
  if (!prompt || !first || prompt === first) return h("p", { class: "prompt", lang: "" }, prompt || t("no_prompt"));
  const marks = { removed: "del", added: "ins" };
  return h("p", { class: "prompt changed", lang: "" }, difference(first, prompt).map(({ kind, text }) =>
    (kind === "same" ? text : h(marks[kind], { title: t(`words_${kind}`) }, text))));
}

function takeElement(card, at, first) {
  const stage = h("div", { class: "stage" });
  const video = card.state === "landed" ? stageVideo(card, stage, { muted: true }) : null;
  if (!video) stage.append(card.state === "failed" ? failurePanel(card) : h("p", { class: "gone" }, t("not_playable")));
  const element = h("figure", { class: "take", data: { shape: shape(card) } },
    stage,
    h("figcaption", {},
      h("header", {},
        h("kbd", { aria: { hidden: "true" } }, String(at + 1)),
        h("a", { href: renderAddress(card.ref, within()) }, t("video_number", { count: at + 1 })),
        leavingFrame(h("a", { class: "task", href: taskAddress(card.ref) }, icon("task"), h("span", {}, h("b", {}, card.ref.dag_id), ` ${taskName(card.ref)}`)))),
      facts(card),
      at && card.prompt !== first.prompt ? promptText(card.prompt, first.prompt) : null,
      reviewPanel(card)));
  return { element, video };
}

/** Says in which fields the takes differ. */
function differingFields(cards) {
  const value = (card, field) => (field === "ratio" ? (card.ratio ?? card.aspect_ratio) : card[field]) ?? null;
  const fields = Object.keys(COMPARED).filter((field) => new Set(cards.map((card) => value(card, field))).size > 1).map((field) => t(COMPARED[field]));
  if (new Set(cards.map(({ prompt }) => prompt)).size > 1) fields.unshift(t("prompt"));
  return fields.length ? t("takes_differ_in", { fields: fields.join(t("comma")) }) : t("takes_are_alike");
}

/** Returns the buttons that choose the view: all, an edge between two, or one. Their `keys` are rows for `useKeys`. */
function viewSwitch(grid, count) {
  const names = ["all", ...(count === 2 ? ["wipe"] : []), ...Array.from({ length: count }, (_, at) => String(at + 1))];
  const edge = h("input", { type: "range", min: 0, max: 100, value: 50, hidden: true, aria: { label: t("edge") }, on: { input: () => move(edge.value) } });
  const move = (share) => grid.style.setProperty("--edge", `${share}%`);
  const show = (name) => {
    grid.dataset.view = name === "all" || name === "wipe" ? name : "one";
    [...grid.children].forEach((take, at) => take.classList.toggle("front", name === String(at + 1)));
    edge.hidden = name !== "wipe";
    buttons.forEach((button, at) => button.setAttribute("aria-pressed", String(names[at] === name)));
  };
  const label = (name) => (name === "all" || name === "wipe" ? t(`view_${name}`) : name);
  const buttons = names.map((name) =>
    h("button", { type: "button", class: "button small", aria: { pressed: "false", label: /\d/.test(name) ? t("video_number", { count: name }) : null }, on: { click: () => show(name) } }, label(name)));
  grid.addEventListener("pointermove", (event) => {
    if (grid.dataset.view !== "wipe" || !event.buttons) return;
    const box = grid.firstChild.querySelector(".stage").getBoundingClientRect();
    edge.value = (100 * (event.clientX - box.left)) / box.width;
    move(edge.value);
  });
  const element = h("div", { class: "views", aria: { role: "group", label: t("view") } }, buttons, edge);
  element.keys = [
    { keys: ["0"], label: "0", text: t("view_all"), run: () => show("all") },
    { keys: names.filter((name) => /\d/.test(name)), label: names.filter((name) => /\d/.test(name)).join(" "), text: t("key_one"), run: (event) => show(event.key) },
    ...(count === 2 ? [{ keys: ["w"], label: "W", text: t("view_wipe"), run: () => show("wipe") }] : []),
  ];
  move(50);
  show("all");
  return element;
}

async function loadTake(ref) {
  try {
    return { card: (await fetchRender(ref)).card };
  } catch (error) {
    return { error };
  }
}

function emptyNotice() {
  return h("div", { class: "notice" }, icon("compare"), h("h2", {}, t("compare_empty_title")), h("p", {}, t("compare_empty_text")),
    h("a", { class: "button primary", href: galleryAddress() }, t("back_to_renders")));
}

/** Resolves when a video can be played, or cannot be loaded. */
function ready(video) {
  return new Promise((resolve) => {
    if (video.error || video.readyState >= HTMLMediaElement.HAVE_FUTURE_DATA) resolve();
    for (const type of ["canplay", "error"]) video.addEventListener(type, resolve, { once: true });
  });
}

function heading(cards) {
  if (!cards.length) return null;
  return h("div", { class: "heading" },
    h("h1", { lang: "" }, cards[0].prompt ?? t("no_prompt")),
    cards.length > 1 ? h("p", {}, differingFields(cards)) : null);
}

/** Shows what was loaded, and plays it as soon as every video can be played. */
async function showTakes(main, loaded) {
  const cards = loaded.map(({ card }) => card).filter(Boolean);
  const takes = loaded.map(({ card, error }, at) => (card ? takeElement(card, at, cards[0])
    : { element: h("figure", { class: "take" }, errorNotice(error, () => location.reload())), video: null }));
  const tall = cards.length > 0 && cards.every((card) => shape(card) === "tall");
  const grid = h("div", { class: "takes-grid", data: { count: takes.length, shape: tall ? "tall" : "wide" } }, takes.map(({ element }) => element));
  const videos = takes.map(({ video }) => video).filter(Boolean);
  const views = takes.length > 1 ? viewSwitch(grid, takes.length) : null;
  const deck = videos.length ? new Deck(videos, fpsOf(cards.find(({ state }) => state === "landed"))) : null;
  const controls = deck ? transport(deck, { whole: main, muted: true }) : null;
  replaceChildren(main, heading(cards), grid, h("div", { class: "controls" }, views, controls));
  useKeys(() => [...(controls?.keys ?? []), ...(views?.keys ?? [])]);
  await Promise.all(videos.map(ready));
  deck?.play();
}

export async function comparePage(root) {
  const refs = refsOfAddress();
  const main = h("div", { class: "compare" });
  root.append(main);
  if (!refs.length) {
    main.append(emptyNotice());
    return;
  }
  main.append(h("div", { class: "takes-grid", data: { count: refs.length } }, refs.map(() => h("div", { class: "stage skeleton" }))));
  await showTakes(main, await Promise.all(refs.map(loadTake)));
}
