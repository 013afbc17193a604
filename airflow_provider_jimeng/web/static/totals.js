// SPDX-License-Identifier: Apache-2.0
// The sums above the gallery, and the buttons between its pages.

import { h, icon, replaceChildren } from "./dom.js";
import { money, span } from "./format.js";
import { t } from "./i18n.js";

export function totalsBar() {
  const figure = (kind) => h("div", { class: "figure", data: { kind } }, h("b", {}), h("span", {}), h("small", {}));
  const [count, seconds, paid, risk] = ["renders", "seconds", "paid", "may_be_billed"].map(figure);
  const write = (element, value, label, note = "") => {
    element.children[0].textContent = value;
    element.children[1].textContent = label;
    element.children[2].textContent = note;
  };
  const element = h("div", { class: "totals", aria: { live: "polite" } }, count, seconds, paid, risk);
  element.show = (totals) => {
    const notes = [];
    if (Number(totals.expected_cny) > 0) notes.push(t("total_expected", { amount: money(totals.expected_cny) }));
    if (totals.unpriced) notes.push(t("total_unpriced", { count: totals.unpriced }));
    write(count, String(totals.renders), t("total_renders"));
    write(seconds, span(totals.seconds), t("total_seconds"));
    write(paid, money(totals.cost_cny), t("total_cost"), notes.join(" · "));
    risk.hidden = !(Number(totals.may_be_billed_cny) > 0);
    if (!risk.hidden) write(risk, money(totals.may_be_billed_cny), t("total_may_be_billed"));
  };
  return element;
}

export function pager(onGo) {
  const element = h("nav", { class: "pager", hidden: true, aria: { label: t("renders") } });
  element.show = ({ offset, limit, totals }) => {
    const total = totals.renders;
    element.hidden = total <= limit && offset === 0;
    const button = (name, to, possible) =>
      h("button", { type: "button", class: "button", disabled: !possible, on: { click: () => onGo(to) } }, name === "previous" ? icon("back") : null, t(name), name === "next" ? icon("next") : null);
    replaceChildren(
      element,
      button("previous", Math.max(0, offset - limit), offset > 0),
      h("span", {}, t("range", { first: Math.min(offset + 1, total), last: Math.min(offset + limit, total), total })),
      button("next", offset + limit, offset + limit < total),
    );
  };
  return element;
}
