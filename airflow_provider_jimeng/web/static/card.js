// SPDX-License-Identifier: Apache-2.0
// The card of one prompt: its newest render, and the other takes of it on the page.

import { h, icon } from "./dom.js";
import { campaignAddress, leavingFrame, renderAddress, taskAddress } from "./host.js";
import { explain, has, t } from "./i18n.js";
import { age, moment, moneyText, resolution, shape, span } from "./format.js";
import { keyOf } from "./selection.js";
import { movesWhilePointedAt, still } from "./still.js";
import { selectBox } from "./tray.js";

export function taskName(ref) {
  return ref.map_index >= 0 ? `${ref.task_id} [${ref.map_index}]` : ref.task_id;
}

export function stateBadge(card) {
  return h("span", { class: "badge", data: { state: card.state } }, icon(card.state), t(`state_${card.state}`));
}

/** Returns age and expected end of a running render, and the share of the expected time that has passed, 0 to 1. */
function progress(card, now = Date.now()) {
  const since = Date.parse(card.submitted_at ?? card.seen_at);
  const elapsed = Math.max(0, now - since);
  const expected = card.expected_at ? Date.parse(card.expected_at) : null;
  const left = expected === null ? null : (expected - now) / 1000;
  const outlook = left === null ? t("no_estimate") : left > 1 ? t("expected_in", { time: span(Math.ceil(left)) }) : t("expected_now");
  const share = expected === null ? null : Math.min(0.97, elapsed / Math.max(1, expected - since));
  return { text: t("running_for", { age: span(Math.floor(elapsed / 1000)) }), outlook, share };
}

function runningPanel(card) {
  const bar = h("progress", { max: 1, aria: { label: t("state_running") } });
  const text = h("strong", {});
  const outlook = h("span", {});
  const panel = h("div", { class: "panel running" }, icon("running"), text, outlook, bar);
  panel.refresh = () => {
    const now = progress(card);
    text.textContent = now.text;
    outlook.textContent = now.outlook;
    if (now.share === null) bar.removeAttribute("value");
    else bar.value = now.share;
  };
  panel.refresh();
  return panel;
}

export function failurePanel(card) {
  const { meaning, advice } = explain(card);
  const answer = [card.code, card.message].filter(Boolean).join(" · ");
  return h(
    "div",
    { class: "panel failed" },
    h("strong", {}, icon("failed"), meaning),
    answer ? h("span", { class: "answer", title: answer }, answer) : null,
    advice ? h("p", {}, h("b", {}, `${t("what_to_do")}: `), advice) : null,
    card.kept_until ? h("p", {}, t("kept_until", { time: moment(card.kept_until) })) : null,
    card.task_state === "up_for_retry" ? h("p", {}, `${t("will_retry")} (${t("try_number", { count: card.try_number + 1 })})`) : null,
  );
}

function quietPanel(state, text) {
  return h("div", { class: `panel ${state}` }, icon(state), h("span", {}, text));
}

/** Returns the content of a card's picture area. */
export function picture(card) {
  if (card.state === "landed") return still(card.ref);
  if (card.state === "running") return runningPanel(card);
  if (card.state === "failed") return failurePanel(card);
  if (card.state === "waiting") return quietPanel("waiting", t("waiting_for_slot"));
  return quietPanel("submitted", t("submitted_only"));
}

/** Returns in what a video differs from its request, in words. */
export function differences(card) {
  return card.differs.map(({ field, asked, got }) => t("differs_in", { field: has(field) ? t(field) : field, asked, got })).join("; ");
}

/** Returns what tells one take of a prompt from another: its seed, take and place in the run. */
export function takeFacts(card) {
  return [
    Number.isInteger(card.seed) ? `${t("seed")} ${card.seed}` : null,
    card.take > 1 ? t("take", { count: card.take }) : null,
    card.ref.map_index >= 0 ? `[${card.ref.map_index}]` : null,
  ].filter(Boolean);
}

/** Returns whether the last question about a render is open, or who decided what, and when; null without a question. */
function verdict({ review }) {
  if (review?.state === "open") return h("p", { class: "verdict" }, icon("running"), t("waits_for_answer"));
  if (!review?.decided) return null;
  const { by, at, options } = review.decided;
  return h("p", { class: "verdict", title: `${review.subject}\n${moment(at)}` },
    icon("landed"), h("b", {}, options.join(", ")), h("span", {}, ` ${by === null ? t("decided_by_default") : t("decided_by", { name: by })} · ${age(at)}`));
}

export function facts(card) {
  const price = moneyText(card);
  return h(
    "ul",
    { class: "facts" },
    card.model ? h("li", { class: "model", title: card.model_title ?? "" }, card.model) : null,
    resolution(card) ? h("li", {}, resolution(card)) : null,
    card.duration ? h("li", {}, span(card.duration)) : null,
    card.differs?.length ? h("li", { class: "differs", title: differences(card) }, t("differs")) : null,
    price ? h("li", { class: "money", data: { money: card.money }, title: card.money === "paid_elsewhere" ? t("reused_hint") : "" }, price) : null,
    takeFacts(card).map((fact) => h("li", {}, fact)),
  );
}

function footer(card) {
  const when = card.submitted_at ?? card.seen_at;
  return h("footer", {},
    leavingFrame(
      h("a", { class: "task", href: taskAddress(card.ref), title: `${card.ref.dag_id} · ${taskName(card.ref)} · ${card.ref.run_id}` },
        icon("task"),
        h("span", {}, h("b", {}, card.ref.dag_id), ` ${card.ref.task_id}`),
        card.ref.map_index >= 0 ? h("em", {}, `[${card.ref.map_index}]`) : null)),
    h("a", { class: "run", href: campaignAddress(card.ref), title: `${t("campaign")} · ${card.ref.run_id}`, aria: { label: `${t("campaign")} ${card.ref.run_id}` } }, icon("campaign")),
    h("time", { dateTime: when, title: moment(when) }, age(when)));
}

/** Returns the buttons that show one take of the prompt each. */
function takeButtons(takes, shown, onTake) {
  const several = new Set(takes.map(({ ref }) => ref.run_id)).size > 1;
  const name = (card, at) => takeFacts(card).join(" · ") || t("take", { count: at + 1 });
  return h("ul", { class: "variants", aria: { label: t("takes") } }, takes.map((card, at) =>
    h("li", {},
      h("button", {
        type: "button", class: "variant", data: { state: card.state }, title: `${t(`state_${card.state}`)} · ${card.ref.run_id}`,
        aria: { pressed: String(card === shown) }, on: { click: () => onTake(card) },
      }, h("span", {}, name(card, at)), several ? h("small", {}, card.ref.run_id) : null))));
}

/** Returns the card of one prompt. `takes` are its renders, and `query` is the gallery's, to which other pages lead back. */
export function cardElement(takes, { shown = takes[0], query = null, onTake = () => {} } = {}) {
  const card = shown;
  const content = picture(card);
  const prompt = card.prompt || t("no_prompt");
  const link = h("a", { class: "picture", href: renderAddress(card.ref, query) }, h("span", { class: "spoken" }, t("open_render", { name: prompt })), content);
  const element = h(
    "article",
    { class: "card", data: { state: card.state, key: keyOf(card.ref), shape: shape(card) } },
    link,
    selectBox(card),
    h("p", { class: card.prompt ? "prompt" : "prompt none", title: card.prompt ?? "", lang: "" }, prompt),
    facts(card),
    takes.length > 1 ? takeButtons(takes, card, onTake) : null,
    verdict(card),
    footer(card),
  );
  if (card.state === "landed") movesWhilePointedAt(element, content);
  element.refresh = () => {
    content.refresh?.();
    const time = element.querySelector("time");
    time.textContent = age(time.dateTime);
  };
  return element;
}

/** Returns a card, or a notice in its place if the card cannot be shown. The other cards stay. */
export function cardOrNotice(takes, options) {
  try {
    return cardElement(takes, options);
  } catch {
    const element = h("article", { class: "card", data: { state: "failed" } },
      h("div", { class: "picture" }, h("div", { class: "panel failed" }, h("strong", {}, icon("failed"), t("card_broken")))),
      h("p", { class: "prompt", lang: "" }, String(takes[0]?.prompt ?? "")));
    element.refresh = () => {};
    return element;
  }
}

export function skeletons(count) {
  return Array.from({ length: count }, () =>
    h("div", { class: "placeholder skeleton", aria: { hidden: "true" } }, h("div", { class: "picture" }), h("i", {}), h("i", {}), h("i", {})),
  );
}
