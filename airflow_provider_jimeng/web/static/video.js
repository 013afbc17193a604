// SPDX-License-Identifier: Apache-2.0
// The page of one render: player, prompt, timeline, manifest, and other takes.

import { h, icon, replaceChildren } from "./dom.js";
import { errorNotice, fetchRender, refsOfAddress } from "./api.js";
import { facts, picture, stateBadge, taskName } from "./card.js";
import { Deck } from "./deck.js";
import { copyButton, jsonBlock, manifestBlock, promptBlock, timelineBlock } from "./details.js";
import { againBlock } from "./files.js";
import { age, moneyText, number, resolution, span } from "./format.js";
import { fpsOf } from "./frames.js";
import { campaignAddress, compareAddress, leavingFrame, mediaAddress, renderAddress, taskAddress } from "./host.js";
import { t } from "./i18n.js";
import { useKeys } from "./keys.js";
import { keepUpToDate } from "./live.js";
import { filterOf, serverQuery, within } from "./place.js";
import { reviewPanel } from "./review.js";
import { keyOf, standIn } from "./selection.js";
import { still } from "./still.js";
import { transport } from "./transport.js";
import { selectBox, tray } from "./tray.js";

const MOST_COMPARED = 4;

/** Returns a video that is not there yet, with its poster, or a notice if it cannot be played. */
export function stageVideo(card, stage, options) {
  const video = h("video", { playsInline: true, preload: "auto", poster: mediaAddress(card.ref, "poster"), tabIndex: -1, ...options });
  video.addEventListener("error", () => stage.replaceChildren(h("p", { class: "gone" }, icon("film"), t("media_gone"))));
  video.src = mediaAddress(card.ref);
  stage.append(video);
  return video;
}

/** Returns the player of a saved video, or the state of another render. Its `keys` are rows for `useKeys`. */
function player(card) {
  const stage = h("div", { class: "stage" });
  if (card.state !== "landed") {
    stage.append(picture(card));
    return h("div", { class: "player" }, stage);
  }
  if (card.width && card.height) stage.style.aspectRatio = `${card.width} / ${card.height}`;
  const deck = new Deck([stageVideo(card, stage)], fpsOf(card));
  const element = h("div", { class: "player" }, stage);
  const controls = transport(deck, { whole: element, name: [card.ref.dag_id, card.ref.task_id, card.ref.map_index].join("-") });
  stage.addEventListener("click", () => deck.toggle());
  element.append(controls);
  element.keys = controls.keys;
  return element;
}

function takeRow(take, query) {
  const media = take.state === "landed" ? still(take.ref) : h("span", { class: "still none", data: { state: take.state } }, icon(take.state));
  const when = take.submitted_at ?? take.seen_at;
  return h("li", { class: "take-row", data: { key: keyOf(take.ref) } },
    h("a", { href: renderAddress(take.ref, query) }, media,
      h("span", { class: "what" },
        facts(take),
        h("small", {}, t(`state_${take.state}`), " · ", take.ref.dag_id, " · ", h("time", { dateTime: when }, age(when))))),
    selectBox(take));
}

function takesBlock({ card, takes }, query) {
  if (!takes.length) return null;
  const landed = [card, ...takes].filter((one) => one.state === "landed").slice(0, MOST_COMPARED);
  return h("section", { class: "box takes" },
    h("header", {}, h("h2", {}, t("other_takes")),
      landed.length > 1 ? h("a", { class: "button small", href: compareAddress(landed.map((one) => one.ref), query) }, icon("compare"), t("compare_takes")) : null),
    h("ul", {}, takes.map((take) => takeRow(take, query))));
}

/** Returns the links to the renders before and after this one in the list from which the reader came. */
function neighbours({ previous, next }, query) {
  const link = (name, ref, label, arrow) => (ref
    ? h("a", { class: "button", href: renderAddress(ref, query), data: { goes: name }, title: label, aria: { label } }, icon(arrow))
    : null);
  return [link("previous", previous, t("previous_render"), "back"), link("next", next, t("next_render"), "next")];
}

function heading(data, query) {
  const { card } = data;
  const download = h("a", { class: "button primary", href: `${mediaAddress(card.ref)}&download=1`, download: "" }, icon("download"), t("download"));
  return h("div", { class: "heading" },
    h("h1", {}, stateBadge(card), h("span", {}, card.ref.dag_id, h("small", {}, ` ${taskName(card.ref)} · ${card.ref.run_id}`))),
    h("div", { class: "row" },
      selectBox(card),
      neighbours(data, query),
      h("a", { class: "button", href: campaignAddress(card.ref) }, icon("campaign"), t("campaign")),
      copyButton(t("copy_link"), location.href, t("link")),
      leavingFrame(h("a", { class: "button", href: taskAddress(card.ref) }, icon("task"), t("open_task"))),
      card.state === "landed" ? leavingFrame(download) : null));
}

function headline(card) {
  const size = [resolution(card), card.fps ? t("frames_per_second", { count: number(card.fps) }) : null, card.duration ? span(card.duration) : null];
  return h("section", { class: "box headline" },
    h("b", { data: { money: card.money } }, moneyText(card) ?? t("unknown_price")),
    h("span", {}, size.filter(Boolean).join(" · ")));
}

/**
 * Returns the page's content, with `show`. The player stays where it is while its render is the same, so that an
 * update does not interrupt it, and what the reader has unfolded stays open.
 */
function view(query) {
  const top = h("div", {});
  const stage = h("div", {});
  const review = h("div", {});
  const below = h("div", {});
  const side = h("div", { class: "side" });
  const element = h("div", { class: "one" }, top, h("div", { class: "columns" }, h("div", {}, stage, review, below), side));
  let staged = "";
  element.show = (data) => {
    const { card } = data;
    const played = card.state === "landed" ? keyOf(card.ref) : JSON.stringify(card);
    if (played !== staged) {
      staged = played;
      element.player = player(card);
      stage.replaceChildren(element.player);
      review.replaceChildren(reviewPanel(card));
    }
    const open = [...side.querySelectorAll("details[open]")].map(({ className }) => className);
    top.replaceChildren(heading(data, query));
    below.replaceChildren(promptBlock(card));
    replaceChildren(side, headline(card), takesBlock(data, query), timelineBlock(data.timeline), manifestBlock(data), againBlock(card.ref, copyButton), jsonBlock(data.manifest ?? data.render));
    for (const details of side.querySelectorAll("details")) details.open = open.includes(details.className);
  };
  return element;
}

function pageKeys(main) {
  const go = (name) => () => {
    const link = main.querySelector(`[data-goes="${name}"]`);
    link?.click();
    return Boolean(link);
  };
  return [
    ...(main.querySelector(".player")?.keys ?? []),
    { keys: ["p"], label: "P", text: t("previous_render"), run: go("previous") },
    { keys: ["n"], label: "N", text: t("next_render"), run: go("next") },
    { keys: ["c"], label: "C", text: t("key_select"), run: () => main.querySelector(".heading .pick input")?.click() },
  ];
}

export function renderPage(root) {
  const [ref] = refsOfAddress();
  const query = within();
  const list = query === null ? null : serverQuery(new URLSearchParams(query));
  const main = h("div", {}, h("div", { class: "stage skeleton" }));
  if (query !== null) standIn(filterOf(query));
  const content = view(query);
  let before = "";
  const look = async () => {
    const data = await fetchRender(ref ?? {}, list);
    const text = JSON.stringify(data);
    if (text === before) return;
    before = text;
    content.show(data);
    if (!content.isConnected) main.replaceChildren(content);
    document.title = `${data.card.prompt?.slice(0, 60) || taskName(data.card.ref)} · ${t("renders")}`;
  };
  const load = () => look().catch((error) => main.replaceChildren(errorNotice(error, load)));

  root.append(keepUpToDate(look), main, tray(() => [], () => query));
  useKeys(() => pageKeys(main));
  load();
  setInterval(() => main.querySelector(".panel.running")?.refresh(), 1000);
}
