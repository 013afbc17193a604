// SPDX-License-Identifier: Apache-2.0
// The card of one render.

import { h, icon } from "./dom.js";
import { leavingFrame, renderAddress, taskAddress } from "./host.js";
import { explain, t } from "./i18n.js";
import { age, cost, money, moment, resolution, span } from "./format.js";
import { movesWhilePointedAt, still } from "./still.js";

export function keyOf(ref) {
  return JSON.stringify([ref.dag_id, ref.run_id, ref.task_id, ref.map_index]);
}

export function taskName(ref) {
  return ref.map_index >= 0 ? `${ref.task_id} [${ref.map_index}]` : ref.task_id;
}

export function stateBadge(card) {
  return h("span", { class: "badge", data: { state: card.state } }, icon(card.state), t(`state_${card.state}`));
}

/** Returns age and expected end of a running render, and the share of the expected time that has passed, 0 to 1. */
export function progress(card, now = Date.now()) {
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

/** Returns the content of a card's picture area. */
export function picture(card) {
  if (card.state === "landed") return still(card.ref);
  if (card.state === "running") return runningPanel(card);
  if (card.state === "failed") return failurePanel(card);
  return h("div", { class: "panel submitted" }, icon("submitted"), h("span", {}, t("submitted_only")));
}

export function priceText(card) {
  if (!card.paid_here) return t("paid_elsewhere");
  const amount = cost(card);
  if (amount === null || amount === undefined) return t("unknown_price");
  return card.cost_cny || card.outcome === "succeeded" ? money(amount) : `≈ ${money(amount)}`;
}

/** Returns in what a video differs from its request, in words. */
export function differences(card) {
  return card.differs.map(({ field, asked, got }) => t("differs_in", { field, asked, got })).join("; ");
}

/** Returns whether the last question about a render is open, or who decided what, and when; null without a question. */
function verdict({ review }) {
  if (review?.state === "open") return h("p", { class: "verdict" }, icon("running"), t("waits_for_answer"));
  if (!review?.decided) return null;
  const { by, at, options } = review.decided;
  return h("p", { class: "verdict", title: `${review.subject}\n${moment(at)}` },
    icon("landed"), h("b", {}, options.join(", ")), h("span", {}, ` ${by === null ? t("decided_by_default") : t("decided_by", { name: by })} · ${age(at)}`));
}

function facts(card) {
  const price = card.state === "failed" && card.outcome !== "succeeded" ? null : priceText(card);
  return h(
    "ul",
    { class: "facts" },
    card.model ? h("li", { class: "model", title: card.model_title ?? "" }, card.model) : null,
    resolution(card) ? h("li", {}, resolution(card)) : null,
    card.duration ? h("li", {}, span(card.duration)) : null,
    card.differs?.length ? h("li", { class: "differs", title: differences(card) }, t("differs")) : null,
    price ? h("li", { title: card.paid_here ? "" : t("reused_hint") }, price) : null,
  );
}

/** Returns a card. `picks` knows which renders are selected for comparison, and gets each change. */
export function cardElement(card, picks) {
  const content = picture(card);
  const prompt = card.prompt || t("no_prompt");
  const when = card.submitted_at ?? card.seen_at;
  const link = h("a", { class: "picture", href: renderAddress(card.ref), aria: { label: t("open_render", { name: prompt }) } }, content);
  const pick = h("input", { type: "checkbox", checked: picks.has(card.ref), on: { change: () => picks.toggle(card, pick) } });
  const element = h(
    "article",
    { class: "card", data: { state: card.state, key: keyOf(card.ref) } },
    link,
    card.state === "landed" ? h("label", { class: "pick" }, pick, t("add_to_compare")) : null,
    h("p", { class: card.prompt ? "prompt" : "prompt none", title: card.prompt ?? "", lang: "" }, prompt),
    facts(card),
    verdict(card),
    h(
      "footer",
      {},
      leavingFrame(
        h("a", { class: "task", href: taskAddress(card.ref), title: `${card.ref.dag_id} · ${taskName(card.ref)} · ${card.ref.run_id}` },
          icon("task"), h("span", {}, h("b", {}, card.ref.dag_id), ` ${taskName(card.ref)}`)),
      ),
      h("time", { dateTime: when, title: moment(when) }, age(when)),
    ),
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
export function cardOrNotice(card, picks) {
  try {
    return cardElement(card, picks);
  } catch {
    const element = h("article", { class: "card", data: { state: "failed" } },
      h("div", { class: "picture" }, h("div", { class: "panel failed" }, h("strong", {}, icon("failed"), t("card_broken")))),
      h("p", { class: "prompt", lang: "" }, String(card?.prompt ?? "")));
    element.refresh = () => {};
    return element;
  }
}

export function skeletons(count) {
  return Array.from({ length: count }, () =>
    h("div", { class: "placeholder skeleton", aria: { hidden: "true" } }, h("div", { class: "picture" }), h("i", {}), h("i", {}), h("i", {})),
  );
}
